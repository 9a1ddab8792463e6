//! The plugin behind the real host, with the real ONNX Runtime.

mod cache;
mod calls;
mod checkpoints;
mod dtypes;
mod files;
mod host;
mod models;
