//! The engine as its edges use it: real shards, real lanes, and the example plugin in C, built here with the system's
//! compiler.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod jobs;
mod models;
mod shards;
mod standing;
mod support;
mod versions;
