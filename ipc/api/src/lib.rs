//! What an edge and the engine say to each other.
//!
//! An edge (HTTP, gRPC, shared memory) decodes bytes into the requests of this crate, calls **one** method of
//! [`Service`], and encodes what comes back. Everything between — access, admission, scheduling, metrics — lies
//! behind the trait, once for all edges. Tensors travel as loans of [`mlos_tensor_mem`], so an edge that parses
//! straight into a loan hands it to the plugin without a copy.
//!
//! The main types: [`InferRequest`] → [`Service::infer`] → [`InferResponse`], or an [`Error`] whose [`Kind`] maps
//! once to an HTTP status, a gRPC code or an errno.
//!
//! It is deliberately not a client, not a wire format, and knows no executor: futures here are not `Send`, because
//! a request is served by the core that accepted it.
#![forbid(unsafe_code)]

mod binding;
mod class;
mod error;
mod infer;
pub mod limits;
mod model;
mod service;
mod status;

pub use binding::{Asker, Binding, Outcome, StandingService, Terms};
pub use class::{Class, OnMiss};
pub use error::{Error, Kind};
pub use infer::{InferRequest, InferResponse, Inputs, NamedTensor, Timing};
pub use model::{
    Dim, LifecycleState, ModelDetail, ModelRef, ModelSummary, Preprocessing, RegisterRequest, Registered,
    ScanReport, Signature, SliceProfile, TensorSpec,
};
pub use service::Service;
pub use status::{
    ClassStats, ClientStats, Health, ModelStats, PluginStatus, PoolStatus, Readiness, ShardStats, Stats,
};
