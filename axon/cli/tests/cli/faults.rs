//! Every fault that a hub or a network can have: what comes out is a whole model, or a clear error and an intact store.

use std::time::{Duration, Instant};

use mlos_hub::{Fault, FaultKind, HubOptions, Side};

use crate::{
    model_files::safetensors,
    world::{Run, World},
};

/// Answers of the hub's interface.
const API: &str = "/api/";
/// Files asked for at the hub.
const RESOLVE: &str = "/resolve/";
/// The weights on the content network.
const WEIGHTS: &str = "/objects/";
/// A small file, served by the hub itself.
const SMALL: &str = "config.json";

fn publish(world: &World) {
    world.publish("acme/tiny", "model.safetensors", &safetensors(3_000_000, 1));
    world.publish("acme/tiny", SMALL, br#"{"model_type":"tiny"}"#);
}

/// What must come out.
enum Expect {
    Installed,
    Fails(i32, &'static str),
}
use Expect::{Fails, Installed};

#[track_caller]
fn check(faults: &[(&str, u32, FaultKind)], expect: Expect) {
    let world = World::new();
    publish(&world);
    for (path, times, kind) in faults {
        world.hub.inject(Fault::times(path, *times, kind.clone()));
    }
    let run = world.axon(&["install", "hf/acme/tiny"]);
    match expect {
        Installed => {
            assert_eq!(run.code, Some(0), "{faults:?}: {run:?}");
            assert_eq!(world.check_store().len(), 1, "{faults:?}");
        }
        Fails(code, words) => {
            assert_eq!(run.code, Some(code), "{faults:?}: {run:?}");
            let last = run.stderr.lines().last().unwrap_or_default();
            assert!(
                last.starts_with("error: ") && last.contains(words),
                "{faults:?}: {run:?}"
            );
            assert!(
                world.check_store().is_empty(),
                "{faults:?}: nothing is installed by half"
            );
            world.hub.heal();
            world.axon(&["install", "hf/acme/tiny"]).ok();
            assert_eq!(world.check_store().len(), 1, "{faults:?}: the next try succeeds");
        }
    }
}

const ALWAYS: u32 = u32::MAX;

#[test]
fn what_servers_refuse() {
    check(
        &[(RESOLVE, ALWAYS, FaultKind::status(401))],
        Fails(8, "set HF_TOKEN"),
    );
    check(
        &[(RESOLVE, ALWAYS, FaultKind::status(403))],
        Fails(8, "has no right"),
    );
    check(
        &[(RESOLVE, ALWAYS, FaultKind::status(404))],
        Fails(3, "does not exist"),
    );
    check(
        &[(WEIGHTS, ALWAYS, FaultKind::status(403))],
        Fails(8, "has no right"),
    );
    check(&[(API, ALWAYS, FaultKind::status(401))], Fails(8, "set HF_TOKEN"));
    check(
        &[(
            RESOLVE,
            ALWAYS,
            FaultKind::Redirect("/acme/tiny/resolve/main/x".into()),
        )],
        Fails(5, "redirects"),
    );
    check(
        &[(RESOLVE, ALWAYS, FaultKind::Redirect("ftp://elsewhere/x".into()))],
        Fails(5, "redirect"),
    );
}

#[test]
fn servers_that_fail_for_a_while() {
    check(&[(RESOLVE, 2, FaultKind::status(503))], Installed);
    check(&[(WEIGHTS, 2, FaultKind::status(502))], Installed);
    check(&[(API, 2, FaultKind::status(500))], Installed);
    check(&[(API, 1, FaultKind::CutAfter(10))], Installed);
}

#[test]
fn servers_that_fail_for_ever() {
    check(&[(API, ALWAYS, FaultKind::status(503))], Fails(5, "answered 503"));
    check(
        &[(RESOLVE, ALWAYS, FaultKind::status(500))],
        Fails(5, "answered 500"),
    );
    check(
        &[(API, ALWAYS, FaultKind::CutAfter(10))],
        Fails(5, "try again later"),
    );
    check(
        &[(WEIGHTS, ALWAYS, FaultKind::CutAfter(0))],
        Fails(5, "try again later"),
    );
}

#[test]
fn retry_after_is_obeyed() {
    let world = World::new();
    publish(&world);
    let busy = |seconds| FaultKind::Status {
        code: 429,
        error_code: None,
        retry_after_s: seconds,
    };
    world.hub.inject(Fault::once(SMALL, busy(Some(1))));
    let started = Instant::now();
    world.axon(&["install", "hf/acme/tiny"]).ok();
    assert!(
        started.elapsed() >= Duration::from_secs(1),
        "it waited as long as it was asked to"
    );
    check(&[(API, ALWAYS, busy(None))], Fails(5, "answered 429"));
}

#[test]
fn cut_connections_go_on_where_they_stopped() {
    check(&[(WEIGHTS, 5, FaultKind::CutAfter(400_000))], Installed);
    check(&[(SMALL, 1, FaultKind::CutAfter(5))], Installed);
    let world = World::new();
    publish(&world);
    world
        .hub
        .inject(Fault::once(WEIGHTS, FaultKind::CutAfter(1_000_000)));
    world.axon(&["install", "hf/acme/tiny"]).ok();
    let requests: Vec<_> = world
        .hub
        .requests()
        .into_iter()
        .filter(|request| request.side == Side::Cdn)
        .collect();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[1].header("range"), Some("bytes=1000000-"));
    assert!(
        requests[1]
            .header("if-range")
            .is_some_and(|tag| tag.starts_with('"')),
        "{:?}",
        requests[1]
    );
}

#[test]
fn a_later_run_goes_on_where_the_last_one_stopped() {
    let world = World::new();
    publish(&world);
    world
        .hub
        .inject(Fault::once(WEIGHTS, FaultKind::CutAfter(2_000_000)));
    world.hub.inject(Fault::always(WEIGHTS, FaultKind::CutAfter(0)));
    world
        .axon(&["install", "hf/acme/tiny"])
        .fails(5, &["try again later"]);
    world.hub.heal();
    world.hub.forget_requests();
    let before = world.hub.bytes_sent();
    let run = world.axon(&["install", "hf/acme/tiny"]).ok();
    assert!(
        run.stderr
            .contains("model.safetensors: going on at 2.0 MB of 3.0 MB"),
        "{run:?}"
    );
    assert!(
        world.hub.bytes_sent() - before < 1_100_000,
        "only the rest was fetched"
    );
    assert_eq!(world.check_store().len(), 1);
}

#[test]
fn answers_that_do_not_continue() {
    let cut = || (WEIGHTS, 1, FaultKind::CutAfter(1_000_000));
    check(&[cut(), (WEIGHTS, 1, FaultKind::RangeIgnored)], Installed);
    check(&[cut(), (WEIGHTS, 1, FaultKind::EtagChanged)], Installed);
    check(&[cut(), (WEIGHTS, 1, FaultKind::status(416))], Installed);
}

#[test]
fn wrong_lengths() {
    for delta in [1000, -1000] {
        check(&[(WEIGHTS, 1, FaultKind::WrongLength(delta))], Installed);
        check(&[(SMALL, 1, FaultKind::WrongLength(delta / 100))], Installed);
        check(
            &[(WEIGHTS, ALWAYS, FaultKind::WrongLength(delta))],
            Fails(5, "announced"),
        );
    }
}

#[test]
fn flipped_bytes_are_found_while_the_file_streams() {
    check(&[(WEIGHTS, 1, FaultKind::FlipByte(1_234_567))], Installed);
    check(&[(SMALL, 1, FaultKind::FlipByte(3))], Installed);
    check(
        &[(WEIGHTS, ALWAYS, FaultKind::FlipByte(1_234_567))],
        Fails(4, "sha256 is"),
    );
    check(
        &[(SMALL, ALWAYS, FaultKind::FlipByte(3))],
        Fails(4, "git blob id is"),
    );
    // Damage in the first part of a download that was cut is found at its end, and all of it is fetched again.
    let cut = (WEIGHTS, 1, FaultKind::FlipByte(5));
    check(&[cut, (WEIGHTS, 1, FaultKind::CutAfter(9))], Installed);
}

#[test]
fn slow_and_silent_servers() {
    let slow = FaultKind::Slow {
        piece_bytes: 300_000,
        pause: Duration::from_millis(20),
    };
    check(&[(WEIGHTS, 1, slow)], Installed);
    let world = World::new();
    publish(&world);
    world.axon(&["config", "set", "registry.timeout", "1"]).ok();
    world
        .hub
        .inject(Fault::once(WEIGHTS, FaultKind::StallAfter(1_000_000)));
    world.axon(&["install", "hf/acme/tiny"]).ok();
    world.hub.inject(Fault::always(API, FaultKind::StallAfter(1)));
    world
        .axon(&["install", "hf/acme/tiny"])
        .fails(5, &["the server fell silent"]);
}

#[test]
fn the_token_goes_to_the_hub_only() {
    let world = World::with(HubOptions {
        resolve_cache: true,
        ..HubOptions::default()
    });
    publish(&world);
    world.hub.gate("acme/tiny", "hf_secret");
    // A hub that sends even small files elsewhere.
    let elsewhere = format!("{}/somewhere/{SMALL}", world.hub.cdn_endpoint());
    world
        .hub
        .inject(Fault::once("resolve-cache", FaultKind::Redirect(elsewhere)));
    Run::of(
        world
            .command(&["install", "hf/acme/tiny"])
            .env("HF_TOKEN", "hf_secret"),
    )
    .fails(3, &["does not exist"]);
    Run::of(
        world
            .command(&["install", "hf/acme/tiny"])
            .env("HF_TOKEN", "hf_secret"),
    )
    .ok();
    let requests = world.hub.requests();
    assert!(
        requests
            .iter()
            .any(|request| request.side == Side::Cdn && request.path.starts_with("/somewhere"))
    );
    assert!(
        requests
            .iter()
            .any(|request| request.side == Side::Cdn && request.path.starts_with(WEIGHTS))
    );
    for request in requests {
        let expect = (request.side == Side::Hub).then_some("Bearer hf_secret");
        assert_eq!(request.header("authorization"), expect, "{request:?}");
    }
}

#[test]
fn gated_models_say_what_to_do() {
    let world = World::new();
    publish(&world);
    world.hub.gate("acme/tiny", "hf_secret");
    let page = format!("{}/acme/tiny", world.hub.endpoint());
    let words = ["acme/tiny is gated", page.as_str(), "HF_TOKEN"];
    world.axon(&["install", "hf/acme/tiny"]).fails(8, &words);
    let run = Run::of(
        world
            .command(&["install", "hf/acme/tiny", "--json"])
            .env("HF_TOKEN", "hf_wrong"),
    )
    .fails(8, &words);
    assert_eq!(run.json()["error"]["kind"], "access");
    assert!(
        !format!("{run:?}").contains("hf_wrong"),
        "the token is never shown: {run:?}"
    );
    world
        .axon(&["config", "set", "registry.huggingface_token", "hf_secret"])
        .ok();
    world.axon(&["install", "hf/acme/tiny"]).ok();
    assert_eq!(world.check_store().len(), 1);
}

#[test]
fn offline_means_no_request_at_all() {
    let world = World::new();
    publish(&world);
    let offline = |source| {
        Run::of(
            world
                .command(&["install", source, "--json"])
                .env("HF_HUB_OFFLINE", "1"),
        )
    };
    assert!(offline("hf/acme/tiny").fails(3, &["is not installed"]).json()["error"].is_object());
    assert!(world.hub.requests().is_empty());
    world.axon(&["install", "hf/acme/tiny"]).ok();
    world.hub.forget_requests();
    assert_eq!(offline("hf/acme/tiny").ok().json()["status"], "present");
    assert_eq!(offline("acme/tiny").ok().json()["status"], "present");
    assert!(world.hub.requests().is_empty());
}

#[test]
fn nobody_listens() {
    let world = World::new();
    let mut command = world.command(&["install", "hf/acme/tiny"]);
    Run::of(command.env("HF_ENDPOINT", "http://127.0.0.1:1")).fails(5, &["127.0.0.1:1", "refused"]);
    let mut command = world.command(&["install", "hf/acme/tiny"]);
    Run::of(command.env("HF_ENDPOINT", "nonsense")).fails(2, &["HF_ENDPOINT"]);
}
