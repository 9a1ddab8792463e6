//! The client against a daemon that is made of the protocol's daemon ends, and answers as a test needs it.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults;
mod flight;
mod requests;
mod support;
mod tasks;
