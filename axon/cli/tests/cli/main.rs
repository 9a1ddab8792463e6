//! The real `axon`, run as a process against a hub on loopback: files in, command, expected text.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod adapters;
mod commands;
mod daemon;
mod disk_full;
mod faults;
mod killed;
mod model_files;
mod world;
