//! What an executor does for a client: watch one descriptor.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use crate::Error;
use crate::connection::Connection;

/// Watches a client's descriptor for the tasks that await its requests. One for each client, under any executor: wait
/// until the descriptor is readable, call [`on_readable`](Self::on_readable), again and again.
///
/// With the feature `tokio`, `tokio::spawn(client.driver().run())` does that.
#[derive(Clone, Debug)]
pub struct Driver {
    connection: Arc<Connection>,
}

impl Driver {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self { connection }
    }

    /// Takes the answers that are there and wakes the tasks that await them. Afterwards the descriptor is readable only
    /// when there is more. Never blocks on the daemon.
    ///
    /// # Errors
    /// [`Error::Gone`] when the connection has ended; all who wait were told.
    pub fn on_readable(&self) -> Result<(), Error> {
        self.connection.on_readable()
    }

    /// Drives the client under tokio until its connection ends, and says why it did.
    #[cfg(feature = "tokio")]
    pub async fn run(self) -> Error {
        match self.drive().await {
            Ok(gone) => gone,
            Err(error) => Error::Watch(error),
        }
    }

    #[cfg(feature = "tokio")]
    async fn drive(&self) -> std::io::Result<Error> {
        use std::io::{Error as IoError, ErrorKind};

        // The descriptor is a socket, so tokio's own type for sockets watches a copy of it: `AsyncFd` would have us
        // promise by `unsafe` that the descriptor stays open.
        let watched = std::os::unix::net::UnixStream::from(self.as_fd().try_clone_to_owned()?);
        let watched = tokio::net::UnixStream::from_std(watched)?;
        loop {
            watched.readable().await?;
            let mut seen = Ok(());
            // By "would block" tokio learns that the descriptor is unreadable until it is rung again.
            let _ = watched.try_io(tokio::io::Interest::READABLE, || -> std::io::Result<()> {
                seen = self.on_readable();
                Err(IoError::from(ErrorKind::WouldBlock))
            });
            if let Err(gone) = seen {
                return Ok(gone);
            }
        }
    }
}

impl AsFd for Driver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.bell.as_fd()
    }
}

impl AsRawFd for Driver {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
