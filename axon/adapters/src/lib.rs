//! Where models come from: one adapter per hub, behind one trait.
//!
//! A [`Reference`] is what a user names. [`Adapters::find`] gives the [`Adapter`] that takes it, which resolves it to
//! a [`Resolved`]: an id, a pinned revision, the files with their hashes. [`Fetch`] brings those into the store of
//! `axon-package`, checked while they stream, and [`describe()`] makes the manifest if the source has none.
//! [`HuggingFace`] speaks to the hub of that name and to all that answer like it; [`Local`] reads this machine's disk, [`Registry`] a
//! directory of models that several machines share.
//!
//! What it is not: it installs nothing by itself (the caller commits), runs nothing, reads no environment variables
//! (the caller passes options), and converts no formats.
#![forbid(unsafe_code)]

mod adapter;
mod choose;
mod describe;
mod download;
mod error;
mod fetch;
mod http;
mod huggingface;
pub mod limits;
mod local;
mod preprocess;
mod reference;
mod registry;
mod resolved;
mod sink;

pub use adapter::{Adapter, Adapters, Answer, Progress, Silent};
pub use choose::{FormatChoice, choose};
pub use describe::describe;
pub use error::{Error, ErrorKind, Result};
pub use fetch::Fetch;
pub use http::{Retry, Token};
pub use huggingface::{ENDPOINT, HuggingFace, HuggingFaceOptions, Network};
pub use local::{Local, fetch_archive};
pub use reference::{ModelName, Reference, Target};
pub use registry::Registry;
pub use resolved::{About, Checksum, RemoteFile, Resolved, Source};
