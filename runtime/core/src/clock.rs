//! The one clock. Policy and records speak in nanoseconds since the process began to serve.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[expect(clippy::disallowed_methods, reason = "this is the one clock")]
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Time since the first call in this process.
#[must_use]
pub fn now() -> Duration {
    START.elapsed()
}

/// Nanoseconds since the first call in this process.
#[must_use]
pub fn now_ns() -> u64 {
    u64::try_from(now().as_nanos()).unwrap_or(u64::MAX)
}

/// Milliseconds of wall time since 1970, for records.
#[must_use]
pub fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
