//! ONNX models of true architectures with seeded random weights, for tests, the demo and benchmarks.
//!
//! A [`Zoo`] entry names an architecture. [`Zoo::write`] writes it as a file, [`Zoo::inputs`] makes valid inputs for
//! it, and [`Zoo::input_specs`] says what a manifest must say. [`Size::Tiny`] is the same topology with few channels
//! and layers, for tests that have to be fast. The same seed gives the same bytes, on every machine. A [`Probe`] is a
//! model of one node that shows one corner: an element type, a symbolic dimension, an output of unknown size.
//!
//! Behind them is [`Graph`], a builder with a method for each operator, whose weights are only produced while they are
//! written: BERT-base costs its file and no memory, and its parameters can be counted without either.
//!
//! It is not a model hub: nothing here has learned anything (but see `models/digits`, and [`minilm_l6`] for weights from
//! elsewhere), and outputs mean nothing. It is
//! not an ONNX library either: [`onnx`] has the messages that the writer needs and no others. The `onnx-protobuf`
//! crate would have been the alternative; it holds weights in memory and is under another licence (MPL-2.0).

#![forbid(unsafe_code)]

mod dtype;
mod graph;
mod input;
mod models;
pub mod onnx;
mod ops;
mod prng;
mod probe;
mod save;
mod zoo;

pub use dtype::DType;
pub use graph::{Dim, Fill, Graph, Value, Weight};
pub use input::{Input, IoSpec};
pub use models::bert::minilm_l6;
pub use ops::Conv;
pub use prng::Prng;
pub use probe::{Probe, write_sparse};
pub use save::{ExternalData, IR_VERSION, OPSET};
pub use zoo::{Size, Zoo};
