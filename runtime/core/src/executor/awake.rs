//! Keeps a core awake for a moment after it has answered.
//!
//! A client that asks again at once then finds a core that looks, not one that must be woken, which takes as long as a
//! short inference. A core whose weaker threads have work does not wait like this: it would keep them from it.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::{Poll, Waker};

use crate::clock;

/// How long a client may take to ask again.
const MOMENT_NS: u64 = 50_000;

thread_local! {
    /// When the moment after the last answer is over.
    static UNTIL_NS: Cell<u64> = const { Cell::new(0) };
    /// Whether other threads of this core have work.
    static SHARED: Cell<bool> = const { Cell::new(false) };
    static WAKER: Cell<Option<Waker>> = const { Cell::new(None) };
}

/// An answer has left this core.
pub(super) fn answered() {
    UNTIL_NS.set(clock::now_ns() + MOMENT_NS);
    if let Some(waker) = WAKER.take() {
        waker.wake();
    }
}

/// Says whether other threads of this core have work to do.
pub fn share_core(shared: bool) {
    SHARED.set(shared);
}

/// Whether other threads of this core have work to do, so that whoever waits should sleep.
pub fn is_core_shared() -> bool {
    SHARED.get()
}

/// The task that keeps its core awake, by `look`, which gives way to everything else and looks for I/O.
pub(super) async fn keep_awake(look: impl AsyncFn()) {
    loop {
        poll_fn(|cx| {
            if is_the_moment() {
                return Poll::Ready(());
            }
            WAKER.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        while is_the_moment() {
            look().await;
        }
    }
}

fn is_the_moment() -> bool {
    !SHARED.get() && clock::now_ns() < UNTIL_NS.get()
}
