//! What the daemon decides about the edge, and what one core's connections share.

use std::cell::Cell;
use std::rc::Rc;

use crate::Limits;

/// Settings of the HTTP edge.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// What a client may cost.
    pub limits: Limits,
    /// Origins of web pages that may call this server from a browser, as `https://example.org`; `*` is every one.
    /// Empty: none, and a browser's requests from other pages are refused where they would change something.
    pub cors_origins: Vec<String>,
}

/// What the connections of one core share: the settings, and what they hold together. Make one for each core.
#[derive(Debug, Default)]
pub struct Edge {
    /// The settings.
    pub(crate) config: Config,
    connections: Cell<usize>,
    body_bytes: Cell<u64>,
}

impl Edge {
    /// An edge with these settings and no connections.
    #[must_use]
    pub fn new(config: Config) -> Rc<Self> {
        Rc::new(Self {
            config,
            ..Self::default()
        })
    }

    /// Connections that are open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.get()
    }

    /// Bytes set aside for bodies that are being received or decoded now.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes.get()
    }

    /// A place for one more connection, given back on drop.
    pub(crate) fn admit(self: &Rc<Self>) -> Option<Place> {
        let open = self.connections.get();
        (open < self.config.limits.connections_max).then(|| {
            self.connections.set(open + 1);
            Place(Rc::clone(self))
        })
    }

    /// A share of the memory for bodies, given back on drop.
    pub(crate) fn share(&self) -> Share<'_> {
        Share { edge: self, bytes: 0 }
    }
}

/// One open connection.
pub(crate) struct Place(Rc<Edge>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
    }
}

/// What one body holds of [`Limits::bodies_bytes_max`].
pub(crate) struct Share<'a> {
    edge: &'a Edge,
    bytes: u64,
}

impl Share<'_> {
    /// Takes what is missing to `bytes`; false where that does not fit.
    pub(crate) fn grow_to(&mut self, bytes: u64) -> bool {
        let missing = bytes.saturating_sub(self.bytes);
        let held = self.edge.body_bytes.get().saturating_add(missing);
        if held > self.edge.config.limits.bodies_bytes_max {
            return false;
        }
        self.edge.body_bytes.set(held);
        self.bytes += missing;
        true
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.edge.body_bytes.set(self.edge.body_bytes.get() - self.bytes);
    }
}
