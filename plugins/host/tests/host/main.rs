//! The host against real plugins: the C example, built here with the system's compiler, and plugins of the Rust SDK.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod calls;
mod faults;
mod loading;
mod logging;
mod parts;
mod rust_plugins;
mod shared;
mod support;
