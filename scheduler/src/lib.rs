//! mlos-scheduler
