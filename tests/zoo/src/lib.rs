//! mlos-zoo
