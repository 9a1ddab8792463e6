//! Time, as the executor gives it.

use std::time::Duration;

/// The clock and the timers of the executor that polls the connection.
///
/// Not [`hyper::rt::Timer`]: that one wants its sleeps `Send + Sync`, which those of a thread-per-core executor are
/// not. A connection keeps at most one sleep at a time, and starts a new one only every few seconds, so neither
/// method needs to be cheaper than a few hundred nanoseconds.
pub trait Timer: 'static {
    /// Monotonic time since an arbitrary start.
    fn now(&self) -> Duration;

    /// Resolves after that time.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + 'static;
}
