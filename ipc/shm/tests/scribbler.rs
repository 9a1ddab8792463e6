//! A client that writes anything anywhere, while the daemon reads: it gets faults and refusals, and never more.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mlos_shm::control::DaemonSide;
use mlos_shm::layout::{self, FRAME_HEADER_BYTES, FRAME_RECORD_BYTES, LINE_BYTES, REQUESTS_OFFSET};
use mlos_shm::{Fault, Frame, Op, Request, Response, Shape, Status};
use support::{ARENA_BYTES, Pair, Random, Vandal, pair};

const SLOTS: u32 = 16;
const RUNS: usize = 300;
/// It gives up.
const RUNS_MAX: usize = 100 * RUNS;

/// What the daemon met.
#[derive(Debug, Default)]
struct Met {
    requests: u64,
    frames: u64,
    refusals: u64,
    faults: u64,
}

impl Met {
    /// Whether there was something of everything.
    fn enough(&self) -> bool {
        self.requests > 1_000 && self.frames > 10 && self.refusals > 100 && self.faults > 10
    }
}

/// The daemon: serves until the client is found out, or for so long.
fn serve(mut daemon: DaemonSide, met: &mut Met, until: Instant) -> Option<Fault> {
    while Instant::now() < until {
        daemon.bell.arm();
        let request = daemon.requests.pop();
        daemon.bell.disarm();
        let request = match request {
            Ok(Some(request)) => request,
            Ok(None) => continue,
            Err(fault) => return Some(fault),
        };
        met.requests += 1;
        let status = answer(&daemon, &request, met);
        if daemon.responses.push(Response::new(request.id, status)).is_err() {
            let slots = daemon.responses.capacity();
            return Some(Fault::Overrun { slots });
        }
        daemon.bell.ring();
    }
    None
}

fn answer(daemon: &DaemonSide, request: &Request, met: &mut Met) -> Status {
    if request.op != Op::Bind {
        return Status::NotFound;
    }
    match Frame::read(
        &daemon.arena,
        request.frame_offset,
        request.frame_bytes,
        request.handle,
    ) {
        Ok(frame) => {
            met.frames += 1;
            // Only writes that the daemon makes later: they must stay inside whatever the frame said.
            for output in 0..frame.outputs.len() {
                frame.write_shape(&daemon.arena, output, &Shape::new(&[1, 2, 3]).unwrap());
            }
            if let Some(text) = frame.text {
                text.write(&daemon.arena, "a text that is as long as it is");
            }
            Status::Ok
        }
        Err(bad) => {
            met.refusals += 1;
            if let Some(text) = bad.text {
                text.write(&daemon.arena, &bad.to_string());
            }
            Status::InvalidArgument
        }
    }
}

/// Writes single words: mostly where they do something, often what is nearly right.
fn scribble(rings: &Vandal, arena: &Vandal, random: &mut Random, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        if random.below(4) == 0 {
            scribble_rings(rings, random);
        } else {
            scribble_frame(arena, random);
        }
    }
}

fn scribble_rings(rings: &Vandal, random: &mut Random) {
    let any = random.below(rings.len() as u64 / 4) as usize * 4;
    let slot = REQUESTS_OFFSET + random.below(SLOTS.into()) as usize * LINE_BYTES;
    match random.below(2_000) {
        0 => rings.write(slot, random.next() as u32),
        1 => rings.write(any, random.next() as u32),
        2..1_000 => rings.write(
            layout::responses_offset(SLOTS) + slot - REQUESTS_OFFSET,
            random.below(40) as u32,
        ),
        _ => rings.write(slot + 24, random.below(64) as u32 * 64),
    }
}

fn scribble_frame(arena: &Vandal, random: &mut Random) {
    let word = random.below(((FRAME_HEADER_BYTES + 3 * FRAME_RECORD_BYTES) / 8) as u64) as usize * 8;
    let near = |random: &mut Random| match random.below(4) {
        0 => random.next(),
        1 => ARENA_BYTES.wrapping_sub(random.below(200)),
        2 => random.below(1 << 14) * 64,
        _ => random.below(16) | random.below(10) << 8 | 1 << 16,
    };
    arena.u64(word).store(near(random), Ordering::Relaxed);
}

/// A client that speaks properly for a while, over memory that it scribbles on.
fn speak(mut client: mlos_shm::control::ClientSide, random: &mut Random, stop: &AtomicBool) {
    let bytes = layout::frame_bytes(3) as u32;
    let mut id = 0;
    while !stop.load(Ordering::Relaxed) {
        let request = match random.below(8) {
            0 => Request::infer(id, random.next() as u32),
            1 => Request::bind(id, 1, 0, random.next(), random.next() as u32),
            _ => Request::bind(id, 1, 0, 0, bytes),
        };
        id += 1;
        if client.requests.push(request).is_err() || client.bell.ring().is_err() {
            thread::yield_now();
        }
        // What the daemon says may be overwritten by ourselves: that is our own misfortune.
        let _ = client.responses.pop();
    }
}

#[test]
fn the_daemon_survives_whatever_a_client_writes() {
    let mut random = Random::seeded();
    let mut met = Met::default();
    let mut runs = 0;
    // A machine that does much else gives the three threads fewer turns: then it takes more runs.
    while runs < RUNS || !met.enough() {
        assert!(runs < RUNS_MAX, "{met:?}");
        runs += 1;
        let Pair {
            daemon,
            client,
            rings,
            arena,
        } = pair(SLOTS);
        // A frame that would be right, to be spoilt.
        arena.u64(0).store(1 << 32 | 2 << 48, Ordering::Relaxed);
        let stop = AtomicBool::new(false);
        let (mut a, mut b) = (Random::from(random.next()), Random::from(random.next()));
        thread::scope(|scope| {
            scope.spawn(|| scribble(&rings, &arena, &mut a, &stop));
            scope.spawn(|| speak(client, &mut b, &stop));
            let fault = serve(daemon, &mut met, Instant::now() + Duration::from_millis(10));
            stop.store(true, Ordering::Relaxed);
            met.faults += u64::from(fault.is_some());
        });
    }
    println!("{met:?} in {runs} runs");
}
