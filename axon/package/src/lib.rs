//! axon-package
