//! How to connect.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mlos_shm::control::Hello;

use crate::{Client, Error, limits};

/// The variable that names the socket for programs that do not.
const SOCKET_VARIABLE: &str = "MLOS_SOCKET";

/// What a client asks for when it connects.
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) name: String,
    pub(crate) spin: Duration,
    pub(crate) timeout: Duration,
    pub(crate) slots: u32,
    pub(crate) arena_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: program(),
            spin: limits::SPIN_DEFAULT,
            timeout: limits::TIMEOUT_DEFAULT,
            slots: 0,
            arena_bytes: 0,
        }
    }
}

impl Options {
    /// The client's name for itself in the daemon's logs and statistics; the program's by default.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How long a wait looks at its ring before it sleeps. Zero sleeps at once: right where the client shares its core
    /// with the daemon, or with anybody who has better use for it.
    #[must_use]
    pub fn spin(mut self, spin: Duration) -> Self {
        self.spin = spin;
        self
    }

    /// How long anything waits for the daemon.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many requests may be in flight: a power of two; 0 for the protocol's default. The daemon may grant less.
    #[must_use]
    pub fn slots(mut self, slots: u32) -> Self {
        self.slots = slots;
        self
    }

    /// The memory for tensors, in bytes; 0 for the protocol's default. The daemon may grant less.
    #[must_use]
    pub fn arena_bytes(mut self, bytes: u64) -> Self {
        self.arena_bytes = bytes;
        self
    }

    /// Connects to the daemon at that socket.
    ///
    /// # Errors
    /// [`Error::Connect`] when nobody answers there, [`Error::Refused`] with the daemon's reason.
    pub fn connect(self, path: impl AsRef<Path>) -> Result<Client, Error> {
        Client::with(path.as_ref(), self)
    }

    /// Connects to the daemon at [`default_path`].
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_default(self) -> Result<Client, Error> {
        self.connect(default_path())
    }

    pub(crate) fn hello(&self) -> Hello {
        Hello {
            features: 0,
            slots: self.slots,
            arena_bytes: self.arena_bytes,
            name: self.name.clone(),
        }
    }
}

/// Where a daemon listens if nobody said otherwise: `$MLOS_SOCKET`; a user's own daemon in `$XDG_RUNTIME_DIR`, if there
/// is one; else the system's.
#[must_use]
pub fn default_path() -> PathBuf {
    if let Some(path) = std::env::var_os(SOCKET_VARIABLE) {
        return path.into();
    }
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(|folder| Path::new(&folder).join("mlosd.sock"));
    own.filter(|path| path.exists())
        .unwrap_or_else(|| "/run/mlos/mlosd.sock".into())
}

fn program() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let end = name.floor_char_boundary(mlos_shm::limits::NAME_BYTES_MAX);
    name[..end].to_owned()
}
