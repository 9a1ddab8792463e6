//! What the system tests share: the real daemon and the real command line as processes, and who talks to them.
//!
//! [`Daemon`] is one running `mlosd` with a [`Home`] of its own (state, models, settings), started with [`Options`];
//! it is drained when it goes out of scope, and its log is printed when the test fails. [`Client`] is one HTTP
//! connection to it, [`Local`] one over shared memory, and [`Package`] writes models for it: affine ones for the C example plugin, or those of the zoo.
//! [`Reference`] is ONNX Runtime without us, to compare with; [`minilm()`] is a model that has learned something. [`until`] waits for what must happen, for as long as it
//! may take and no longer.
//!
//! The programs are those of this build: [`binary()`] has cargo build them when they are older than their sources. The
//! variable `MLOS_TESTS_BIN_DIR` names a folder with others to test instead, as they are.
//!
//! More variables change how much a run does: `MLOS_TESTS_KILLS` (200 by default),
//! with `MLOS_TESTS_SEED` for other moments of them, and `MLOS_TESTS_CONNECTIONS` (10,000); over shared memory
//! `MLOS_TESTS_LOCAL_KILLS` (1,000) and `MLOS_TESTS_SCRIBBLE_SECONDS` (60, a third of it in each mode).
//!
//! It is not a client library: it panics where anything is not as it should be, as the tests that use it would.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    reason = "it runs in tests only, where a panic is the report"
)]

mod binary;
mod body;
mod client;
mod daemon;
mod limits;
mod local;
mod minilm;
mod package;
mod plugin;
mod process;
mod reference;
mod served;
mod wait;

pub use binary::binary;
pub use body::{json_of, request_of};
pub use client::{Answer, Client};
pub use daemon::{Daemon, Home, Options, first_core};
pub use local::{Asking, Bound, Local, given};
pub use minilm::{minilm, tokens};
pub use package::Package;
pub use plugin::affine_library;
pub use process::{Finished, run};
pub use reference::{Reference, onnx_library};
pub use served::{Data, Output, served};
pub use wait::{until, until_within};

use std::path::{Path, PathBuf};

/// A file or folder of the repository.
#[must_use]
pub fn repository(path: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    root.join(path)
}

/// A count that the environment may change, for a longer run than the one that everybody does every time, or a shorter.
#[must_use]
pub fn count(variable: &str, usual: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is not a count")),
        Err(_) => usual,
    }
}
