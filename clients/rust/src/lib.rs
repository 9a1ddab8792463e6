//! A client of the MLOS daemon on the same machine: about a microsecond to a model and back, without a copy.
//!
//! A [`Client`] shares memory with the daemon. [Opening](Client::open) a [`Model`] tells its inputs and outputs; its
//! [`Request`] lays out tensors in the shared memory, which the daemon checks once. What comes of that, a [`Bound`], is
//! filled in place and run as often as you like: nothing is copied, allocated or checked again.
//!
//! ```no_run
//! use mlos_client::{Class, Client, Terms};
//! use std::time::Duration;
//!
//! let client = Client::connect("/run/mlos/mlosd.sock")?;
//! let mut digits = client.open("mlos/digits")?.request().bind()?;
//!
//! digits.input_mut::<f32>("image")?.fill(0.5);
//! let outputs = digits.infer(&Terms::class(Class::Realtime).within(Duration::from_millis(2)))?;
//! println!("{:?}, computed in {:?}", outputs.get::<f32>("logits")?, outputs.timing().compute);
//! # Ok::<(), mlos_client::Error>(())
//! ```
//!
//! Many at once: [`Bound::submit`] makes a [`Pending`], which gives no access to memory until it is
//! [waited](Pending::wait) for, in any order ([`Client::wait_any`]). Dropping it cancels it. With an async runtime a
//! [`Pending`] is awaited, or [`Bound::infer_async`] used, while a task runs the client's [`Driver`].
//!
//! A wait looks at the ring for a while ([`Options::spin`]) and then sleeps. When the daemon goes, whoever waits is told
//! ([`Error::Gone`]) at once or within [`Options::timeout`]; [`Client::reconnect`] connects anew.
//!
//! Deliberately not here: the protocol (`mlos-shm`), other machines (HTTP), threads of its own, and retries: an error
//! says by its [kind](Error::kind) whether to try again.

#![forbid(unsafe_code)]

mod bound;
mod client;
mod connection;
mod driver;
mod error;
mod flights;
pub mod limits;
mod model;
mod numbers;
mod options;
mod outputs;
mod pending;
mod request;
mod strings;
mod tensors;
mod terms;

pub use bound::Bound;
pub use client::Client;
pub use driver::Driver;
pub use error::{Direction, Error};
pub use mlos_shm::{ArenaStats, DType, Element, Shape, Status};
pub use model::{Model, TensorInfo};
pub use options::{Options, default_path};
pub use outputs::Outputs;
pub use pending::{Finished, Pending};
pub use request::Request;
pub use terms::{Class, OnMiss, Terms, Timing};
