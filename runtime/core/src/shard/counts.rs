//! What a shard counts, and what it says of its load, for whoever looks.

use std::sync::atomic::Ordering::Relaxed;

use mlos_api::{Class, Timing};
use mlos_scheduler::{Policy, Thread};

use super::Shard;
use crate::class::to_policy;
use crate::executor;
use crate::metrics::{add, bump};
use crate::registry::Graph;

/// A job that has finished, for the counters.
pub(crate) struct Ran<'a> {
    pub graph: &'a Graph,
    pub class: Class,
    pub arrived_ns: u64,
    pub deadline_ns: Option<u64>,
    pub compute_ns: u64,
    pub preemptions: u32,
    pub parts: u32,
}

impl Shard {
    /// Counts a job that has finished, and says where its time went.
    pub fn note_finished(&self, ran: &Ran<'_>) -> Timing {
        // The policy has just said so, and reading the clock takes longer than what was done since.
        let now_ns = self.decided_ns.get();
        let total_ns = now_ns.saturating_sub(ran.arrived_ns);
        let counters = self.counters.class(ran.class);
        bump(&counters.completed);
        counters.latency.record_ns(total_ns);
        if ran.deadline_ns.is_some_and(|deadline_ns| now_ns > deadline_ns) {
            bump(&counters.deadline_missed);
        }
        let queue_ns = total_ns.saturating_sub(ran.compute_ns);
        let model = ran.graph.counters(self.index);
        bump(&model.completed);
        add(&model.queue_ns, queue_ns);
        Timing {
            queue_ns,
            compute_ns: ran.compute_ns,
            total_ns,
            preemptions: ran.preemptions,
            parts: ran.parts,
        }
    }

    /// Says how much waits and runs here now.
    pub fn publish_gauges(&self) {
        let policy = self.policy.borrow();
        let rests = policy.jobs_len() == 0;
        // So it is after each request of a client that asks one after the other, and so it was before.
        let rested = self.gauges_rest.replace(rests);
        if !(rests && rested) {
            self.publish_load(&policy);
        } else if !self.counters.bulk_idle.load(Relaxed) {
            // A shard that wanted to give work took the flag down, and gave none.
            self.counters.bulk_idle.store(true, Relaxed);
        }
        let score = &policy.stats().score;
        self.counters.predictions.store(score.predictions, Relaxed);
        self.counters.predictions_accurate.store(score.accurate, Relaxed);
        self.counters.predictions_missed.store(score.missed, Relaxed);
        self.counters
            .predictions_false_alarm
            .store(score.false_alarms, Relaxed);
    }

    fn publish_load(&self, policy: &Policy) {
        for class in Class::ALL {
            let counters = self.counters.class(class);
            counters
                .queued
                .store(policy.queue_len(to_policy(class)) as u64, Relaxed);
            counters
                .backlog_ns
                .store(policy.backlog_ns(to_policy(class)), Relaxed);
        }
        self.counters.bulk_idle.store(self.is_bulk_idle(), Relaxed);
        // In `layer` mode too, where what waits for the core is a run of this very thread.
        let threads = self.threads.borrow();
        executor::share_core(threads.iter().any(|thread| thread.running.is_some()));
    }

    /// Whether the thread that runs BATCH work has nothing to run.
    pub fn is_bulk_idle(&self) -> bool {
        let bulk = if self.lanes.is_empty() {
            Thread::FRONT
        } else {
            Thread::lane_of(mlos_scheduler::Class::Batch)
        };
        self.threads.borrow()[bulk.index()].running.is_none()
    }
}
