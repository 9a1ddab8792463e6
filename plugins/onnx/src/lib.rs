//! The ONNX plugin: runs ONNX models with ONNX Runtime, and can stop between their layers.
//!
//! [`OnnxPlugin`] finds the runtime's library and loads models; [`OnnxModel`] is one, and runs. On the first load a
//! model is *prepared*: ONNX Runtime optimises it, the optimised graph is timed, and `mlos::Yield` operators are put
//! between its nodes wherever the time since the last one passes a target, so that the host can suspend or cancel an
//! inference there; matrix products that are many slices long are split, and pairs of small operators become one that is
//! a checkpoint, if the results stay the same to the bit. The result is kept in the cache folder that the host names. Inputs
//! are read where the host has them, outputs are written where the host wants them.
//!
//! A prepared model does not depend on its files any more. One that could not be prepared runs as it came, without
//! checkpoints, and says why in the log; if its weights lie in files of their own, those must not change while it is loaded,
//! as they are mapped.
//!
//! Of MLOS it knows only `mlos-smi`. Built in: `mlos_smi::entry_of::<OnnxPlugin>()`. As a shared object:
//! `cargo rustc -p mlos-plugin-onnx --features export --crate-type cdylib`.
//!
//! What it is not: a scheduler (the host decides at each checkpoint), a batcher, or a converter of other formats.

mod cache;
mod contiguous;
mod declared;
mod describe;
mod dtype;
mod error;
mod graph;
mod join_op;
mod key;
mod library;
mod limits;
mod model;
mod options;
mod pages;
mod plan;
mod plugin;
mod prepare;
mod rearrange;
mod rearrange_op;
mod sample;
mod schema;
mod session;
mod shapes;
mod source;
mod split;
mod strings;
mod sys;
mod threads;
mod timing;
mod wire;
mod yield_op;

pub use error::{Error, ErrorKind, Result};
pub use library::{LIBRARY_VARIABLE, environment};
pub use model::OnnxModel;
pub use options::{Configuration, LoadOptions};
pub use plugin::OnnxPlugin;

#[cfg(feature = "export")]
mlos_smi::export_plugin!(OnnxPlugin);
