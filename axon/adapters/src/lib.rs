//! axon-adapters
