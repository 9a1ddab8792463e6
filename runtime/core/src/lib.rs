//! mlos-core
