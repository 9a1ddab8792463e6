//! The Model Package Format: what a model is called, which files it has, and how they are kept on disk.
//!
//! A [`Manifest`] names a model ([`ModelId`]), its files with their hashes, and its inputs and outputs. An `.axon`
//! archive ([`archive`]) is a manifest and those files in one compressed tar. A [`Store`] holds installed models,
//! every file once, and survives a kill at any instruction. [`detect`] tells what a file is by looking inside.
//!
//! Everything here treats its input as hostile: paths, lengths, hashes and headers come from strangers. All bounds
//! are in [`limits`].
//!
//! What it is not: it downloads nothing (see `axon-adapters`), runs nothing, and knows no executor. All I/O is
//! plain `std`; callers that are asynchronous put it on a thread of their own.
#![forbid(unsafe_code)]

pub mod archive;
pub mod detect;
mod digest;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod id;
pub mod limits;
pub mod manifest;
mod path;
mod store;

pub use digest::{NotSha256, Sha256};
pub use error::{Error, ErrorKind, Problem, Problems, Result};
pub use id::{ModelId, nearest};
pub use manifest::{FileEntry, Manifest};
pub use path::MANIFEST_NAME;
pub use store::*;

/// A name that no other process or thread uses at the same time, for temporary files.
pub(crate) fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // Only uniqueness is asked of the counter, no ordering with other memory.
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // The clock tells apart processes that get the same id after a crash.
    let nanos = std::time::UNIX_EPOCH
        .elapsed()
        .map_or(0, |elapsed| elapsed.as_nanos());
    format!("{}-{count}-{nanos:x}", std::process::id())
}
