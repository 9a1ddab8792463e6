//! Counters that one shard writes and anyone reads.
//!
//! All loads and stores are relaxed: each counter is read on its own, and no other memory is published through it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use mlos_api::{Class, ClassStats};

/// Buckets of a latency histogram: the first ends at 1 us, each next at twice that, the last is unbounded.
const BUCKETS: usize = 36;

/// A histogram of latencies with doubling buckets.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            sum_us: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    pub fn record_ns(&self, ns: u64) {
        let us = ns.div_ceil(1_000).max(1);
        let bucket = (u64::BITS - (us - 1).leading_zeros()) as usize;
        bump(&self.buckets[bucket.min(BUCKETS - 1)]);
        add(&self.sum_us, ns / 1_000);
    }
}

/// Counters of one class on one shard.
#[derive(Debug, Default)]
pub(crate) struct ClassCounters {
    pub arrived: AtomicU64,
    pub completed: AtomicU64,
    pub failed: AtomicU64,
    pub rejected: AtomicU64,
    pub cancelled: AtomicU64,
    pub deadline_missed: AtomicU64,
    pub preempted: AtomicU64,
    /// A gauge: jobs queued now.
    pub queued: AtomicU64,
    /// A gauge: predicted time of what is queued and running, in ns.
    pub backlog_ns: AtomicU64,
    pub latency: Histogram,
}

/// Counters of one shard.
#[derive(Debug, Default)]
pub(crate) struct ShardCounters {
    pub classes: [ClassCounters; 4],
    pub predictions: AtomicU64,
    pub predictions_accurate: AtomicU64,
    pub predictions_missed: AtomicU64,
    pub predictions_false_alarm: AtomicU64,
    /// The thread for BATCH work has nothing to do. Whoever gives it something takes the flag down.
    pub bulk_idle: AtomicBool,
}

impl ShardCounters {
    pub fn class(&self, class: Class) -> &ClassCounters {
        &self.classes[class.index()]
    }
}

/// Counters of one graph on one shard.
///
/// On lines of their own, as cores that write to one line wait for each other.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct ModelCounters {
    pub completed: AtomicU64,
    pub failed: AtomicU64,
    pub runs: AtomicU64,
    pub compute_ns: AtomicU64,
    pub queue_ns: AtomicU64,
}

/// Counts one more, on the only thread that writes the counter: no other core's write can be lost, so none is locked out.
pub(crate) fn bump(counter: &AtomicU64) {
    add(counter, 1);
}

/// As [`bump`], by more than one.
pub(crate) fn add(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

/// Sums a class over shards.
pub(crate) fn class_stats<'a>(class: Class, shards: impl Iterator<Item = &'a ShardCounters>) -> ClassStats {
    let mut stats = ClassStats {
        class,
        arrived: 0,
        completed: 0,
        failed: 0,
        rejected: 0,
        cancelled: 0,
        deadline_missed: 0,
        preempted: 0,
        queued: 0,
        latency_buckets_us: (0..BUCKETS).map(|bucket| (1 << bucket, 0)).collect(),
        latency_sum_us: 0,
    };
    for shard in shards {
        let counters = shard.class(class);
        stats.arrived += counters.arrived.load(Relaxed);
        stats.completed += counters.completed.load(Relaxed);
        stats.failed += counters.failed.load(Relaxed);
        stats.rejected += counters.rejected.load(Relaxed);
        stats.cancelled += counters.cancelled.load(Relaxed);
        stats.deadline_missed += counters.deadline_missed.load(Relaxed);
        stats.preempted += counters.preempted.load(Relaxed);
        stats.queued += counters.queued.load(Relaxed);
        stats.latency_sum_us += counters.latency.sum_us.load(Relaxed);
        for (sum, bucket) in stats.latency_buckets_us.iter_mut().zip(&counters.latency.buckets) {
            sum.1 += bucket.load(Relaxed);
        }
    }
    stats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_falls_into_the_bucket_that_bounds_it() {
        let shard = ShardCounters::default();
        for ns in [0, 1_000, 1_001, 2_000, 1_000_000, u64::MAX] {
            shard.class(Class::High).latency.record_ns(ns);
        }
        let stats = class_stats(Class::High, std::iter::once(&shard));
        let filled: Vec<(u64, u64)> = stats
            .latency_buckets_us
            .iter()
            .copied()
            .filter(|bucket| bucket.1 > 0)
            .collect();
        assert_eq!(filled, [(1, 2), (2, 2), (1024, 1), (1 << (BUCKETS - 1), 1)]);
    }
}
