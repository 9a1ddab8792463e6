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

struct Measured {
    arrive_ns: u64,
    complete_ns: u64,
    allocs: usize,
}

fn measure(preemption: Preemption) -> Measured {
    let mut loaded = Loaded::new(preemption, QUEUED);
    let (mut arrive, mut complete) = (Vec::with_capacity(BATCHES), Vec::with_capacity(BATCHES));
    let region = Region::new(ALLOCATOR);
    for _ in 0..BATCHES {
        arrive.push(timed(&mut loaded, Loaded::arrive));
        complete.push(timed(&mut loaded, Loaded::complete));
    }
    let change = region.change();
    let allocs = change.allocations + change.reallocations;
    assert_eq!(loaded.queued(), QUEUED, "as many jobs leave as come");
    Measured {
        arrive_ns: median(&mut arrive),
        complete_ns: median(&mut complete),
        allocs,
    }
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
    let lanes = measure(Preemption::Lanes);
    let layer = measure(Preemption::Layer);
    let worst_ns = [&lanes, &layer]
        .into_iter()
        .flat_map(|of| [of.arrive_ns, of.complete_ns])
        .max()
        .unwrap_or_default();
    let report = json!({
        "figures": { "decide_ns": worst_ns, "decide_allocs": lanes.allocs + layer.allocs },
        "n": 4 * BATCH * BATCHES,
        "details": {
            "queued": QUEUED,
            "lanes_arrive_ns": lanes.arrive_ns,
            "lanes_complete_ns": lanes.complete_ns,
            "layer_arrive_ns": layer.arrive_ns,
            "layer_complete_ns": layer.complete_ns,
        },
    });
    println!("{report}");
}
