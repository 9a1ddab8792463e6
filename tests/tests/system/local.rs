//! Clients of this machine, over shared memory: what is asked is what is answered, where it lies.

use std::path::PathBuf;
use std::time::Duration;

use mlos_shm::control::Opened;
use mlos_shm::{Request, Status};
use mlos_tests::{Asking, Daemon, Data, Local, Options, Output, Package, given, request_of, served, until};
use mlos_zoo::{Input, Probe, Size, Zoo};
use rustix::fs::fstat;
use serde_json::json;

pub const MODES: [&str; 3] = ["lanes", "layer", "none"];

/// Room for a small answer.
const ROOM: usize = 4096;

/// How far an answer in parts may be from one in other parts, in parts of its greatest element.
const PARTS_TOLERANCE: f32 = 1e-5;

pub fn socket(daemon: &Daemon) -> PathBuf {
    daemon.home().state().join("mlosd.sock")
}

/// Connects, as soon as the daemon listens.
#[track_caller]
pub fn join(daemon: &Daemon) -> Local {
    let path = socket(daemon);
    until("the local socket", || Local::try_join(&path, 0, 0).ok())
}

/// `y = 2 x`, at once.
pub fn double(id: &str) -> Package {
    Package::affine(id, "1", "a 2")
}

/// A row takes so long.
pub fn slow(id: &str, row_us: u32) -> Package {
    Package::affine(id, "1", &format!("a 2\nbusy_us {row_us}"))
}

pub fn floats(bytes: &[u8]) -> Vec<f32> {
    let words = bytes.chunks_exact(4);
    words
        .map(|word| f32::from_le_bytes(word.try_into().unwrap()))
        .collect()
}

/// As the model names them.
fn in_order(opened: &Opened, inputs: &[Input]) -> Vec<Input> {
    let named = |name: &str| inputs.iter().find(|input| input.name == name).unwrap().clone();
    opened.inputs.iter().map(|info| named(&info.name)).collect()
}

/// What HTTP says, and what lies in the arena.
fn compare(daemon: &Daemon, local: &mut Local, id: &str, inputs: &[Input], class: u8) {
    let name = ["realtime", "high", "normal", "batch"][usize::from(class) - 1];
    let body = request_of(inputs, &[&format!("\"priority\":\"{name}\"")]);
    let path = format!("/models/{id}/inference");
    let answer = daemon.client().ask("POST", &path, &[], body.as_bytes());
    let expected = served(&answer);
    let opened = local.open(id);
    let room: Vec<usize> = opened
        .outputs
        .iter()
        .map(|info| bytes_of(&expected, &info.name))
        .collect();
    let mut bound = local.bind(0, &opened, &in_order(&opened, inputs), &room);
    let asking = Asking {
        class,
        ..Asking::default()
    };
    let response = local.try_infer(&mut bound, asking).unwrap();
    assert_eq!(response.class, class);
    assert_eq!(response.flags, 1, "shapes are written where none was expected");
    let parts = answer.json()["timing"]["parts"].as_u64().unwrap();
    let tolerance = match (parts, response.parts) {
        (0 | 1, 0 | 1) => 0.0,
        _ => PARTS_TOLERANCE,
    };
    for (index, info) in opened.outputs.iter().enumerate() {
        let expect = expected.iter().find(|output| output.name == info.name).unwrap();
        assert_eq!(local.shape(&bound, index), expect.shape, "{id} {}", info.name);
        let bytes = local.output(&bound, index);
        let data = match expect.data {
            Data::F32(_) => Data::F32(floats(&bytes)),
            Data::I64(_) => {
                let words = bytes.chunks_exact(8);
                Data::I64(
                    words
                        .map(|word| i64::from_le_bytes(word.try_into().unwrap()))
                        .collect(),
                )
            }
        };
        let distance = expect.data.distance(&data);
        assert!(
            distance <= tolerance,
            "{id}, {name}: {} is {distance} off",
            info.name
        );
    }
    local.close(&opened);
}

fn bytes_of(outputs: &[Output], name: &str) -> usize {
    let output = outputs.iter().find(|output| output.name == name).unwrap();
    match &output.data {
        Data::F32(data) => data.len() * 4,
        Data::I64(data) => data.len() * 8,
    }
}

fn every_tiny_model(preemption: &str) {
    // As in `correctness.rs`: yields as close as they may be, and nothing but REALTIME on the front.
    let options = Options::one_core(preemption)
        .setting("engine.slice_target_us = 50")
        .setting("engine.front_budget_us = 0");
    let daemon = Daemon::start(&options);
    let mut local = join(&daemon);
    for zoo in Zoo::ALL {
        let id = daemon.serve(&Package::zoo(
            &format!("zoo/{}", zoo.name()),
            "1",
            zoo,
            Size::Tiny,
        ));
        for rows in [1, 3] {
            for class in 1..=4 {
                compare(&daemon, &mut local, &id, &zoo.inputs(Size::Tiny, rows, 5), class);
            }
        }
    }
    assert_eq!(
        local.arena().loans,
        0,
        "nothing is kept of what was bound and dropped"
    );
}

#[test]
fn every_tiny_model_answers_as_over_http_with_lanes() {
    every_tiny_model("lanes");
}

#[test]
fn every_tiny_model_answers_as_over_http_with_layers() {
    every_tiny_model("layer");
}

#[test]
fn every_tiny_model_answers_as_over_http_without_preemption() {
    every_tiny_model("none");
}

/// What goes in comes out, to the bit, NaNs and all.
#[test]
fn every_element_type_is_carried() {
    let daemon = Daemon::start(&Options::default());
    let mut local = join(&daemon);
    let folder = daemon.home().models();
    let identities = Probe::all().into_iter().filter_map(|probe| {
        let dtype = probe.name().strip_prefix("identity-")?.to_owned();
        Some((probe, dtype))
    });
    let mut carried = 0;
    for (probe, dtype) in identities {
        let file = probe.write(&folder).unwrap();
        let body = json!({ "model_id": format!("test/{dtype}"), "path": file });
        let id = daemon.client().post("/models/register", &body).expect(201)["model_id"].clone();
        daemon.wait_ready(id.as_str().unwrap());
        let opened = local.open(id.as_str().unwrap());
        let mut inputs = probe.inputs(1, 3);
        if dtype.contains("float") {
            // Not all of them are numbers.
            inputs[0].data.fill(0xff);
        }
        if dtype == "string" {
            let (status, text) = local.try_bind(0, &opened, &inputs, &[ROOM]).unwrap_err();
            assert_eq!(status, Status::Unsupported, "{text}");
            continue;
        }
        let mut bound = local.bind(0, &opened, &inputs, &[inputs[0].data.len()]);
        local.infer(&mut bound);
        assert_eq!(local.output(&bound, 0), inputs[0].data, "{dtype}");
        assert_eq!(local.shape(&bound, 0), inputs[0].shape, "{dtype}");
        carried += 1;
    }
    assert_eq!(carried, 13);
}

/// The rows of an input are changed by binding other memory; an output with too little room is refused with both sizes.
#[test]
fn shapes_that_only_the_call_knows() {
    let daemon = Daemon::start(&Options::default());
    let id = daemon.serve(&double("test/double"));
    let mut local = join(&daemon);
    let opened = local.open(&id);
    assert_eq!(opened.inputs[0].dims, [None, None]);
    for (rows, columns) in [(1, 1), (5, 3), (2, 7), (16, 16)] {
        let input = given(&[rows, columns], &[1.0, 2.0, 3.0]);
        let mut bound = local.bind(3, &opened, std::slice::from_ref(&input), &[ROOM, ROOM]);
        local.infer(&mut bound);
        assert_eq!(
            [local.shape(&bound, 0), local.shape(&bound, 1)],
            [vec![rows, columns], vec![rows]]
        );
        let doubled: Vec<f32> = floats(&input.data).iter().map(|x| 2.0 * x).collect();
        assert_eq!(floats(&local.output(&bound, 0)), doubled);
        let sums = doubled.chunks(columns).map(|row| row.iter().sum());
        assert_eq!(floats(&local.output(&bound, 1)), sums.collect::<Vec<f32>>());
    }
    let input = given(&[4, 4], &[1.0]);
    let mut small = local.bind(0, &opened, &[input], &[60, ROOM]);
    let (status, text) = local.try_infer(&mut small, Asking::default()).unwrap_err();
    assert_eq!(status, Status::TooLarge, "{text}");
    assert_eq!(
        text,
        "output `y` of shape [4, 4] needs 64 bytes, the memory given for it has 60; bind with as much room"
    );
    // With the bytes that were named it goes.
    let mut enough = local.bind(0, &opened, &[given(&[4, 4], &[1.0])], &[64, ROOM]);
    local.infer(&mut enough);
}

/// The addresses that the plugin sees are those of the client's loans in the daemon's mapping of the client's arena:
/// nothing was copied on the way in, and nothing is on the way out.
#[test]
fn the_plugin_reads_and_writes_the_clients_memory_where_it_lies() {
    for mode in MODES {
        let daemon = Daemon::start(&Options::one_core(mode));
        let id = daemon.serve(&Package::affine("test/where", "1", "behave addresses"));
        let mut local = join(&daemon);
        let opened = local.open(&id);
        for (binding, columns) in [8, 16, 150_000].into_iter().enumerate() {
            let input = given(&[1, columns], &[1.0]);
            let mut bound = local.bind(binding as u32, &opened, &[input], &[columns * 4, 64]);
            // The first run, and those that use again what it left.
            for class in [1, 3, 4, 4] {
                let asking = Asking {
                    class,
                    ..Asking::default()
                };
                local.try_infer(&mut bound, asking).unwrap();
                let pieces = floats(&local.output(&bound, 0));
                let address = |from: usize| {
                    (0..4).fold(0, |address, piece| {
                        address | (pieces[from + piece] as u64) << (16 * piece)
                    })
                };
                let seen = [address(0), address(4)].map(|address| offset_in_arena(&daemon, &local, address));
                let lent = [bound.inputs[0].offset(), bound.outputs[0].offset()];
                assert_eq!(seen, lent.map(Some), "{mode}, class {class}, {columns} columns");
            }
        }
    }
}

/// Where an address of the daemon lies in the arena, if it does.
fn offset_in_arena(daemon: &Daemon, local: &Local, address: u64) -> Option<u64> {
    let inode = fstat(local.side.arena.segment()).unwrap().st_ino;
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", daemon.pid())).unwrap();
    maps.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let hex = |text| u64::from_str_radix(text, 16).ok();
        let (start, end, offset) = (hex(start)?, hex(end)?, hex(words.nth(1)?)?);
        let found: u64 = words.nth(1)?.parse().ok()?;
        (found == inode && (start..end).contains(&address)).then(|| address - start + offset)
    })
}

#[test]
fn a_deadline_that_cannot_be_met_is_rejected_or_degraded() {
    for mode in MODES {
        let daemon = Daemon::start(&Options::one_core(mode));
        let id = daemon.serve(&slow("test/slow", 20_000));
        let mut local = join(&daemon);
        let opened = local.open(&id);
        let mut bound = local.bind(0, &opened, &[given(&[1, 1], &[1.0])], &[4, 4]);
        // It learns what a row costs.
        for _ in 0..3 {
            local.infer(&mut bound);
        }
        let hopeless = Asking {
            class: 2,
            deadline_us: 1_000,
            on_miss: 0,
        };
        let (status, text) = local.try_infer(&mut bound, hopeless).unwrap_err();
        assert_eq!(status, Status::DeadlineMiss, "{mode}: {text}");
        assert!(text.contains("deadline"), "{text}");
        let degraded = local
            .try_infer(
                &mut bound,
                Asking {
                    on_miss: 1,
                    ..hopeless
                },
            )
            .unwrap();
        assert_eq!(degraded.class, 3, "{mode}: at most NORMAL");
        let in_time = Asking {
            deadline_us: 10_000_000,
            ..hopeless
        };
        let response = local.try_infer(&mut bound, in_time).unwrap();
        assert_eq!(response.class, 2);
        assert!(response.compute_ns >= 20_000_000, "{mode}: {response:?}");
        assert_eq!(floats(&local.output(&bound, 0)), [2.0]);
    }
}

#[test]
fn terms_that_are_none_are_refused() {
    let daemon = Daemon::start(&Options::default());
    let id = daemon.serve(&double("test/double"));
    let mut local = join(&daemon);
    let opened = local.open(&id);
    assert_eq!(opened.class_default, 3);
    let mut bound = local.bind(0, &opened, &[given(&[1, 1], &[1.0])], &[4, 4]);
    for (class, on_miss, deadline_us, says) in [
        (5, 0, 0, "class 5"),
        (255, 0, 0, "class 255"),
        (0, 2, 0, "on_miss 2"),
        (0, 0, u64::MAX, "beyond an hour"),
    ] {
        let asking = Asking {
            class,
            deadline_us,
            on_miss,
        };
        let (status, text) = local.try_infer(&mut bound, asking).unwrap_err();
        assert_eq!(status, Status::InvalidArgument);
        assert!(text.contains(says), "{text}");
    }
    assert_eq!(local.infer(&mut bound).class, 3, "the connection goes on");
}

#[test]
fn what_runs_and_what_waits_is_cancelled() {
    // Without preemption a core hears of nothing before the end of what runs.
    for mode in ["lanes", "layer"] {
        let daemon = Daemon::start(&Options::one_core(mode));
        let id = daemon.serve(&Package::affine(
            "test/slow",
            "1",
            "a 2\nbusy_us 1000\nrows_independent 0",
        ));
        let mut local = join(&daemon);
        let opened = local.open(&id);
        // A minute of work each, if they ran to their ends; the second waits behind the first.
        let bounds: Vec<_> = (0..2)
            .map(|number| {
                local.bind(
                    number,
                    &opened,
                    &[given(&[60_000, 1], &[1.0])],
                    &[240_000, 240_000],
                )
            })
            .collect();
        let ids: Vec<u64> = bounds
            .iter()
            .map(|bound| local.ask(bound.number, Asking::default()))
            .collect();
        for id in ids.into_iter().rev() {
            local.push(Request::cancel(id));
            let response = local.wait(id).unwrap();
            assert_eq!(response.status, Status::Cancelled, "{mode}");
        }
        // What has ended, or never was, needs no cancelling.
        local.push(Request::cancel(1));
        local.push(Request::cancel(u64::MAX));
        let mut small = local.bind(0, &opened, &[given(&[1, 1], &[1.0])], &[4, 4]);
        local.infer(&mut small);
        assert_eq!(floats(&local.output(&small, 0)), [2.0], "{mode}");
    }
}

/// As many as there are slots, each with its own tensors; then again, without binding anew.
#[test]
fn many_are_in_flight_and_each_has_its_own_answer() {
    let daemon = Daemon::start(&Options::default());
    let id = daemon.serve(&double("test/double"));
    let mut local = join(&daemon);
    let opened = local.open(&id);
    let slots = local.welcome.slots;
    let mut bounds: Vec<_> = (0..slots)
        .map(|number| {
            let input = given(&[1, 3], &[number as f32, 1.0, -1.0]);
            local.bind(number, &opened, &[input], &[12, 4])
        })
        .collect();
    for round in 0..50 {
        let ids: Vec<u64> = bounds
            .iter_mut()
            .map(|bound| {
                bound.outputs[0].bytes_mut().fill(0xff);
                local.ask(bound.number, Asking::default())
            })
            .collect();
        for (bound, id) in bounds.iter().zip(ids) {
            assert_eq!(local.wait(id).unwrap().status, Status::Ok);
            let expected = [2.0 * bound.number as f32, 2.0, -2.0];
            assert_eq!(floats(bound.outputs[0].bytes()), expected, "round {round}");
        }
    }
}

/// What is urgent is answered while what was asked before it runs.
#[test]
fn answers_come_in_the_order_of_their_ends() {
    for mode in ["lanes", "layer"] {
        let daemon = Daemon::start(&Options::one_core(mode));
        let (long, quick) = (
            daemon.serve(&slow("test/long", 1_000)),
            daemon.serve(&double("test/quick")),
        );
        let mut local = join(&daemon);
        let (long, quick) = (local.open(&long), local.open(&quick));
        let rows = 3_000;
        let bulk = local.bind(0, &long, &[given(&[rows, 1], &[1.0])], &[rows * 4, rows * 4]);
        let mut urgent = local.bind(1, &quick, &[given(&[1, 1], &[1.0])], &[4, 4]);
        let first = local.ask(
            bulk.number,
            Asking {
                class: 4,
                ..Asking::default()
            },
        );
        for _ in 0..50 {
            let asking = Asking {
                class: 1,
                ..Asking::default()
            };
            let response = local.try_infer(&mut urgent, asking).unwrap();
            assert_ne!(response.id, first, "{mode}");
        }
        // Whether it has ended in between is seen only now: `wait` keeps what came early.
        local.push(Request::cancel(first));
        let status = local.wait(first).unwrap().status;
        assert_eq!(status, Status::Cancelled, "{mode}: it was running all the time");
    }
}

#[test]
fn a_binding_has_one_request_at_a_time() {
    for mode in MODES {
        let daemon = Daemon::start(&Options::one_core(mode));
        let id = daemon.serve(&slow("test/slow", 1_000));
        let mut local = join(&daemon);
        let opened = local.open(&id);
        let rows = 60_000;
        let input = given(&[rows, 1], &[1.0]);
        let bound = local.bind(9, &opened, std::slice::from_ref(&input), &[rows * 4, rows * 4]);
        let running = local.ask(9, Asking::default());
        let second = local.ask(9, Asking::default());
        let status = |local: &mut Local, id| local.wait(id).unwrap().status;
        if mode == "lanes" {
            // With others the core is the model's until the next checkpoint; the order is the same.
            assert_eq!(status(&mut local, second), Status::Conflict, "{mode}");
        }
        let unbind = local.push(Request::unbind(0, 9));
        let (offset, bytes) = (bound.frame.offset(), bound.frame.bytes());
        let bind = local.push(Request::bind(0, 9, opened.handle, offset, bytes));
        local.push(Request::cancel(running));
        assert_eq!(status(&mut local, unbind), Status::Conflict, "{mode}");
        assert_eq!(status(&mut local, bind), Status::Conflict, "{mode}");
        assert_eq!(status(&mut local, running), Status::Cancelled, "{mode}");
        for expected in [Status::Ok, Status::NotFound] {
            let unbind = local.push(Request::unbind(0, 9));
            assert_eq!(status(&mut local, unbind), expected, "{mode}");
        }
        let nothing = local.ask(9, Asking::default());
        assert_eq!(status(&mut local, nothing), Status::InvalidArgument, "{mode}");
    }
}

/// A binding and the requests for it go out together, and are taken in their order.
#[test]
fn a_binding_need_not_be_waited_for() {
    let daemon = Daemon::start(&Options::default());
    let id = daemon.serve(&double("test/double"));
    let mut local = join(&daemon);
    let opened = local.open(&id);
    for round in 0..200_u16 {
        let value = f32::from(round);
        let bound = local
            .lay_out(1, &opened, &[given(&[1, 1], &[value])], &[4, 4])
            .unwrap();
        let (offset, bytes) = (bound.frame.offset(), bound.frame.bytes());
        let bind = Request::bind(0, 1, opened.handle, offset, bytes);
        let ids = [
            local.push(bind),
            local.ask(1, Asking::default()),
            local.push(Request::unbind(0, 1)),
        ];
        let statuses = ids.map(|id| local.wait(id).unwrap().status);
        assert_eq!(statuses[..2], [Status::Ok, Status::Ok]);
        assert!(
            matches!(statuses[2], Status::Ok | Status::Conflict),
            "{statuses:?}"
        );
        assert_eq!(floats(bound.outputs[0].bytes()), [2.0 * value]);
    }
}

/// Both sides fall asleep between requests, at all sorts of moments, and no wake-up is lost.
#[test]
fn nobody_oversleeps() {
    let daemons = [0, 50, 500].map(|poll_us| {
        Daemon::start(&Options::one_core("lanes").setting(&format!("local.poll_us = {poll_us}")))
    });
    std::thread::scope(|scope| {
        for daemon in &daemons {
            scope.spawn(move || {
                let id = daemon.serve(&double("test/double"));
                let mut local = join(daemon);
                let opened = local.open(&id);
                let mut bound = local.bind(0, &opened, &[given(&[1, 1], &[1.0])], &[4, 4]);
                for round in 0..3_000_u64 {
                    let pause = Duration::from_nanos(round * 7919 % 120_000);
                    let start = std::time::Instant::now();
                    while start.elapsed() < pause {
                        std::hint::spin_loop();
                    }
                    local.infer(&mut bound);
                }
            });
        }
    });
}
