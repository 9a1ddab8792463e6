//! The edge from outside: bodies through its reader, connections through its server, both on a fake engine with real
//! tensor memory.

mod bodies;
mod connection;
mod contract;
mod parser;
mod schema;
mod support;
