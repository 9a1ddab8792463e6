//! The local edge: clients of this machine, whose tensors the models read and write where they lie.
//!
//! A client speaks to the [`Control`] thread over a Unix socket: who it is, which memory it is given, which models it
//! opens. Everything else goes through that memory: one core [serves](serve()) the client's rings by one call of
//! [`StandingService::ask`](mlos_api::StandingService::ask) for each request, without a copy and without an allocation.
//! While clients are busy and the core has nothing else to do it polls their rings; otherwise each sleeps on a bell.
//!
//! A client that dies, stalls or lies costs itself its connection: `mlos_shm` copies out and checks whatever it says
//! before this crate sees it.
//!
//! It is deliberately not an engine, and knows no executor: [`Host`] is what it needs of one.
#![forbid(unsafe_code)]

mod config;
mod control;
mod error;
mod host;
mod limits;
mod poller;
mod port;
mod serve;
mod stats;

pub use config::{Config, Limits, usual_path};
pub use control::{Clients, Control, Orders, Places, orders};
pub use error::Error;
pub use host::Host;
pub use serve::serve;
