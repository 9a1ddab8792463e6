//! Packets: bytes to messages and back, without a socket.

use rkyv::rancor;
use rkyv::util::AlignedVec;

use super::{ClientMessage, DaemonMessage};
use crate::layout::{MAGIC, PACKET_HEADER_BYTES, VERSION};
use crate::{Error, Fault, limits};

/// The versions of the protocol that a sender speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The lowest.
    pub min: u16,
    /// The highest.
    pub max: u16,
}

impl Versions {
    /// Ours.
    pub const OURS: Self = Self {
        min: VERSION,
        max: VERSION,
    };

    /// The highest version that both speak.
    pub fn agree(self, peer: Self) -> Result<u16, Error> {
        let highest = self.max.min(peer.max);
        if highest >= self.min.max(peer.min) {
            return Ok(highest);
        }
        Err(Error::Version {
            peer_min: peer.min,
            peer_max: peer.max,
        })
    }
}

/// A message of the control socket.
pub trait ControlMessage: Sized {
    /// As a packet.
    fn encode(&self) -> Result<Vec<u8>, Error>;

    /// From a packet that came with so many descriptors. The versions are looked at first: a peer of another version
    /// is an [`Error::Version`], whatever else its packet holds.
    fn decode(packet: &[u8], fds: usize) -> Result<Self, Error>;

    /// How many descriptors come with it.
    fn fds(&self) -> usize;
}

/// The same for both directions, whose archives are different types.
macro_rules! control_message {
    ($message:ty, $archived:ty, $fds:expr) => {
        impl ControlMessage for $message {
            fn encode(&self) -> Result<Vec<u8>, Error> {
                self.check()?;
                let payload = rkyv::to_bytes::<rancor::Error>(self).map_err(|_| Fault::Packet {
                    problem: "it cannot be archived",
                })?;
                frame(&payload, self.fds())
            }

            fn decode(packet: &[u8], fds: usize) -> Result<Self, Error> {
                let payload = unframe(packet, fds)?;
                let problem = "it is no archive of a message";
                let malformed = |_: rancor::Failure| Fault::Packet { problem };
                let archived = rkyv::access::<$archived, rancor::Failure>(&payload).map_err(malformed)?;
                let message: Self = rkyv::deserialize(archived).map_err(malformed)?;
                if message.fds() != fds {
                    let expected = message.fds();
                    return Err(Fault::Descriptors { expected, got: fds }.into());
                }
                message.check()?;
                Ok(message)
            }

            fn fds(&self) -> usize {
                let fds: fn(&Self) -> usize = $fds;
                fds(self)
            }
        }
    };
}

control_message!(ClientMessage, rkyv::Archived<ClientMessage>, |_| 0);
control_message!(
    DaemonMessage,
    rkyv::Archived<DaemonMessage>,
    |message| match message {
        DaemonMessage::Welcome(_) => limits::PACKET_FDS_MAX,
        _ => 0,
    }
);

fn frame(payload: &[u8], fds: usize) -> Result<Vec<u8>, Error> {
    let bytes = PACKET_HEADER_BYTES + payload.len();
    if bytes > limits::PACKET_BYTES_MAX {
        return Err(Fault::PacketTooLarge.into());
    }
    let mut packet = Vec::with_capacity(bytes);
    packet.extend(MAGIC.to_le_bytes());
    packet.extend(Versions::OURS.min.to_le_bytes());
    packet.extend(Versions::OURS.max.to_le_bytes());
    packet.extend((payload.len() as u32).to_le_bytes());
    packet.extend((fds as u16).to_le_bytes());
    packet.extend([0; 2]);
    packet.extend(payload);
    Ok(packet)
}

/// The archive of a packet, in memory that is aligned for it.
fn unframe(packet: &[u8], fds: usize) -> Result<AlignedVec, Error> {
    let malformed = |problem| Error::from(Fault::Packet { problem });
    if packet.len() > limits::PACKET_BYTES_MAX {
        return Err(Fault::PacketTooLarge.into());
    }
    let Some((header, payload)) = packet.split_first_chunk::<PACKET_HEADER_BYTES>() else {
        return Err(malformed("it is shorter than its header"));
    };
    let [m0, m1, m2, m3, a0, a1, b0, b1, p0, p1, p2, p3, f0, f1, _, _] = *header;
    if u32::from_le_bytes([m0, m1, m2, m3]) != MAGIC {
        return Err(malformed("it does not begin with the magic number"));
    }
    let (min, max) = (u16::from_le_bytes([a0, a1]), u16::from_le_bytes([b0, b1]));
    Versions::OURS.agree(Versions { min, max })?;
    if u32::from_le_bytes([p0, p1, p2, p3]) as usize != payload.len() {
        return Err(malformed("its length is not what its header says"));
    }
    let expected = u16::from_le_bytes([f0, f1]).into();
    if expected != fds {
        return Err(Fault::Descriptors { expected, got: fds }.into());
    }
    let mut aligned = AlignedVec::with_capacity(payload.len());
    aligned.extend_from_slice(payload);
    Ok(aligned)
}
