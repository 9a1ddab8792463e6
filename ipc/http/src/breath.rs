//! Reading and writing large bodies in breaths.
//!
//! A body of megabytes takes milliseconds to decode, on the same thread that serves urgent requests. So what works
//! through a body is asynchronous, and calls an `AsyncFn()` every [`mlos_api::limits::BREATHE_BYTES`] or so: in the
//! server that is [`mlos_api::Service::breathe`].

use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Runs a future that never waits, because it was given nothing to wait for.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the future was given a breath that does not wait"),
    }
}
