//! The one clock. Policy and records speak in nanoseconds since the process began to serve.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

static START_NS: LazyLock<u64> = LazyLock::new(monotonic_ns);

/// Time since the first call in this process.
#[must_use]
pub fn now() -> Duration {
    Duration::from_nanos(now_ns())
}

/// Nanoseconds since the first call in this process.
#[must_use]
pub fn now_ns() -> u64 {
    // The start first: it is made by the first call.
    let start_ns = *START_NS;
    monotonic_ns().saturating_sub(start_ns)
}

/// A time of the system's monotonic clock, as this clock tells it.
pub(crate) fn of_monotonic_ns(ns: u64) -> u64 {
    ns.saturating_sub(*START_NS)
}

/// So long after a time; never, if that is beyond what can be said.
pub(crate) fn after(start_ns: u64, time: Duration) -> u64 {
    start_ns.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// Without `Instant`, which takes as long again to subtract as the clock takes to be read, several times a request.
fn monotonic_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Milliseconds of wall time since 1970, for records.
#[must_use]
pub fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
