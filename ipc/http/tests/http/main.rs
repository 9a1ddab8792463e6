//! The edge from outside: bodies through its reader, connections through its server, both on a fake engine with real
//! tensor memory.
#![expect(clippy::unwrap_used, reason = "a test's helpers are part of the test")]

mod bodies;
mod connection;
mod contract;
mod parser;
mod schema;
mod support;
