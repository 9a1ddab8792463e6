//! Bounds that are nobody's to set.

use std::time::Duration;

/// How long a client may take from connecting to its greeting.
pub(crate) const GREETING_TIME: Duration = Duration::from_secs(5);

/// Messages of one client on their way to its core. Its coming and its end come on top.
pub(crate) const ORDERS_PER_CLIENT_MAX: u32 = 64;

/// Events that one look at the sockets brings.
pub(crate) const EVENTS_MAX: usize = 64;
