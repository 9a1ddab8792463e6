//! The descriptor that an event loop watches: readable when the daemon rings, and when an answer that somebody polled for
//! was taken by another call.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::task::Wake;

use mlos_client::{Driver, Status};
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::io::Errno;

use crate::error::Failure;

/// An `epoll` of the client's bell and of an `eventfd` of ours. Loops may watch it as any descriptor.
#[derive(Debug)]
pub(crate) struct Signal {
    both: OwnedFd,
    own: OwnedFd,
}

impl Signal {
    pub(crate) fn new(driver: &Driver) -> Result<Arc<Self>, Failure> {
        Self::try_new(driver).map(Arc::new).map_err(|errno| Failure {
            status: Status::Internal,
            text: format!("cannot watch the connection: {errno}"),
        })
    }

    fn try_new(driver: &Driver) -> Result<Self, Errno> {
        let both = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let own = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        for fd in [driver.as_fd(), own.as_fd()] {
            epoll::add(&both, fd, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
        }
        Ok(Self { both, own })
    }

    /// Makes it unreadable until there is more; what it was readable for is looked at after.
    pub(crate) fn clear(&self) {
        // An error says that there was nothing to read.
        let _ = rustix::io::read(&self.own, &mut [0; 8]);
    }
}

impl AsRawFd for Signal {
    fn as_raw_fd(&self) -> RawFd {
        self.both.as_raw_fd()
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // An error says that it is full, so it is readable already.
        let _ = rustix::io::write(&self.own, &1_u64.to_ne_bytes());
    }
}
