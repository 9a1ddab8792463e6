//! The one place that names the executor.
//!
//! Everything else in the engine speaks of [`spawn`], [`sleep`], [`need_preempt`], [`Listener`] and [`Stream`]. An
//! executor that offers these — thread per core, local futures, wakers that other threads may call — can take
//! glommio's place.
//!
//! Two queues share an executor: the *front* queue, where connections and decisions run, and the *bulk* queue for
//! cooperative work. `need_preempt` follows the shortest latency of the queues that have tasks, so the bulk queue
//! must itself carry a latency, or a checkpoint would not see that I/O waits.

mod glommio;

use std::time::Duration;

pub use self::glommio::{
    Io as Stream, Listener, need_preempt, permitted, run_on, sleep, spawn, spawn_bulk, yield_bulk, yield_now,
};

/// Name of the executor, for `/stats`.
pub const NAME: &str = "glommio";

/// How an executor is started.
#[derive(Debug, Clone)]
pub struct ExecutorConfig {
    /// Logical processor it is pinned to.
    pub cpu: usize,
    /// Name of its thread.
    pub name: String,
    /// How often the front queue wants to be asked while other queues run.
    pub front_latency: Duration,
    /// How long cooperative work may hold the thread while I/O waits.
    pub slice: Duration,
}
