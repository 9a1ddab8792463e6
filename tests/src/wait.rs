//! Waiting for what must happen.

use std::time::{Duration, Instant};

use crate::limits;

/// Looks again and again until there is something, and returns it.
///
/// # Panics
/// When it takes longer than anything should.
#[track_caller]
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_within(limits::WAIT, what, look)
}

/// As [`until`], with another limit.
///
/// # Panics
/// When it takes longer.
#[track_caller]
pub fn until_within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::park_timeout(limits::LOOK);
    }
}
