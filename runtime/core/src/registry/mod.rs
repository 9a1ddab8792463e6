//! Which models there are: on disk, in memory, and as every shard sees them.
//!
//! [`Store`](store) keeps records across restarts. [`package`] reads a folder into what can be loaded. The
//! [`loader`] thread loads off the hot path. [`Control`](control) is the one actor that changes anything: it commits
//! a record, has it loaded, and publishes a new [`Snapshot`] to the shards, which look models up without a lock. What
//! the shards may hold of it stands in [`Holdings`](holdings), which outlives the actor.

use std::cell::RefCell;
use std::rc::Rc;

use async_channel::Receiver;

use crate::actor::supervise;

pub(crate) mod control;
mod graph;
mod holdings;
pub(crate) mod loader;
mod package;
mod snapshot;
mod store;
mod version;

pub(crate) use control::{Control, Request};
pub(crate) use graph::{Bound, Entry, Graph, Ticket};
pub(crate) use snapshot::Snapshot;
pub(crate) use store::Store;

/// Serves requests until every sender is gone, on this thread.
pub(crate) async fn serve(wiring: control::Wiring, inbox: Receiver<Request>) {
    let holdings = Rc::new(RefCell::default());
    supervise("registry", inbox, || {
        let mut control = Control::new(wiring.clone(), Rc::clone(&holdings));
        futures_lite::future::block_on(control.restore());
        control
    })
    .await;
}

#[cfg(test)]
mod tests;
