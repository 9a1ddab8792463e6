//! Loads for the benchmarks of MLOS: what several of them share.
//!
//! Most of them run against a real [`daemon`] over HTTP: an urgent client asks at a [`paced`] rate, [`bulk`] clients
//! keep its cores busy, and what the urgent one saw is kept sample by sample in a [`histogram`]. The programs in
//! `src/bin` put these together and print JSON; `cargo xtask bench` runs them.
#![forbid(unsafe_code)]

pub mod bulk;
pub mod client;
pub mod daemon;
pub mod decide;
pub mod figures;
pub mod histogram;
pub mod local;
pub mod models;
pub mod paced;
pub mod quiet;
pub mod report;
pub mod svg;
pub mod urgent;
