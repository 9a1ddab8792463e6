//! Health and numbers, as plain serialisable facts.

use serde::Serialize;

use crate::Class;

/// Whether the daemon wants traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Readiness {
    /// Serving.
    Healthy,
    /// SIGTERM came: what is in flight is finished, nothing new should come.
    Draining,
}

/// `GET /health`.
#[derive(Debug, Clone, Serialize)]
pub struct Health {
    /// Whether it wants traffic.
    pub status: Readiness,
    /// Of the daemon.
    pub version: String,
    /// Since start.
    pub uptime_ms: u64,
    /// Models that answer requests.
    pub models_ready: usize,
    /// Models that are being loaded.
    pub models_loading: usize,
}

/// One plugin.
#[derive(Debug, Clone, Serialize)]
pub struct PluginStatus {
    /// Id, as `onnx`.
    pub id: String,
    /// Human name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Formats it runs.
    pub formats: Vec<String>,
    /// `built-in`, or the path of its library.
    pub source: String,
}

/// Counters of one class, over all shards.
#[derive(Debug, Clone, Serialize)]
pub struct ClassStats {
    /// Which class.
    pub class: Class,
    /// Requests that arrived.
    pub arrived: u64,
    /// Answered with a result.
    pub completed: u64,
    /// Answered with an error by the model or plugin.
    pub failed: u64,
    /// Refused by admission.
    pub rejected: u64,
    /// Cancelled by their clients.
    pub cancelled: u64,
    /// Done, but after their deadline.
    pub deadline_missed: u64,
    /// Times one was suspended for something more urgent.
    pub preempted: u64,
    /// Jobs queued now.
    pub queued: u64,
    /// Latency from arrival to completion: upper bounds of the histogram's buckets in us, with counts. The buckets
    /// double, so a quantile read from them is at most twice the true one.
    pub latency_buckets_us: Vec<(u64, u64)>,
    /// Sum of those latencies.
    pub latency_sum_us: u64,
}

/// Counters of one version of a model.
#[derive(Debug, Clone, Serialize)]
pub struct ModelStats {
    /// `namespace/name@version`.
    pub model: String,
    /// Answered with a result.
    pub completed: u64,
    /// Answered with an error.
    pub failed: u64,
    /// Runs of the plugin.
    pub runs: u64,
    /// Time in the plugin.
    pub compute_us: u64,
    /// Time in queues.
    pub queue_us: u64,
    /// Memory it holds.
    pub resident_bytes: u64,
}

/// Numbers of one shard.
#[derive(Debug, Clone, Serialize)]
pub struct ShardStats {
    /// Index of the shard.
    pub shard: usize,
    /// The processor it is pinned to.
    pub cpu: usize,
    /// Its NUMA node.
    pub node: usize,
    /// Work queued and running, as predicted.
    pub backlog_us: u64,
    /// Which mechanism weakens each lane, as `SCHED_IDLE`.
    pub lanes: Vec<String>,
    /// Cost model: predictions made.
    pub predictions: u64,
    /// Cost model: predictions that held.
    pub predictions_accurate: u64,
    /// Cost model: runs longer than predicted.
    pub predictions_missed: u64,
    /// Cost model: predicted misses that were none.
    pub predictions_false_alarm: u64,
    /// Tensor memory of the shard.
    pub pool: PoolStatus,
}

/// Tensor memory of one shard.
#[derive(Debug, Clone, Serialize)]
pub struct PoolStatus {
    /// Most it may take.
    pub limit_bytes: u64,
    /// Taken from the system.
    pub reserved_bytes: u64,
    /// On loan now.
    pub in_use_bytes: u64,
    /// Loans since start.
    pub loans: u64,
}

/// One client of this machine, over shared memory.
#[derive(Debug, Clone, Serialize)]
pub struct ClientStats {
    /// Its number, since the daemon started.
    pub id: u64,
    /// What it calls itself.
    pub name: String,
    /// Its process.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// The shard that serves it.
    pub shard: usize,
    /// The memory it shares with the daemon.
    pub arena_bytes: u64,
    /// Inferences asked for.
    pub requests: u64,
    /// Of these, refused before they were queued.
    pub refused: u64,
    /// Of these, ended without a result after that.
    pub failed: u64,
}

/// `GET /stats`.
#[derive(Debug, Clone, Serialize)]
pub struct Stats {
    /// Of the daemon.
    pub version: String,
    /// Since start.
    pub uptime_seconds: f64,
    /// Requests that arrived.
    pub total_requests: u64,
    /// Answered with a result.
    pub successful_requests: u64,
    /// Answered with an error.
    pub failed_requests: u64,
    /// Mean from arrival to completion.
    pub avg_response_time_us: f64,
    /// `none`, `layer` or `lanes`.
    pub preemption: String,
    /// `glommio`.
    pub executor: String,
    /// By class, the most urgent first.
    pub classes: Vec<ClassStats>,
    /// By model.
    pub models: Vec<ModelStats>,
    /// By shard.
    pub shards: Vec<ShardStats>,
    /// Clients of this machine that are connected.
    pub clients: Vec<ClientStats>,
}
