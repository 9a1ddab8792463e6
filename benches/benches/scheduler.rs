//! What a scheduling decision costs, by how many jobs are queued.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mlos_benches::decide::Loaded;
use mlos_scheduler::{Preemption, ShardLoad, route};

/// Times one kind of decision and makes the opposite one between, so that the queue keeps its length.
fn timed(loaded: &mut Loaded, rounds: u64, decide: fn(&mut Loaded), undo: fn(&mut Loaded)) -> Duration {
    const BATCH: u64 = 50;
    let mut sum = Duration::ZERO;
    let mut left = rounds;
    while left > 0 {
        let batch = left.min(BATCH);
        let start = Instant::now();
        (0..batch).for_each(|_| decide(loaded));
        sum += start.elapsed();
        (0..batch).for_each(|_| undo(loaded));
        left -= batch;
    }
    sum
}

fn decide(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide");
    for (name, preemption) in [("lanes", Preemption::Lanes), ("layer", Preemption::Layer)] {
        for queued in [100usize, 1_000, 4_000] {
            let mut loaded = Loaded::new(preemption, queued);
            group.bench_function(BenchmarkId::new(format!("{name}/arrive"), queued), |bencher| {
                bencher.iter_custom(|rounds| timed(&mut loaded, rounds, Loaded::arrive, Loaded::complete));
            });
            group.bench_function(BenchmarkId::new(format!("{name}/complete"), queued), |bencher| {
                bencher.iter_custom(|rounds| {
                    // The arrivals come first, so that there is something to complete.
                    (0..50).for_each(|_| loaded.arrive());
                    let time = timed(&mut loaded, rounds, Loaded::complete, Loaded::arrive);
                    (0..50).for_each(|_| loaded.complete());
                    time
                });
            });
        }
    }
    group.finish();
}

fn route_among(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    for shards in [2u32, 8, 64] {
        let load = |shard| ShardLoad {
            completion_ns: 1_000 - u64::from(shard),
            node: shard % 2,
            serves: true,
        };
        let loads: Vec<_> = (0..shards).map(load).collect();
        group.bench_function(BenchmarkId::from_parameter(shards), |bencher| {
            bencher.iter(|| route(std::hint::black_box(&loads), 0, Some(1), 0x1234_5678));
        });
    }
    group.finish();
}

criterion_group!(benches, decide, route_among);
criterion_main!(benches);
