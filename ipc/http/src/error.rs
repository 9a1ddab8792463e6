//! Why a connection ended other than by its own end.

use std::io;

/// Why [`serve_connection`](crate::serve_connection) gave up. Nothing needs to be done about any of them; they are
/// for logs. What is wrong with a single *request* is answered to its client and does not show here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client broke the protocol, or went away in the middle of a request.
    #[error("connection ended: {0}")]
    Http(#[from] hyper::Error),
    /// The client sent a head too slowly.
    #[error("the head of a request took longer than {0:?}")]
    HeadTime(std::time::Duration),
    /// More connections than [`Limits::connections_max`](crate::Limits::connections_max).
    #[error("{0} connections are open already")]
    TooManyConnections(usize),
    /// The stream failed.
    #[error("stream failed: {0}")]
    Io(#[from] io::Error),
}
