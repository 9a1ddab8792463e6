//! The engine of MLOS: it decides what runs where and when, and runs it.
//!
//! [`Engine::start`] makes a *shard* of every core. A shard's *front* is the executor's thread: edges accept
//! connections on it, the policy of [`mlos_scheduler`] decides on it, and what is short or urgent is computed on it.
//! Its *lanes* are weaker threads of the same core for long work, so the kernel hands the core to the front within
//! microseconds. Edges see the engine through [`Node`], this core's [`mlos_api::Service`].
//!
//! Three threads stand beside the shards, all weaker than the fronts: the registry (which models there are, on disk
//! and for every shard), the loader (which loads and unloads off the hot path), and preprocessing (text and images).
//!
//! It is deliberately not a policy (that is pure, and next door), not an edge, and not a plugin: it runs whatever
//! speaks [SMI](mlos_plugin_host).
#![forbid(unsafe_code)]

mod actor;
mod breath;
mod class;
pub mod clock;
mod config;
mod engine;
mod error;
pub mod executor;
pub mod limits;
mod metrics;
mod preprocess;
mod registry;
mod service;
mod shard;
pub mod topology;
mod weaken;

pub use config::{EngineConfig, PreemptionMode};
pub use engine::Engine;
pub use error::Error;
pub use service::{Node, Standing};
