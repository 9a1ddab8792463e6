//! What each client has asked, for whoever looks.

use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::atomic::Ordering::Relaxed;

/// Counters of one client. Written by the core that serves it, read by all; but for `orders`, which both the control
/// thread and the core count.
#[derive(Debug, Default)]
pub(crate) struct ClientCounters {
    pub(crate) requests: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Messages of its socket that its core has not seen yet.
    pub(crate) orders: AtomicU32,
}

/// One client, as of now.
#[derive(Debug, Clone)]
pub struct ClientStats {
    /// Its number, since the daemon started.
    pub id: u64,
    /// What it calls itself.
    pub name: String,
    /// Its process.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// The core that serves it.
    pub shard: usize,
    /// The length of its arena.
    pub arena_bytes: u64,
    /// Inferences asked for.
    pub requests: u64,
    /// Of these, refused before they ran.
    pub refused: u64,
    /// Of these, failed.
    pub failed: u64,
}

impl ClientCounters {
    /// Asked, refused, failed.
    pub(crate) fn read(&self) -> (u64, u64, u64) {
        (
            self.requests.load(Relaxed),
            self.refused.load(Relaxed),
            self.failed.load(Relaxed),
        )
    }
}
