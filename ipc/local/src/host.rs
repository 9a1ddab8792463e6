//! What the edge asks of the executor that it runs on.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The executor of one core. A handle: cloning is cheap.
#[expect(async_fn_in_trait, reason = "one core's futures are never sent to another")]
pub trait Host: Clone + 'static {
    /// An event counter that a future can wait for.
    type Bell: 'static;

    /// Takes a counter.
    fn bell(&self, counter: OwnedFd) -> Self::Bell;

    /// Waits until the counter has been raised, and sets it to zero.
    async fn rung(&self, bell: &Self::Bell) -> io::Result<()>;

    /// Runs a future on this core.
    fn spawn(&self, future: impl Future<Output = ()> + 'static);

    /// Lets everything else on this core run, and looks for I/O.
    async fn look(&self);

    /// Waits.
    async fn sleep(&self, time: Duration);

    /// Whether other work of this core waits for it, so that nobody should poll.
    fn is_core_shared(&self) -> bool;

    /// Whether a look would find something. Costs far less than the look, and what was found once is not found again.
    fn has_news(&self, now_ns: u64) -> bool;

    /// From now on there is news, too, when this says so.
    fn announce(&self, has_some: impl Fn() -> bool + 'static);

    /// When this core last received something from clients over the network, for whom it should look often; 0 for never.
    fn heard_ns(&self) -> u64;

    /// Monotonic time.
    fn now_ns(&self) -> u64;
}
