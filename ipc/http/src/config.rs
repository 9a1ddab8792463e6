//! What the daemon decides about the edge, and what one core's connections share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::Limits;
use crate::limits::BODY_SPARE_BYTES_MAX;

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
    /// The memory of a body that has been decoded, for the next one.
    spare: RefCell<Vec<u8>>,
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

    /// Memory for a body of so many bytes, that of an earlier one if there is any: what the kernel has to give anew it
    /// clears page by page, which takes longer than receiving the body.
    pub(crate) fn body_buffer(&self, bytes: usize) -> Vec<u8> {
        let mut buffer = self.spare.take();
        buffer.clear();
        buffer.reserve(bytes);
        buffer
    }

    /// Keeps the larger of this memory and what is kept already.
    pub(crate) fn keep(&self, buffer: Vec<u8>) {
        let mut kept = self.spare.borrow_mut();
        if buffer.capacity() > kept.capacity() && buffer.capacity() <= BODY_SPARE_BYTES_MAX {
            *kept = buffer;
        }
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
    pub(crate) const fn edge(&self) -> &Edge {
        self.edge
    }

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
