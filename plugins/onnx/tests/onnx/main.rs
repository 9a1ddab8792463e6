//! The plugin behind the real host, with the real ONNX Runtime.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cache;
mod calls;
mod checkpoints;
mod dtypes;
mod files;
mod host;
mod models;
mod rearrange;
mod split;
