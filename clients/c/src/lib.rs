//! `libmlos`: the client ([`mlos_client`]) behind a C interface. `include/mlos.h` is canonical, and says what each
//! function does; here is how.
//!
//! Handles are boxes; pointers become checked types in a function's first lines; errors become a number and words kept
//! by thread. Nothing unwinds into C: a panic is caught and becomes `MLOS_INTERNAL`.
//!
//! Deliberately not here: anything that the Rust client does not do.

mod abi;
mod client;
mod error;
mod model;
mod pointers;
mod request;
mod run;
mod signal;
