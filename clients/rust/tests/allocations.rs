//! A run allocates nothing. One test in a process of its own, so that nobody else's allocations are counted; the daemon's
//! part is done by the same thread between the client's steps.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::System;
use std::time::Duration;

use mlos_client::{Class, Client, Terms};
use mlos_shm::control::socket::{self, Received};
use mlos_shm::control::{
    ClientMessage, ControlMessage, DaemonMessage, DaemonSide, Opened, TensorInfo, Welcome,
};
use mlos_shm::{DType, Response, Status};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const RUNS: u32 = 1_000;

fn allocations<R>(run: impl FnOnce() -> R) -> (R, usize) {
    let region = Region::new(ALLOCATOR);
    let result = run();
    let change = region.change();
    (result, change.allocations + change.reallocations)
}

/// Says hello, opens a model, binds, and hands its side of the memory over.
fn handshake(listener: &std::os::fd::OwnedFd) -> DaemonSide {
    let socket = loop {
        if let Some(socket) = socket::accept(listener).unwrap() {
            break socket;
        }
        std::thread::yield_now();
    };
    let mut side = None;
    loop {
        if let Some(side) = &mut side {
            let DaemonSide {
                requests,
                responses,
                bell,
                ..
            } = side;
            if let Some(bind) = requests.pop().unwrap() {
                responses.push(Response::new(bind.id, Status::Ok)).unwrap();
                bell.ring();
                break;
            }
        }
        let Received::Packet(packet) = socket::receive(&socket).unwrap() else {
            std::thread::yield_now();
            continue;
        };
        let (answer, handout) = match ClientMessage::decode(&packet.bytes, 0).unwrap() {
            ClientMessage::Hello(_) => {
                let (made, handout) = DaemonSide::create(8, 1 << 20, &Default::default()).unwrap();
                let arena_bytes = made.arena.len() as u64;
                side = Some(made);
                (welcome(arena_bytes), Some(handout))
            }
            ClientMessage::Open(open) => (opened(open.token), None),
            ClientMessage::Close(_) => continue,
        };
        let fds = handout.as_ref().map(|handout| handout.fds());
        let fds = fds.as_ref().map_or(&[][..], |fds| fds);
        assert!(socket::send(&socket, &answer.encode().unwrap(), fds).unwrap());
    }
    // The client takes a closed socket for a daemon that is gone; this one stays for as long as the process.
    std::mem::forget(socket);
    side.unwrap()
}

fn welcome(arena_bytes: u64) -> DaemonMessage {
    DaemonMessage::Welcome(Welcome {
        features: 0,
        slots: 8,
        arena_bytes,
        bindings_max: 8,
        shard: 0,
        daemon: String::new(),
    })
}

fn opened(token: u32) -> DaemonMessage {
    let tensor = |name: &str| TensorInfo {
        name: name.to_owned(),
        dtype: DType::F32 as u8,
        dims: vec![Some(4)],
    };
    DaemonMessage::Opened(Opened {
        token,
        handle: 0,
        model: "t/model".to_owned(),
        version: None,
        class_default: 3,
        inputs: vec![tensor("x")],
        outputs: vec![tensor("y")],
    })
}

#[test]
fn a_run_allocates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mlosd.sock");
    let listener = socket::listen(&path).unwrap();
    let daemon = std::thread::spawn(move || handshake(&listener));
    let client = Client::connect(&path).unwrap();
    let mut bound = client.open("t/model").unwrap().request().bind().unwrap();
    let mut daemon = daemon.join().unwrap();
    let terms = Terms::class(Class::Realtime).within(Duration::from_millis(1));
    for round in 0..RUNS {
        let (pending, sending) = allocations(|| {
            bound.input_mut::<f32>("x").unwrap()[3] = 1.0;
            bound.submit(&terms)
        });
        let request = daemon.requests.pop().unwrap().unwrap();
        daemon
            .responses
            .push(Response::new(request.id, Status::Ok))
            .unwrap();
        daemon.bell.ring();
        let ((back, timing), waiting) = allocations(|| {
            let (back, result) = pending.wait();
            let timing = result.unwrap();
            assert_eq!(back.outputs().unwrap().get::<f32>("y").unwrap(), [0.0; 4]);
            (back, timing)
        });
        assert_eq!((sending, waiting), (0, 0), "run {round}");
        assert_eq!(timing.class, None);
        bound = back;
    }
}
