//! Bells: how a side that sleeps is woken.
//!
//! The daemon sleeps on a descriptor (an `eventfd`), among many others of its executor. A client sleeps in a `futex` on
//! its word, which needs no descriptor and is the quickest; or, when it has an executor of its own, on a descriptor.
//!
//! That descriptor is one end of a socket pair and no `eventfd`: both processes would hold *one* open file, so that a
//! client could fill its counter and take `O_NONBLOCK` from it, and the daemon's next ring would block for ever. A
//! `send` says by itself that it must not block. What the client rings is an `eventfd`, since there it is only itself
//! that can be blocked; the daemon empties it with a read that says by itself that it must not block.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::io::{Errno, ReadWriteFlags};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::thread::futex;
use rustix::time::Timespec;

use crate::asleep::{self, Sleep};
use crate::rings::Mapping;
use crate::{Error, Rings};

/// What the client is handed, so that it can ring the daemon and be rung.
#[derive(Debug)]
pub struct ClientBellFds {
    /// The daemon's bell: an `eventfd`.
    pub daemon: OwnedFd,
    /// The client's own: a socket, readable when it was rung, at its end when the daemon is gone.
    pub client: OwnedFd,
}

/// The daemon's side: it is woken by the descriptor that [`AsFd`] gives, and rings the client.
///
/// To sleep: [`arm`](Self::arm), look at the requests once more, and if there is none wait until the descriptor is
/// readable. Then, or if there was one after all: [`disarm`](Self::disarm).
#[derive(Debug)]
pub struct DaemonBell {
    mapping: Arc<Mapping>,
    own: OwnedFd,
    client: OwnedFd,
}

impl DaemonBell {
    /// Bells for new rings, and what the client gets of them.
    pub fn create(rings: &Rings) -> Result<(Self, ClientBellFds), Error> {
        // Without O_NONBLOCK: an executor that submits a read to the kernel would get it back at once.
        let flags = EventfdFlags::CLOEXEC;
        let own = rustix::event::eventfd(0, flags).map_err(|errno| Error::os("eventfd", errno))?;
        let daemon = own.try_clone().map_err(|error| Error::os("dup", error))?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (here, there) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(|errno| Error::os("socketpair", errno))?;
        let bell = Self {
            mapping: Arc::clone(rings.mapping()),
            own,
            client: here,
        };
        Ok((
            bell,
            ClientBellFds {
                daemon,
                client: there,
            },
        ))
    }

    /// Says that the daemon sleeps. Look at the requests once more before waiting.
    pub fn arm(&self) {
        asleep::lie_down(self.mapping.daemon_asleep(), Sleep::OnDescriptor);
    }

    /// Says that the daemon is awake, and makes the descriptor unreadable until it is rung again.
    pub fn disarm(&self) {
        asleep::get_up(self.mapping.daemon_asleep());
        self.clear();
    }

    /// Makes the descriptor unreadable until it is rung again. Never blocks, whatever the client did to it.
    pub fn clear(&self) {
        let mut count = [0; 8];
        // The file blocks, and the client may have emptied it: so the call itself says that it must not. An error means
        // that there was nothing to read.
        let at_position = u64::MAX;
        let _ = rustix::io::preadv2(
            &self.own,
            &mut [IoSliceMut::new(&mut count)],
            at_position,
            ReadWriteFlags::NOWAIT,
        );
    }

    /// After responses were pushed: wakes the client if it sleeps. Never blocks. Returns whether it had to.
    #[inline]
    pub fn ring(&self) -> bool {
        let word = self.mapping.client_asleep();
        match asleep::rouse(word) {
            None => return false,
            // An error could only say that nobody waits there.
            Some(Sleep::OnWord) => drop(futex::wake(word, futex::Flags::empty(), i32::MAX as u32)),
            // An error says that it is full, so that the client is rung already, or that the client is gone, which the
            // control socket tells better.
            Some(Sleep::OnDescriptor) => {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                let _ = rustix::net::send(&self.client, &[1], flags);
            }
        }
        true
    }
}

impl AsFd for DaemonBell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.own.as_fd()
    }
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The bell, or anything else: look at the ring.
    Maybe,
    /// The time given was over.
    TimedOut,
    /// The daemon is gone. What it has answered before is still in the ring.
    DaemonGone,
}

/// The client's side: it rings the daemon, and is woken on its word or by the descriptor that [`AsFd`] gives.
///
/// A thread sleeps by [`arm`](Self::arm) with [`Sleep::OnWord`], one more look at the responses, and
/// [`wait`](Self::wait). An executor arms with [`Sleep::OnDescriptor`], looks, waits until the descriptor is readable,
/// and [clears](Self::clear) it. Both end with [`disarm`](Self::disarm). One at a time: there is one word.
#[derive(Debug)]
pub struct ClientBell {
    mapping: Arc<Mapping>,
    own: OwnedFd,
    daemon: OwnedFd,
}

/// How long a thread waits on its word before it looks whether the daemon is still there.
const DAEMON_CHECK: Duration = Duration::from_millis(100);

impl ClientBell {
    /// Bells of rings that were mapped.
    #[must_use]
    pub fn new(rings: &Rings, fds: ClientBellFds) -> Self {
        Self {
            mapping: Arc::clone(rings.mapping()),
            own: fds.client,
            daemon: fds.daemon,
        }
    }

    /// After requests were pushed: wakes the daemon if it sleeps. Returns whether it had to.
    #[inline]
    pub fn ring(&self) -> Result<bool, Error> {
        if asleep::rouse(self.mapping.daemon_asleep()).is_none() {
            return Ok(false);
        }
        match rustix::io::write(&self.daemon, &1_u64.to_ne_bytes()) {
            // Full: it is rung already.
            Ok(_) | Err(Errno::AGAIN) => Ok(true),
            Err(errno) => Err(Error::os("write to the daemon's bell", errno)),
        }
    }

    /// Says that the client sleeps, and how. Look at the responses once more before waiting.
    pub fn arm(&self, sleep: Sleep) {
        asleep::lie_down(self.mapping.client_asleep(), sleep);
    }

    /// Says that the client is awake.
    pub fn disarm(&self) {
        asleep::get_up(self.mapping.client_asleep());
    }

    /// Waits on the word, after [`Sleep::OnWord`], for as long as `timeout`. Without one, until the daemon rings or is
    /// gone.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Woken, Error> {
        let mut left = timeout;
        loop {
            let slice = left.map_or(DAEMON_CHECK, |left| left.min(DAEMON_CHECK));
            if self.wait_on_word(slice)? {
                return Ok(Woken::Maybe);
            }
            if self.is_daemon_gone() {
                return Ok(Woken::DaemonGone);
            }
            if let Some(left) = &mut left {
                *left = left.saturating_sub(slice);
                if left.is_zero() {
                    return Ok(Woken::TimedOut);
                }
            }
        }
    }

    /// Whether something ended the wait before its time.
    fn wait_on_word(&self, slice: Duration) -> Result<bool, Error> {
        let word = self.mapping.client_asleep();
        let slice = Timespec::try_from(slice).unwrap_or(Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        });
        match futex::wait(word, futex::Flags::empty(), Sleep::OnWord as u32, Some(&slice)) {
            // Again: the daemon has taken the word before we slept.
            Ok(()) | Err(Errno::AGAIN | Errno::INTR) => Ok(true),
            Err(Errno::TIMEDOUT) => Ok(false),
            Err(errno) => Err(Error::os("futex", errno)),
        }
    }

    /// Makes the descriptor unreadable until it is rung again. Returns whether the daemon is still there.
    pub fn clear(&self) -> bool {
        let mut packet = [0; 8];
        loop {
            match rustix::net::recv(&self.own, &mut packet, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return false,
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Whether the daemon has closed its side.
    #[must_use]
    pub fn is_daemon_gone(&self) -> bool {
        let mut fds = [PollFd::new(&self.own, PollFlags::RDHUP)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        rustix::event::poll(&mut fds, Some(&now)).is_ok()
            && fds[0]
                .revents()
                .intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
    }
}

impl AsFd for ClientBell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.own.as_fd()
    }
}

/// Hands a descriptor to a type that takes it raw. That is all such a type asks for: that the descriptor is open, and that
/// nobody else closes it.
pub fn own<T: FromRawFd>(descriptor: OwnedFd) -> T {
    // SAFETY: `descriptor` is open and was ours alone until here.
    unsafe { T::from_raw_fd(descriptor.into_raw_fd()) }
}
