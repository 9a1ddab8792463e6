//! Pauses in long stretches of work on a core's front.

use std::cell::Cell;

use crate::{clock, executor};

/// How long work may keep its core from looking for I/O: what an urgent request may have to wait for it. A look costs
/// some ten microseconds.
const EVERY_NS: u64 = 100_000;

/// Remembers when the core was last let go.
#[derive(Debug, Default)]
pub(crate) struct Breath(Cell<u64>);

impl Breath {
    /// Lets what waits on this core run, if it has waited for long.
    pub async fn take(&self) {
        if clock::now_ns().saturating_sub(self.0.get()) >= EVERY_NS {
            executor::yield_to_io().await;
            self.0.set(clock::now_ns());
        }
    }
}
