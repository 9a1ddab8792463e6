//! What keeps the edge from starting.

use std::path::PathBuf;

/// Why the edge does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another daemon answers at the socket.
    #[error("{} is the socket of a daemon that runs; stop it, or name another with --local", .0.display())]
    InUse(PathBuf),
    /// What lies at the path is no socket.
    #[error("{} is there and no socket; name another path with --local", .0.display())]
    NoSocket(PathBuf),
    /// The socket cannot be made.
    #[error("cannot listen at {}: {reason}; name another path with --local, or `off`", path.display())]
    Listen {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}
