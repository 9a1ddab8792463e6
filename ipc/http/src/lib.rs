//! mlos-http
