//! The one place that names the executor.
//!
//! Everything else in the engine speaks of [`spawn`], [`sleep`], [`yield_to_io`], [`Listener`] and [`Stream`]. An
//! executor that offers these — thread per core, local futures, wakers that other threads may call — can take
//! glommio's place.
//!
//! Two queues share an executor: the *front* queue, where connections and decisions run, and the *bulk* queue for
//! cooperative work, which gets the core when the front queue is empty.

mod awake;
mod glommio;
pub mod news;

pub use self::awake::{is_core_shared, share_core};
pub use self::glommio::{
    Event, EventFile, Io as Stream, Listener, heard_ns, permitted, run_on, sleep, spawn, spawn_bulk,
    yield_to_io,
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
}
