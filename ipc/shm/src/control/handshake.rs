//! What both sides make of a handshake: the daemon creates what is shared, the client maps what it is given.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mlos_tensor_mem::{Segment, SegmentOptions};

use super::socket::Control;
use super::{ClientMessage, DaemonMessage, Hello, Welcome};
use crate::bell::{ClientBell, ClientBellFds, DaemonBell};
use crate::{Arena, Consumer, Error, Fault, Producer, Request, Response, Rings, limits, words};

/// The daemon's half of a connection.
#[derive(Debug)]
pub struct DaemonSide {
    /// Requests of the client.
    pub requests: Consumer<Request>,
    /// Responses to it.
    pub responses: Producer<Response>,
    /// Wakes either side.
    pub bell: DaemonBell,
    /// Where frames and tensors lie.
    pub arena: Arc<Segment>,
}

/// What goes to the client, in the order of the descriptors. Drop it when it is sent.
#[derive(Debug)]
pub struct Handout {
    rings: OwnedFd,
    arena: OwnedFd,
    bells: ClientBellFds,
}

impl DaemonSide {
    /// Creates rings, arena and bells for a client. `arena` says how the arena's pages shall be. Transparent huge ones
    /// are asked for in any case; do not ask for reserved ones: a client may punch holes into what it maps, and a
    /// reserved page that is gone is not certain to come back.
    pub fn create(slots: u32, arena_bytes: u64, arena: &SegmentOptions) -> Result<(Self, Handout), Error> {
        let rings = Rings::create(slots)?;
        let bytes = usize::try_from(arena_bytes).ok();
        let bytes = bytes.filter(|_| (1..=limits::ARENA_BYTES_MAX).contains(&arena_bytes));
        let bytes = bytes.ok_or(Error::OutOfBounds {
            what: "the size of the arena in bytes",
            got: arena_bytes,
            min: 1,
            max: limits::ARENA_BYTES_MAX,
        })?;
        let arena = Arc::new(Segment::create(bytes, arena)?);
        words::welcome_huge_pages(&arena);
        let (bell, bells) = DaemonBell::create(&rings)?;
        let handout = Handout {
            rings: duplicate(&rings)?,
            arena: duplicate(&*arena)?,
            bells,
        };
        let (requests, responses) = rings.into_daemon_ends();
        let side = Self {
            requests,
            responses,
            bell,
            arena,
        };
        Ok((side, handout))
    }
}

impl Handout {
    /// The descriptors that go with a `Welcome`.
    #[must_use]
    pub fn fds(&self) -> [BorrowedFd<'_>; limits::PACKET_FDS_MAX] {
        [
            self.rings.as_fd(),
            self.arena.as_fd(),
            self.bells.daemon.as_fd(),
            self.bells.client.as_fd(),
        ]
    }
}

fn duplicate(of: impl AsFd) -> Result<OwnedFd, Error> {
    of.as_fd()
        .try_clone_to_owned()
        .map_err(|error| Error::os("dup", error))
}

/// The client's half of a connection.
#[derive(Debug)]
pub struct ClientSide {
    /// Requests to the daemon.
    pub requests: Producer<Request>,
    /// Its responses.
    pub responses: Consumer<Response>,
    /// Wakes either side.
    pub bell: ClientBell,
    /// Where frames and tensors lie.
    pub arena: Arena,
}

impl ClientSide {
    /// Connects, greets, and maps what it is given.
    pub fn join(path: &Path, hello: Hello, timeout: Duration) -> Result<(Self, Control, Welcome), Error> {
        let control = Control::connect(path)?;
        match control.send(&ClientMessage::Hello(hello), timeout) {
            // It has said no before it was asked, to this user or at this hour: that is there to be read.
            Ok(()) | Err(Error::PeerGone) => {}
            Err(error) => return Err(error),
        }
        let (welcome, fds) = match control.receive(timeout)? {
            (DaemonMessage::Welcome(welcome), fds) => (welcome, fds),
            (DaemonMessage::Refused(refused), _) => {
                let status = refused.status();
                let text = refused.text;
                return Err(Error::Refused { status, text });
            }
            (other, _) => {
                let (expected, got) = ("welcome", other.name());
                return Err(Fault::OutOfTurn { expected, got }.into());
            }
        };
        let side = Self::accept(&welcome, fds)?;
        Ok((side, control, welcome))
    }

    /// Maps what came with a `Welcome`: sealed files of the lengths that it says, or an error.
    pub fn accept(welcome: &Welcome, fds: Vec<OwnedFd>) -> Result<Self, Error> {
        let fds = <[OwnedFd; limits::PACKET_FDS_MAX]>::try_from(fds).map_err(|fds| Fault::Descriptors {
            expected: limits::PACKET_FDS_MAX,
            got: fds.len(),
        })?;
        let [rings, arena, daemon, client] = fds;
        let rings = Rings::map(rings, welcome.slots)?;
        let bytes = usize::try_from(welcome.arena_bytes).unwrap_or(usize::MAX);
        let arena = Arena::new(Arc::new(Segment::from_fd(arena, bytes)?));
        let bell = ClientBell::new(&rings, ClientBellFds { daemon, client });
        let (requests, responses) = rings.into_client_ends();
        Ok(Self {
            requests,
            responses,
            bell,
            arena,
        })
    }
}
