//! Packets over a `SOCK_SEQPACKET` socket.
//!
//! Nothing here blocks but [`Control`], the client's: a daemon waits with its own executor until the descriptor is
//! readable and then [receives](receive).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use rustix::time::Timespec;

use super::{ClientMessage, ControlMessage, DaemonMessage};
use crate::{Error, Fault, limits};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// A packet, and the descriptors that came with it.
#[derive(Debug)]
pub struct Packet {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its descriptors, each closed on `exec`.
    pub fds: Vec<OwnedFd>,
}

/// What a receive came to.
#[derive(Debug)]
pub enum Received {
    /// A packet.
    Packet(Packet),
    /// Nothing there yet.
    Nothing,
    /// The peer has closed its side.
    Closed,
}

/// Who is at the other end, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process.
    pub pid: i32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A listening socket at `path`, which must not exist. Never blocks.
pub fn listen(path: &Path) -> Result<OwnedFd, Error> {
    let address = SocketAddrUnix::new(path).map_err(|errno| Error::os("the socket's path", errno))?;
    let socket = socket()?;
    net::bind(&socket, &address).map_err(|errno| Error::os("bind", errno))?;
    net::listen(&socket, BACKLOG).map_err(|errno| Error::os("listen", errno))?;
    Ok(socket)
}

/// The next client that waits, if one does.
pub fn accept(listener: impl AsFd) -> Result<Option<OwnedFd>, Error> {
    match net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Ok(socket) => Ok(Some(socket)),
        Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
        Err(errno) => Err(Error::os("accept", errno)),
    }
}

/// Connects to a daemon. Waits only where the daemon's backlog is full.
pub fn connect(path: &Path) -> Result<OwnedFd, Error> {
    let address = SocketAddrUnix::new(path).map_err(|errno| Error::os("the socket's path", errno))?;
    let socket = net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|errno| Error::os("socket", errno))?;
    net::connect(&socket, &address).map_err(|errno| Error::os("connect", errno))?;
    Ok(socket)
}

fn socket() -> Result<OwnedFd, Error> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(|errno| Error::os("socket", errno))
}

/// Who connected.
pub fn peer(socket: impl AsFd) -> Result<Peer, Error> {
    let credentials =
        net::sockopt::socket_peercred(socket).map_err(|errno| Error::os("getsockopt SO_PEERCRED", errno))?;
    Ok(Peer {
        pid: credentials.pid.as_raw_nonzero().get(),
        uid: credentials.uid.as_raw(),
        gid: credentials.gid.as_raw(),
    })
}

/// Sends a packet with descriptors. Never blocks: a peer that does not read its answers is told by `Ok(false)` that
/// it has had them all.
pub fn send(socket: impl AsFd, packet: &[u8], fds: &[BorrowedFd<'_>]) -> Result<bool, Error> {
    if fds.len() > limits::PACKET_FDS_MAX {
        let (expected, got) = (limits::PACKET_FDS_MAX, fds.len());
        return Err(Fault::Descriptors { expected, got }.into());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(limits::PACKET_FDS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        let fits = ancillary.push(SendAncillaryMessage::ScmRights(fds));
        debug_assert!(fits, "room for PACKET_FDS_MAX descriptors");
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    match net::sendmsg(socket, &[IoSlice::new(packet)], &mut ancillary, flags) {
        Ok(_) => Ok(true),
        Err(Errno::AGAIN | Errno::INTR) => Ok(false),
        Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => Err(Error::PeerGone),
        Err(errno) => Err(Error::os("sendmsg", errno)),
    }
}

/// Takes the next packet, if there is one. Never blocks. A packet that is too long, or has more descriptors than any
/// may, is a fault.
pub fn receive(socket: impl AsFd) -> Result<Received, Error> {
    let socket = socket.as_fd();
    // One more than allowed, so that a packet of that length is seen to be too long.
    let mut bytes = vec![0; limits::PACKET_BYTES_MAX + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(limits::PACKET_FDS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let message = match net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags) {
        Ok(message) => message,
        Err(Errno::AGAIN | Errno::INTR) => return Ok(Received::Nothing),
        // Said once, when the peer has closed without reading all. What it said before that, as why, still lies there.
        Err(Errno::CONNRESET) => return receive(socket),
        Err(errno) => return Err(Error::os("recvmsg", errno)),
    };
    // Taken first, so that they are closed whatever is wrong with the rest.
    let fds = descriptors(&mut ancillary);
    if message.flags.contains(ReturnFlags::CTRUNC) {
        let (expected, got) = (limits::PACKET_FDS_MAX, limits::PACKET_FDS_MAX + 1);
        return Err(Fault::Descriptors { expected, got }.into());
    }
    if message.flags.contains(ReturnFlags::TRUNC) || message.bytes > limits::PACKET_BYTES_MAX {
        return Err(Fault::PacketTooLarge.into());
    }
    if message.bytes == 0 && fds.is_empty() {
        return Ok(Received::Closed);
    }
    bytes.truncate(message.bytes);
    Ok(Received::Packet(Packet { bytes, fds }))
}

fn descriptors(ancillary: &mut RecvAncillaryBuffer<'_>) -> Vec<OwnedFd> {
    let rights = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    rights.flatten().collect()
}

/// A client's end of the control socket, which waits for answers.
#[derive(Debug)]
pub struct Control {
    socket: OwnedFd,
}

impl Control {
    /// Connects.
    pub fn connect(path: &Path) -> Result<Self, Error> {
        connect(path).map(|socket| Self { socket })
    }

    /// Sends a message.
    pub fn send(&self, message: &ClientMessage, timeout: Duration) -> Result<(), Error> {
        let packet = message.encode()?;
        let until = Until::new(timeout);
        while !send(&self.socket, &packet, &[])? {
            self.wait(PollFlags::OUT, &until)?;
        }
        Ok(())
    }

    /// The daemon's next message.
    pub fn receive(&self, timeout: Duration) -> Result<(DaemonMessage, Vec<OwnedFd>), Error> {
        let until = Until::new(timeout);
        loop {
            match receive(&self.socket)? {
                Received::Packet(Packet { bytes, fds }) => {
                    return Ok((DaemonMessage::decode(&bytes, fds.len())?, fds));
                }
                Received::Closed => return Err(Error::PeerGone),
                Received::Nothing => self.wait(PollFlags::IN, &until)?,
            }
        }
    }

    fn wait(&self, flags: PollFlags, until: &Until) -> Result<(), Error> {
        let left = until.left()?;
        let left = Timespec::try_from(left).map_err(|_| Error::OutOfBounds {
            what: "the timeout in seconds",
            got: left.as_secs(),
            min: 0,
            max: i64::MAX as u64,
        })?;
        let mut fds = [PollFd::new(&self.socket, flags)];
        match rustix::event::poll(&mut fds, Some(&left)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(Error::os("poll", errno)),
        }
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A time from now on.
struct Until {
    start: Instant,
    timeout: Duration,
}

impl Until {
    fn new(timeout: Duration) -> Self {
        Self {
            start: Instant::now(),
            timeout,
        }
    }

    fn left(&self) -> Result<Duration, Error> {
        let left = self.timeout.checked_sub(self.start.elapsed());
        left.filter(|left| !left.is_zero()).ok_or(Error::TimedOut {
            waited_ms: self.timeout.as_millis() as u64,
        })
    }
}
