//! What can go wrong inside the engine, outside a request.

use std::path::PathBuf;

/// A failure of the engine itself: at start, or in its registry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The processors asked for are not there.
    #[error("{0}")]
    Topology(String),
    /// The configuration contradicts itself.
    #[error("configuration: {0}")]
    Config(String),
    /// A thread, a ring or a socket could not be made.
    #[error("cannot start {what}: {source}")]
    Start {
        /// What was being started.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
    /// Tensor memory could not be taken.
    #[error("tensor memory: {0}")]
    TensorMemory(#[from] mlos_tensor_mem::Error),
    /// A plugin could not be loaded.
    #[error("plugin: {0}")]
    Plugin(#[from] mlos_plugin_host::Error),
    /// The registry's file could not be read or written.
    #[error("registry {path}: {reason}")]
    Registry {
        /// The file.
        path: PathBuf,
        /// What failed, and what to do.
        reason: String,
    },
}
