//! What a client may cost.

use std::time::Duration;

/// Bounds of one core's edge. The defaults are meant to be left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest body, in bytes (256 MiB). Larger ones get 413, before they are read where the client says their size.
    pub body_bytes_max: u64,
    /// Bytes of all bodies that are being received at one time (1 GiB). A request that does not fit gets 429.
    pub bodies_bytes_max: u64,
    /// Largest head, request line included, in bytes (32 KiB). Larger ones get 431.
    pub header_bytes_max: usize,
    /// From the first byte of a head to its end (10 s). Slower clients get 408.
    pub header_time: Duration,
    /// From the end of the head to the end of the body (60 s). Slower clients get 408.
    pub body_time: Duration,
    /// Without a request, or without reading the answer (75 s). The connection is then closed.
    pub idle_time: Duration,
    /// Connections at one time (16,384). Further ones are answered 503 and closed.
    pub connections_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 256 << 20,
            bodies_bytes_max: 1 << 30,
            header_bytes_max: 32 << 10,
            header_time: Duration::from_secs(10),
            body_time: Duration::from_secs(60),
            idle_time: Duration::from_secs(75),
            connections_max: 16_384,
        }
    }
}

/// Most of hyper's read buffer, and so of one piece of a body: large enough that a vision request of 3 MB takes a
/// dozen reads, small enough that a thousand uploads at once are bearable.
pub(crate) const READ_BUFFER_BYTES_MAX: usize = 256 << 10;

/// Set aside for a body at once because its client announced it. Above that, memory follows what really arrives.
pub(crate) const BODY_RESERVE_BYTES_MAX: u64 = 8 << 20;

/// Memory of one decoded body that a core keeps for the next; that of larger ones goes back to the system.
pub(crate) const BODY_SPARE_BYTES_MAX: usize = 32 << 20;

/// Read and thrown away after an early answer, so that the client sees the answer and not a reset connection.
pub(crate) const LINGER_BYTES_MAX: u64 = 16 << 20;

/// How long that may take.
pub(crate) const LINGER_TIME: Duration = Duration::from_secs(2);
