//! Counters of a policy. They only grow.

use crate::job::Class;

/// Counters of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassStats {
    /// Jobs that arrived with this class.
    pub arrivals: u64,
    /// Runs started, each part of a job counted.
    pub dispatches: u64,
    /// Jobs that joined the run of another.
    pub joined: u64,
    /// Runs set aside for something else.
    pub preemptions: u64,
    /// Checkpoints reached and runs ended.
    pub slices: u64,
    /// Jobs that ended with all rows done.
    pub finished: u64,
    /// Of these, those done after their deadline.
    pub misses: u64,
    /// Jobs rejected.
    pub rejects: u64,
    /// Jobs accepted as best effort; counted for the class they arrived with.
    pub degraded: u64,
    /// Jobs cancelled or failed.
    pub dropped: u64,
    /// Jobs handed to another shard.
    pub taken: u64,
    /// Rows computed.
    pub rows: u64,
    /// Time on a thread.
    pub busy_ns: u64,
}

/// How good the cost model's predictions were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Jobs with a deadline that ended and whose meeting or missing it had been predicted.
    pub predictions: u64,
    /// Of these, those that did as predicted.
    pub accurate: u64,
    /// Of these, those that were predicted to be in time and were late.
    pub missed: u64,
    /// Of these, those that were predicted to be late and were in time.
    pub false_alarms: u64,
    /// Runs that ended and whose cost had been known.
    pub runs: u64,
    /// Of these, those that ended within their bound.
    pub runs_within_bound: u64,
    /// Sum over these of the distance between predicted mean and true time.
    pub error_sum_ns: u64,
}

impl Score {
    /// Runs within their bound, per mille: near 1000 if bounds are honest. `None` before the first.
    pub fn calibration_per_mille(&self) -> Option<u64> {
        (self.runs_within_bound * 1_000).checked_div(self.runs)
    }

    /// Predictions that came true, per mille. `None` before the first.
    pub fn accuracy_per_mille(&self) -> Option<u64> {
        (self.accurate * 1_000).checked_div(self.predictions)
    }
}

/// How well prefetches were timed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefetchStats {
    /// Prefetches asked for.
    pub issued: u64,
    /// Data there when the model ran, and not long before.
    pub on_time: u64,
    /// Data not there yet when the model ran.
    pub late: u64,
    /// Data there long before the model ran.
    pub early: u64,
}

/// All counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// By class.
    pub classes: [ClassStats; Class::COUNT],
    /// Of the cost model.
    pub score: Score,
    /// Of the prefetches.
    pub prefetch: PrefetchStats,
}
