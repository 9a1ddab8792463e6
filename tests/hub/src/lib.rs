//! A model hub in a process: the part of the Hugging Face protocol that clients use, over loopback, with faults on demand.
//!
//! [`Hub::start`] serves a directory: `ROOT/org/name/` is a repository's `main`, `ROOT/org/name@v1/` its revision `v1`; the commit
//! id of a revision is a hash of its content. Small files come from the hub's own address, large ones (as Git LFS would hold them)
//! by a redirect to `/objects/…` at a second address that plays the content network, so that a test can see whether a token travels there.
//! Every request is kept ([`Hub::requests`]); [`Hub::inject`] adds a [`Fault`], [`Hub::gate`] asks for a token.
//!
//! It is trusted because the official `huggingface_hub` client downloads from it (`tests/official_client.rs`).
//! It is not a registry: nothing is uploaded, nothing is stored, and it listens on loopback only.
#![forbid(unsafe_code)]

mod fault;
mod http;
mod hub;
mod limits;
mod record;
mod repo;
mod routes;

pub use fault::{Fault, FaultKind, ParseFaultError};
pub use hub::{Hub, HubOptions};
pub use record::{Recorded, Side};
