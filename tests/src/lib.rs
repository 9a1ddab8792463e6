//! mlos-tests
