//! The HTTP edge: HTTP/1.1 and JSON in, one call of [`mlos_api::Service`], JSON out.
//!
//! [`serve_connection`] serves one connection of one core. It takes the stream, the engine's handle, a [`Timer`],
//! and the core's [`Edge`] (its [`Config`] and the counters that its [`Limits`] bound). It names no executor: the
//! daemon brings the stream and the timer, and polls the future on the core that accepted the connection.
//!
//! A request goes `router` → `handlers` → `receive` (the body, within its limits) → `decode` (straight into tensor
//! memory) → the engine → `encode`. Statuses are given out in one place, `answer`. A client that goes away while its
//! request runs ends the connection's future, and with it the engine's: that cancels the request.
//!
//! It is deliberately not a place for access rules, metrics, batching or retries: those lie behind the trait, once
//! for all edges. It is not a TLS endpoint and not a file server.
//!
//! The contract is `openapi.yaml` beside this crate's manifest; a test holds it against the server.
#![forbid(unsafe_code)]

mod answer;
mod breath;
mod config;
mod connection;
mod cors;
mod decode;
mod encode;
mod error;
mod gather;
mod handlers;
mod json;
mod limits;
mod metrics;
mod receive;
mod router;
mod timer;
mod views;
mod watch;

pub use config::{Config, Edge};
pub use connection::serve_connection;
pub use decode::{Media, read_request};
pub use encode::write_response;
pub use error::Error;
pub use hyper::rt::{Read, Write};
pub use limits::Limits;
pub use timer::Timer;
