//! mlos-api
