//! mlos-plugin-host
