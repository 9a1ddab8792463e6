//! Bounds that are nobody's to set.

use std::time::Duration;

/// How long a client may take from connecting to its greeting.
pub(crate) const GREETING_TIME: Duration = Duration::from_secs(5);

/// Messages to one core that wait there. Each client has one on its way at a time, and its end.
pub(crate) const ORDERS_MAX: usize = 4096;

/// Events that one look at the sockets brings.
pub(crate) const EVENTS_MAX: usize = 64;
