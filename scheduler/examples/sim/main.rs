//! Simulates many shards under load, from a seed, and prints latency by class and load.
//!
//!     cargo run -p mlos-scheduler --example sim -- [--shards N] [--jobs N] [--seed N]
//!
//! Every shard runs the real policy; time, arrivals, run times and the kernel's arbitration between a shard's threads are
//! simulated. So it shows what the policy does at sizes for which there is no machine at hand.

mod latency;
mod world;

use mlos_scheduler::{Class, Preemption};
use world::{Outcome, Scenario, World};

const LOADS_PER_MILLE: [u64; 3] = [500, 800, 950];

fn main() {
    let mut scenario = Scenario {
        shards: 1_000,
        jobs: 1_000_000,
        seed: 1,
        ..Scenario::default()
    };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for pair in arguments.chunks(2) {
        let value = pair.get(1).and_then(|value| value.parse().ok());
        match (pair[0].as_str(), value) {
            ("--shards", Some(value)) => scenario.shards = value as usize,
            ("--jobs", Some(value)) => scenario.jobs = value as usize,
            ("--seed", Some(value)) => scenario.seed = value,
            _ => {
                eprintln!("usage: sim [--shards N] [--jobs N] [--seed N]");
                std::process::exit(2);
            }
        }
    }
    println!(
        "{} shards, {} jobs a line, seed {}; latency in ms",
        scenario.shards, scenario.jobs, scenario.seed
    );
    println!("mode   load  class     done      p50      p99    p99.9   late  rejected  preempted");
    for preemption in [Preemption::Lanes, Preemption::Layer, Preemption::None] {
        for load_per_mille in LOADS_PER_MILLE {
            let outcome = World::new(Scenario {
                preemption,
                load_per_mille,
                ..scenario
            })
            .run();
            print(preemption, load_per_mille, &outcome);
        }
    }
}

fn print(preemption: Preemption, load_per_mille: u64, outcome: &Outcome) {
    let mode = match preemption {
        Preemption::None => "none",
        Preemption::Layer => "layer",
        Preemption::Lanes => "lanes",
    };
    for class in Class::ALL {
        let of = &outcome.classes[class.index()];
        let milliseconds = |per_mille: u64| of.latency.quantile_ns(per_mille) as f64 / 1e6;
        println!(
            "{mode:<6} {:.2}  {:<8} {:>6}  {:>7.3}  {:>7.3}  {:>7.3}  {:>5}  {:>8}  {:>9}",
            load_per_mille as f64 / 1e3,
            format!("{class:?}"),
            of.latency.count(),
            milliseconds(500),
            milliseconds(990),
            milliseconds(999),
            of.late,
            of.rejected,
            of.preempted,
        );
    }
    let score = |per_mille: Option<u64>| {
        per_mille.map_or("-".into(), |value| format!("{:.1} %", value as f64 / 10.0))
    };
    println!(
        "       {:.1} s; deadline predictions right {}, runs within their bound {}, taken by idle lanes {}, \
         fingerprint {:016x}",
        outcome.end_ns as f64 / 1e9,
        score(outcome.score.accuracy_per_mille()),
        score(outcome.score.calibration_per_mille()),
        outcome.taken,
        outcome.fingerprint,
    );
}
