//! The edge on its own, with an engine of a few lines: what a whole daemon gets to seldom, or slowly.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod engine;
mod host;
mod limits;
mod order;
mod polling;
mod requests;
