//! What each client has asked, for whoever looks.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

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
