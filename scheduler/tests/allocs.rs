//! After `new` the policy allocates nothing, whatever happens. Without the test harness, whose own thread allocates.

use std::alloc::System;

use mlos_scheduler::{
    Class, Config, Decision, Event, Job, JobId, Model, ModelIndex, OnMiss, Policy, Preemption, Thread,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn word(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

fn job(id: u64, now_ns: u64, random: &mut u64) -> Job {
    Job {
        id: JobId(id),
        model: ModelIndex((word(random) % 4) as u32),
        class: Class::ALL[word(random) as usize % Class::COUNT],
        deadline_ns: word(random).is_multiple_of(2).then_some(now_ns + word(random)),
        on_miss: if word(random).is_multiple_of(2) {
            OnMiss::Reject
        } else {
            OnMiss::Degrade
        },
        rows: (word(random) % 9) as u32,
        shape_key: 0,
    }
}

/// Sends random events; returns how many runs were started.
fn run(policy: &mut Policy, random: &mut u64, events: u64) -> u64 {
    let (mut busy, mut dispatched) = ([false; 4], 0);
    for id in 0..events {
        let now_ns = id * 20_000;
        let thread = Thread((word(random) % 4) as u8);
        let runs = busy[thread.index()];
        let event = match word(random) % 8 {
            0 if runs => Event::Complete {
                thread,
                elapsed_ns: word(random) % 500_000,
                longest_slice_ns: 50_000,
            },
            1 if runs => Event::Checkpoint { thread },
            2 if runs && word(random).is_multiple_of(8) => Event::Failed { thread },
            3 => Event::Cancel {
                job: JobId(id.saturating_sub(word(random) % 100)),
            },
            4 => Event::Tick,
            _ => Event::Arrive(job(id, now_ns, random)),
        };
        if matches!(event, Event::Complete { .. } | Event::Failed { .. }) {
            busy[thread.index()] = false;
        }
        for decision in policy.on(now_ns, event) {
            match *decision {
                Decision::Dispatch(dispatch) => {
                    busy[dispatch.thread.index()] = true;
                    dispatched += 1;
                }
                Decision::Resume { thread, .. } => busy[thread.index()] = true,
                _ => {}
            }
        }
    }
    policy.remove_model(events * 20_000, ModelIndex(0));
    dispatched
}

fn main() {
    for preemption in [Preemption::None, Preemption::Layer, Preemption::Lanes] {
        let mut policy = Policy::new(Config {
            preemption,
            ..Config::default()
        });
        for index in 0..4 {
            let model = Model {
                max_batch_rows: 8,
                splittable: index % 2 == 0,
                ..Model::default()
            };
            policy.add_model(ModelIndex(index), model);
            policy.set_profile(ModelIndex(index), 1, 200_000, 50_000);
        }
        let mut random = 5;
        let region = Region::new(ALLOCATOR);
        let dispatched = run(&mut policy, &mut random, 60_000);
        let change = region.change();
        assert_eq!(
            (change.allocations, change.reallocations),
            (0, 0),
            "{preemption:?}"
        );
        assert!(
            dispatched > 1_000,
            "{preemption:?}: {dispatched} runs are too few to prove anything"
        );
    }
    println!("nothing is allocated after new: ok");
}
