//! Loads for the benchmarks of MLOS: what several of them share.

pub mod decide;
