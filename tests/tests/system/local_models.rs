//! Models under their local clients: several of them, and such that change, go and come back.

use mlos_shm::Status;
use mlos_shm::control::Opened;
use mlos_tests::{Asking, Daemon, Local, Options, Package, given, until};
use serde_json::{Value, json};

use crate::local::{MODES, double, floats, join};

#[test]
fn several_models_over_one_connection() {
    let daemon = Daemon::start(&Options::default());
    let ids: Vec<String> = (1..=5)
        .map(|by| {
            daemon.serve(&Package::affine(
                &format!("test/by-{by}"),
                "1",
                &format!("a {by}"),
            ))
        })
        .collect();
    let mut local = join(&daemon);
    let opened: Vec<Opened> = ids.iter().map(|id| local.open(id)).collect();
    let mut bounds: Vec<_> = (0..)
        .zip(&opened)
        .map(|(number, opened)| local.bind(number, opened, &[given(&[1, 1], &[1.0])], &[4, 4]))
        .collect();
    for _ in 0..20 {
        for (by, bound) in (1..).zip(&mut bounds) {
            local.infer(bound);
            assert_eq!(floats(&local.output(bound, 0)), [by as f32]);
        }
    }
    // One is given back: its bindings go with it, the others stay.
    local.close(&opened[1]);
    let again = local.open(&ids[1]);
    assert_eq!(again.handle, opened[1].handle, "its number is free");
    let (status, _) = local.try_infer(&mut bounds[1], Asking::default()).unwrap_err();
    assert_eq!(status, Status::InvalidArgument);
    local.infer(&mut bounds[2]);
    assert_eq!(local.try_open("test/none").unwrap_err().0, Status::NotFound);
    assert_eq!(local.try_open("").unwrap_err().0, Status::InvalidArgument);
}

fn factor(version: &str, factor: u32) -> Package {
    Package::affine("test/factor", version, &format!("a {factor}"))
}

/// Bindings name a model and outlive its versions: what is asked next is asked of what is there then.
#[test]
fn a_model_changes_and_goes_under_its_bindings() {
    for mode in MODES {
        let daemon = Daemon::start(&Options::one_core(mode));
        daemon.serve(&factor("1", 2));
        let mut local = join(&daemon);
        let (any, first) = (local.open("test/factor"), local.open("test/factor@1"));
        let input = || [given(&[1, 1], &[1.0])];
        let (mut any, mut first) = (
            local.bind(0, &any, &input(), &[4, 4]),
            local.bind(1, &first, &input(), &[4, 4]),
        );
        let product = |local: &mut Local, bound: &mut mlos_tests::Bound| {
            let result = local.try_infer(bound, Asking::default());
            result.map(|_| floats(bound.outputs[0].bytes())[0])
        };
        assert_eq!(product(&mut local, &mut any), Ok(2.0));
        daemon.serve(&factor("2", 3));
        assert_eq!(product(&mut local, &mut any), Ok(3.0), "{mode}: replaced");
        assert_eq!(
            product(&mut local, &mut first),
            Ok(2.0),
            "{mode}: the version that was named"
        );
        daemon.client().delete("/models/test/factor@2").expect(200);
        assert_eq!(
            product(&mut local, &mut any),
            Ok(2.0),
            "{mode}: the one before it"
        );
        daemon.client().delete("/models/test/factor").expect(200);
        for bound in [&mut any, &mut first] {
            let (status, text) = product(&mut local, bound).unwrap_err();
            assert_eq!(status, Status::NotFound, "{mode}: {text}");
            assert!(text.contains("test/factor"), "{text}");
        }
        until("it is unloaded, though it is bound", || {
            let models: Value = daemon.stats()["models"].clone();
            models.as_array().unwrap().is_empty().then_some(())
        });
        daemon.serve(&factor("1", 7));
        assert_eq!(product(&mut local, &mut first), Ok(7.0), "{mode}: it is back");
        // A version that takes other tensors than those that are bound.
        daemon.serve(&Package::affine("test/factor", "9", "a 1\ncolumns 5"));
        let (status, text) = product(&mut local, &mut any).unwrap_err();
        assert_eq!(status, Status::InvalidArgument, "{mode}: {text}");
    }
}

/// A model goes while a binding to it is asked again and again: each request has one answer, and it is right.
#[test]
fn a_model_is_replaced_while_it_is_asked() {
    for mode in MODES {
        let daemon = Daemon::start(&Options::one_core(mode));
        daemon.serve(&factor("1", 1));
        let mut local = join(&daemon);
        let opened = local.open("test/factor");
        let bounds: Vec<_> = (0..16)
            .map(|number| local.bind(number, &opened, &[given(&[1, 1], &[1.0])], &[4, 4]))
            .collect();
        let changed = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for version in 2..8 {
                    daemon.serve(&factor(&version.to_string(), version));
                    let before = format!("/models/test/factor@{}", version - 1);
                    daemon.client().delete(&before).expect(200);
                }
                changed.store(true, std::sync::atomic::Ordering::Relaxed);
            });
            let mut last = 1.0;
            while !changed.load(std::sync::atomic::Ordering::Relaxed) {
                let ids: Vec<u64> = bounds
                    .iter()
                    .map(|bound| local.ask(bound.number, Asking::default()))
                    .collect();
                for id in ids {
                    assert_eq!(local.wait(id).unwrap().status, Status::Ok, "{mode}");
                }
                let product = floats(bounds[0].outputs[0].bytes())[0];
                assert!(product >= last, "{mode}: {product} after {last}");
                last = product;
            }
        });
        let id = local.ask(0, Asking::default());
        assert_eq!(local.wait(id).unwrap().status, Status::Ok);
        assert_eq!(floats(bounds[0].outputs[0].bytes()), [7.0]);
    }
}

/// Several threads with a connection each, others over HTTP, on every core.
#[test]
fn clients_do_not_get_each_others_answers() {
    let options = MODES
        .map(Options::one_core)
        .into_iter()
        .chain([Options::default()]);
    for options in options {
        let daemon = Daemon::start(&options);
        let id = daemon.serve(&double("test/double"));
        let _first = join(&daemon);
        std::thread::scope(|scope| {
            for client in 0..6_u16 {
                let (daemon, id) = (&daemon, &id);
                scope.spawn(move || {
                    let mut local = join(daemon);
                    let opened = local.open(id);
                    let mut bound = local.bind(0, &opened, &[given(&[1, 2], &[0.0])], &[8, 4]);
                    for round in 0..300_u16 {
                        let value = f32::from(client * 1000 + round);
                        bound.inputs[0].bytes_mut()[..4].copy_from_slice(&value.to_le_bytes());
                        local.infer(&mut bound);
                        assert_eq!(floats(bound.outputs[0].bytes())[0], 2.0 * value);
                    }
                });
            }
            let mut http = daemon.client();
            for round in 0..50 {
                let answer = http.infer(&id, &json!({ "x": [[round]] })).expect(200);
                assert_eq!(answer["outputs"][0]["data"], json!([2.0 * f64::from(round)]));
            }
        });
    }
}
