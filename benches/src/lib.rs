//! mlos-benches
