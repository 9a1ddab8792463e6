//! Bounds of everything that could grow. Memory for them is taken in `Policy::new`.

use crate::job::Class;

/// Threads of a shard: the front and three lanes.
pub const THREADS: usize = 4;
/// Jobs that may run together.
pub const MEMBERS_MAX: usize = 64;
/// Queued jobs of one class, whatever the configuration says.
pub const QUEUE_JOBS_MAX: usize = 16_384;
/// Models of a shard, whatever the configuration says.
pub const MODELS_MAX: usize = 4_096;
/// Runs that can exist at once: on each thread one running and one set aside in each class.
pub const RUNS_MAX: usize = THREADS * (1 + Class::COUNT);
/// Longest time that a run is taken to need: 4.9 hours. Sums over all jobs of a shard then fit 64 bits.
pub const RUN_NS_MAX: u64 = 1 << 44;
/// Batch sizes that the cost model tells apart: 1, 2, 4, … rows, and all above in the last.
pub const COST_BUCKETS: usize = 16;
/// Queued jobs that are looked at for joining one run.
pub const JOIN_SCAN_MAX: usize = 128;
/// Runs in a row that may go ahead of an earlier deadline because their model is warm.
pub const WARM_STREAK_MAX: u32 = 4;
/// Queued jobs that are looked at for one that may be taken to another shard.
pub const TAKE_SCAN_MAX: usize = 8;
/// Longest and shortest lead time of a prefetch.
pub const PREFETCH_LEAD_MAX_NS: u64 = 100_000_000;
/// See [`PREFETCH_LEAD_MAX_NS`].
pub const PREFETCH_LEAD_MIN_NS: u64 = 10_000;
/// Shards among which all are compared when routing; beyond, two picked at random.
pub const ROUTE_ALL_MAX: usize = 8;
