//! What can be set.

use std::path::PathBuf;
use std::time::Duration;

/// Where a daemon of this user listens, and its clients look: in `/run/mlos` for root, else in the user's runtime folder.
#[must_use]
pub fn usual_path() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty());
    match runtime {
        Some(folder) if !rustix::process::geteuid().is_root() => PathBuf::from(folder).join("mlosd.sock"),
        _ => PathBuf::from("/run/mlos/mlosd.sock"),
    }
}

/// Settings of the edge.
#[derive(Debug, Clone)]
pub struct Config {
    /// The control socket.
    pub path: PathBuf,
    /// How long a core looks at the rings after the last request before it sleeps; zero to sleep at once.
    pub poll: Duration,
    /// Users whose processes are admitted, beside the daemon's own and root.
    pub users: Vec<u32>,
    /// Bounds on what clients take.
    pub limits: Limits,
}

/// What clients may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Clients at once.
    pub clients_max: usize,
    /// The arena of one client, in bytes.
    pub arena_bytes_max: u64,
    /// The arenas of all clients together, in bytes.
    pub arenas_bytes_max: u64,
    /// Requests in flight of one client.
    pub slots_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients_max: 1024,
            arena_bytes_max: 1 << 30,
            arenas_bytes_max: 8 << 30,
            slots_max: 1024,
        }
    }
}
