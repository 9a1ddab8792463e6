//! What the policy is set up with.

use crate::job::Class;

/// How a running job can be overtaken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preemption {
    /// Not at all: one thread, every run goes to its end. The measured contrast.
    None,
    /// One thread; at checkpoints only. For hosts where threads cannot be weakened, and for bare metal.
    Layer,
    /// The front and a weaker lane for each of HIGH, NORMAL and BATCH; between threads the kernel arbitrates.
    #[default]
    Lanes,
}

/// What becomes of a job that would miss its deadline, or go beyond the REALTIME bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMiss {
    /// It is rejected at once, with the prediction.
    #[default]
    Reject,
    /// It runs as best effort: at most as NORMAL, ordered as if it had no deadline.
    Degrade,
}

/// The settings of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How a running job can be overtaken.
    pub preemption: Preemption,
    /// The longest time between two checkpoints that bulk work may cause while an urgent model is served.
    pub slice_target_ns: u64,
    /// A job whose predicted bound fits this runs on the front.
    pub front_budget_ns: u64,
    /// Queued jobs of one class, at most.
    pub queue_jobs_max: usize,
    /// Models of the shard, at most.
    pub models_max: usize,
    /// Guaranteed shares of any window by class, while jobs of the class wait and no REALTIME job does.
    pub share_per_mille: [u16; Class::COUNT],
    /// The window of the shares and of the REALTIME bound.
    pub window_ns: u64,
    /// How long a class runs in one go when it takes its guaranteed share.
    pub share_quantum_ns: u64,
    /// The part of a window that admitted REALTIME work may fill.
    pub realtime_bound_per_mille: u16,
    /// Time that a job without a deadline is given, for its place in the queue.
    pub default_budget_ns: [u64; Class::COUNT],
    /// What a run of unknown cost is taken to need in sums. Nothing is rejected on it.
    pub unknown_cost_ns: u64,
    /// How long after its last HIGH or REALTIME arrival a shard still counts as serving an urgent model.
    pub urgent_memory_ns: u64,
    /// Longest predicted time of one part of a splittable job when nothing urgent limits it.
    pub part_target_ns: u64,
    /// Longest predicted bound of a job that may overtake one of its own class below REALTIME.
    pub overtake_bound_ns: u64,
}

impl Default for Config {
    fn default() -> Self {
        const MS: u64 = 1_000_000;
        Self {
            preemption: Preemption::Lanes,
            slice_target_ns: MS / 2,
            front_budget_ns: 300_000,
            queue_jobs_max: 1024,
            models_max: 256,
            share_per_mille: [0, 0, 50, 10],
            window_ns: 1_000 * MS,
            share_quantum_ns: MS,
            realtime_bound_per_mille: 800,
            default_budget_ns: [10 * MS, 100 * MS, 1_000 * MS, 60_000 * MS],
            unknown_cost_ns: 10 * MS,
            urgent_memory_ns: 10_000 * MS,
            part_target_ns: 100 * MS,
            overtake_bound_ns: 2 * MS,
        }
    }
}

/// What the policy knows of a model before it has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// The class of its jobs that name none. A default of REALTIME or HIGH makes the model urgent: see `slice_target_ns`.
    pub class_default: Class,
    /// Rows allowed in one run: 0 sets no limit on a job's own rows; with 0 or 1 its jobs are never joined.
    pub max_batch_rows: u32,
    /// How long a job may wait for others to join, on a thread that would else be idle.
    pub max_queue_delay_ns: u64,
    /// First guess of how long before its use the model's memory should be fetched; 0 if it never need be.
    pub prefetch_lead_ns: u64,
    /// Its rows are independent, so that a job may be run in parts.
    pub splittable: bool,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            class_default: Class::Normal,
            max_batch_rows: 0,
            max_queue_delay_ns: 0,
            prefetch_lead_ns: 1_000_000,
            splittable: false,
        }
    }
}
