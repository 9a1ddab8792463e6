//! Which models there are: on disk, in memory, and as every shard sees them.
//!
//! [`Store`](store) keeps records across restarts. [`package`] reads a folder into what can be loaded. The
//! [`loader`] thread loads off the hot path. [`Control`](control) is the one actor that changes anything: it commits
//! a record, has it loaded, and publishes a new [`Snapshot`] to the shards, which look models up without a lock.

pub(crate) mod control;
mod graph;
pub(crate) mod loader;
mod package;
mod snapshot;
mod store;

pub(crate) use control::{Control, Request};
pub(crate) use graph::{Bound, Entry, Graph, Ticket};
pub(crate) use snapshot::Snapshot;
pub(crate) use store::Store;
