//! Prints what a scheduling decision costs with 1,000 jobs queued, as JSON: `decide_ns`, the worst of the medians, and
//! `decide_allocs`, the allocations in all of them.
#![forbid(unsafe_code)]

use std::alloc::System;
use std::time::Instant;

use mlos_benches::decide::Loaded;
use mlos_scheduler::Preemption;
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const QUEUED: usize = 1_000;
/// Decisions timed together, since reading a clock costs about as much as one of them.
const BATCH: usize = 50;
const BATCHES: usize = 4_000;
/// Both modes in turn, so that a moment in which the machine is slow reaches no median.
const ROUNDS: usize = 20;

#[derive(Default)]
struct Measured {
    arrive: Vec<u64>,
    complete: Vec<u64>,
    allocs: usize,
}

fn measure(preemption: Preemption, into: &mut Measured) {
    let mut loaded = Loaded::new(preemption, QUEUED);
    into.arrive.reserve(BATCHES);
    into.complete.reserve(BATCHES);
    let region = Region::new(ALLOCATOR);
    for _ in 0..BATCHES {
        into.arrive.push(timed(&mut loaded, Loaded::arrive));
        into.complete.push(timed(&mut loaded, Loaded::complete));
    }
    let change = region.change();
    into.allocs += change.allocations + change.reallocations;
    assert_eq!(loaded.queued(), QUEUED, "as many jobs leave as come");
}

/// Time of one decision in picoseconds, so that a batch's mean is not rounded to whole nanoseconds.
fn timed(loaded: &mut Loaded, decide: fn(&mut Loaded)) -> u64 {
    let start = Instant::now();
    for _ in 0..BATCH {
        decide(loaded);
    }
    start.elapsed().as_nanos() as u64 * 1_000 / BATCH as u64
}

fn median(samples: &mut [u64]) -> u64 {
    samples.sort_unstable();
    samples[samples.len() / 2] / 1_000
}

fn main() {
    let (mut lanes, mut layer) = (Measured::default(), Measured::default());
    for _ in 0..ROUNDS {
        measure(Preemption::Lanes, &mut lanes);
        measure(Preemption::Layer, &mut layer);
    }
    let [
        lanes_arrive_ns,
        lanes_complete_ns,
        layer_arrive_ns,
        layer_complete_ns,
    ] = [
        &mut lanes.arrive,
        &mut lanes.complete,
        &mut layer.arrive,
        &mut layer.complete,
    ]
    .map(|samples| median(samples));
    let worst_ns = lanes_arrive_ns
        .max(lanes_complete_ns)
        .max(layer_arrive_ns)
        .max(layer_complete_ns);
    let report = json!({
        "figures": { "decide_ns": worst_ns, "decide_allocs": lanes.allocs + layer.allocs },
        "n": 4 * BATCH * BATCHES * ROUNDS,
        "details": {
            "queued": QUEUED,
            "lanes_arrive_ns": lanes_arrive_ns,
            "lanes_complete_ns": lanes_complete_ns,
            "layer_arrive_ns": layer_arrive_ns,
            "layer_complete_ns": layer_complete_ns,
        },
    });
    println!("{report}");
}
