//! The policy of one shard.

use crate::config::{Config, Model};
use crate::decision::{Decisions, Prediction};
use crate::job::{Class, Event, Job, ModelIndex, Thread};
use crate::stats::Stats;

/// Decides for one shard. See the crate's documentation.
#[derive(Debug)]
pub struct Policy {
    config: Config,
    decisions: Decisions,
    stats: Stats,
}

impl Policy {
    /// Takes all memory that it will ever use.
    pub fn new(config: Config) -> Self {
        Self { config, decisions: Decisions::with_capacity(64, 64), stats: Stats::default() }
    }

    /// Adds a model, or replaces what is known of it. False if the index is beyond `models_max`.
    pub fn add_model(&mut self, index: ModelIndex, _model: Model) -> bool {
        (index.0 as usize) < self.config.models_max
    }

    /// Removes a model: its queued jobs are rejected, what runs goes on to its end.
    pub fn remove_model(&mut self, _now_ns: u64, _index: ModelIndex) -> &Decisions {
        self.decisions.clear();
        &self.decisions
    }

    /// Tells what one run of `rows` rows was measured to take, at load time.
    pub fn set_profile(&mut self, _index: ModelIndex, _rows: u32, _total_ns: u64, _longest_slice_ns: u64) {}

    /// Takes one event in and answers with what to do. `now_ns` never goes back.
    pub fn on(&mut self, _now_ns: u64, _event: Event) -> &Decisions {
        self.decisions.clear();
        &self.decisions
    }

    /// What would become of a job that arrived now.
    pub fn predict(&self, now_ns: u64, _job: &Job) -> Prediction {
        let bound_ns = self.config.unknown_cost_ns;
        let completion_ns = now_ns + bound_ns;
        Prediction { completion_ns, bound_ns, would_miss: false, known: false, placement: Thread::FRONT }
    }

    /// Takes the next queued job of a class that has not begun, for another shard.
    pub fn take_queued(&mut self, _now_ns: u64, _class: Class) -> Option<Job> {
        None
    }

    /// Predicted time of all queued work of a class.
    pub fn backlog_ns(&self, _class: Class) -> u64 {
        0
    }

    /// Queued jobs of a class.
    pub fn queue_len(&self, _class: Class) -> usize {
        0
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }
}
