//! mlos-hub
