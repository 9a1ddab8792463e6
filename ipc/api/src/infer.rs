//! One inference: what goes in, what comes out, and where its time went.

use std::time::Duration;

use bytes::Bytes;
use mlos_tensor_mem::Tensor;

use crate::{Class, ModelRef, OnMiss};

/// A tensor with the name the model knows it by.
#[derive(Debug, Clone)]
pub struct NamedTensor {
    /// Name of the model's input or output.
    pub name: String,
    /// The data, frozen.
    pub tensor: Tensor,
}

/// What a request gives the model.
#[derive(Debug, Clone)]
pub enum Inputs {
    /// Tensors by name.
    Tensors(Vec<NamedTensor>),
    /// Texts, one row each, for the tokenizer that the manifest declares.
    Text(Vec<String>),
    /// An encoded image (PNG, JPEG, WebP, BMP, GIF), one row each, for the preprocessing that the manifest declares.
    Image(Vec<Bytes>),
}

/// A request for one inference.
#[derive(Debug, Clone)]
pub struct InferRequest {
    /// Which model, and which version; none is the active one.
    pub model: ModelRef,
    /// Which graph of a package of several (`encoder`, `decoder`); none is the first.
    pub component: Option<String>,
    /// What goes in.
    pub inputs: Inputs,
    /// The outputs wanted, by name; empty for all.
    pub outputs: Vec<String>,
    /// Urgency; none is the model's default.
    pub class: Option<Class>,
    /// Time from arrival by which it must be done.
    pub deadline: Option<Duration>,
    /// What to do when it would be late.
    pub on_miss: OnMiss,
}

/// Where the time of a request went, in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timing {
    /// Waiting for its turn, suspensions included.
    pub queue_ns: u64,
    /// Running in the plugin.
    pub compute_ns: u64,
    /// From arrival at the service to the finished outputs.
    pub total_ns: u64,
    /// How often it was suspended for something more urgent.
    pub preemptions: u32,
    /// In how many parts it ran.
    pub parts: u32,
}

/// The result of one inference.
#[derive(Debug, Clone)]
pub struct InferResponse {
    /// The model and the version that answered.
    pub model: ModelRef,
    /// Outputs in the model's order.
    pub outputs: Vec<NamedTensor>,
    /// Where the time went.
    pub timing: Timing,
    /// The class it ran in: BATCH when it was degraded.
    pub class: Class,
}
