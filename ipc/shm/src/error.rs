//! What can go wrong between two processes, and whose fault it is.

use std::io;

use crate::{Status, limits};

/// A ring, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingName {
    /// Client to daemon.
    Requests,
    /// Daemon to client.
    Responses,
}

impl std::fmt::Display for RingName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Requests => "requests",
            Self::Responses => "responses",
        })
    }
}

/// What a peer did that no correct peer does. Whoever finds one ends the connection: nothing after it can be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The turn of a slot is neither what it was nor what comes next.
    #[error("the {ring} ring is broken: slot {slot} has turn {found}, expected {expected}")]
    Turn {
        /// The ring.
        ring: RingName,
        /// The slot's index.
        slot: u32,
        /// The turn that the reader waits for.
        expected: u32,
        /// The one that is there.
        found: u32,
    },
    /// More requests in flight than the ring has slots, so that a response has no place.
    #[error("more requests in flight than the {slots} that were agreed")]
    Overrun {
        /// Slots of the ring.
        slots: u32,
    },
    /// A request of no known operation.
    #[error("request {id} asks for operation {op}, which there is not")]
    UnknownOp {
        /// The number given.
        op: u8,
        /// The request.
        id: u64,
    },
    /// Bytes that must be zero are not.
    #[error("{what} has bits set that are reserved")]
    Reserved {
        /// Where.
        what: &'static str,
    },
    /// A response with no known status.
    #[error("response {id} has status {status}, which there is not")]
    UnknownStatus {
        /// The number given.
        status: u16,
        /// The request.
        id: u64,
    },
    /// The header of the rings is not what both sides agreed on.
    #[error("the rings' header is wrong: {problem}")]
    RingsHeader {
        /// What is wrong.
        problem: &'static str,
    },
    /// A control packet that cannot be read.
    #[error("control packet is malformed: {problem}")]
    Packet {
        /// What is wrong.
        problem: &'static str,
    },
    /// A control packet that is larger than any may be.
    #[error("control packet is larger than {max} bytes", max = limits::PACKET_BYTES_MAX)]
    PacketTooLarge,
    /// A control packet with other descriptors than its message needs.
    #[error("control packet came with {got} descriptors, expected {expected}")]
    Descriptors {
        /// What the message needs.
        expected: usize,
        /// What came.
        got: usize,
    },
    /// A field of a message is outside of its bounds.
    #[error("{field} is {got}; at most {max} is allowed")]
    Limit {
        /// The field.
        field: &'static str,
        /// Its value.
        got: u64,
        /// The limit.
        max: u64,
    },
    /// A message that does not belong here: an answer that nobody asked for, a second greeting.
    #[error("expected {expected}, got {got}")]
    OutOfTurn {
        /// What would be right.
        expected: &'static str,
        /// What came.
        got: &'static str,
    },
}

/// Why a frame is refused. The request that named it is answered; the connection goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameProblem {
    /// The frame does not lie in the arena.
    #[error("a frame of {bytes} bytes at {offset} is outside of the arena of {arena_bytes} bytes")]
    OutsideArena {
        /// Where it was said to be.
        offset: u64,
        /// How long.
        bytes: u64,
        /// The arena.
        arena_bytes: u64,
    },
    /// A frame or a tensor does not start on a cache line.
    #[error("{what} starts at offset {offset}; offsets are multiples of 64")]
    Unaligned {
        /// The frame, or a tensor.
        what: Place,
        /// Where it was said to be.
        offset: u64,
    },
    /// The frame's length is not that of its records.
    #[error("a frame of {tensors} tensors has {expected} bytes, not {got}")]
    Length {
        /// Inputs and outputs.
        tensors: u32,
        /// What so many need.
        expected: u64,
        /// What the request says.
        got: u64,
    },
    /// More tensors than any model has.
    #[error("a frame of {tensors} tensors; at most {max} are allowed", max = limits::FRAME_TENSORS_MAX)]
    TooManyTensors {
        /// Inputs and outputs.
        tensors: u32,
    },
    /// The request names another model than the frame.
    #[error("the frame is for handle {frame}, the request for handle {request}")]
    Handle {
        /// In the frame.
        frame: u32,
        /// In the request.
        request: u32,
    },
    /// A tensor, or the text area, does not lie in the arena.
    #[error("{what} of {bytes} bytes at {offset} is outside of the arena of {arena_bytes} bytes")]
    TensorOutsideArena {
        /// The tensor.
        what: Place,
        /// Where it was said to be.
        offset: u64,
        /// How long.
        bytes: u64,
        /// The arena.
        arena_bytes: u64,
    },
    /// No element type of that number.
    #[error("{what} has element type {number}, which there is not")]
    DType {
        /// The tensor.
        what: Place,
        /// The number.
        number: u8,
    },
    /// Too many dimensions, or none said for an input.
    #[error("{what} has rank {rank}; it must be at most 8, or 255 for an output of unknown shape")]
    Rank {
        /// The tensor.
        what: Place,
        /// The number.
        rank: u8,
    },
    /// The shape is larger than memory can be.
    #[error("{what} has a shape that is too large to address")]
    ShapeOverflow {
        /// The tensor.
        what: Place,
    },
    /// The tensor's bytes are not what its shape needs.
    #[error("{what} has {got} bytes; its shape needs {needed}")]
    ShapeBytes {
        /// The tensor.
        what: Place,
        /// What the shape needs; for strings, at least.
        needed: u64,
        /// What the record says.
        got: u64,
    },
    /// Bytes that must be zero, or a flag that must be 0 or 1, are not.
    #[error("{what} has bits set that are reserved")]
    Reserved {
        /// The frame, or a tensor.
        what: Place,
    },
    /// An output shares memory with another tensor, the text area or the frame.
    #[error("{what} overlaps {other}")]
    Overlap {
        /// One.
        what: Place,
        /// The other.
        other: Place,
    },
    /// The text area is too large.
    #[error("a text area of {got} bytes; at most {max} are allowed", max = limits::TEXT_BYTES_MAX)]
    TextTooLarge {
        /// What the frame says.
        got: u32,
    },
}

/// A part of a frame, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The frame itself.
    Frame,
    /// The text area.
    Text,
    /// An input, by position.
    Input(u32),
    /// An output, by position.
    Output(u32),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Frame => f.write_str("the frame"),
            Self::Text => f.write_str("the text area"),
            Self::Input(at) => write!(f, "input {at}"),
            Self::Output(at) => write!(f, "output {at}"),
        }
    }
}

/// Any failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Fault(#[from] Fault),
    /// A frame cannot be built so.
    #[error(transparent)]
    Frame(#[from] FrameProblem),
    /// No version that both speak.
    #[error("the peer speaks versions {peer_min} to {peer_max} of the local protocol, we {ours}; update one of them",
        ours = crate::layout::VERSION)]
    Version {
        /// The peer's lowest.
        peer_min: u16,
        /// The peer's highest.
        peer_max: u16,
    },
    /// The daemon answered no.
    #[error("{text}")]
    Refused {
        /// The kind of error.
        status: Status,
        /// Why.
        text: String,
    },
    /// The peer has closed the connection, or is gone.
    #[error("the peer has closed the connection")]
    PeerGone,
    /// Nothing came in time.
    #[error("no answer within {waited_ms} ms")]
    TimedOut {
        /// How long was waited.
        waited_ms: u64,
    },
    /// The arena has no room for another loan.
    #[error(
        "arena exhausted: {asked} bytes asked, {free} free, the largest piece {largest}; drop loans or ask for a larger arena"
    )]
    ArenaExhausted {
        /// Bytes asked for.
        asked: u64,
        /// Bytes free, in pieces.
        free: u64,
        /// The largest piece.
        largest: u64,
    },
    /// A number given by our own caller is outside of its bounds.
    #[error("{what} is {got}; it must be between {min} and {max}")]
    OutOfBounds {
        /// Which.
        what: &'static str,
        /// Its value.
        got: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A segment could not be made or mapped.
    #[error(transparent)]
    Segment(#[from] mlos_tensor_mem::Error),
    /// A system call failed.
    #[error("{call} failed: {source}")]
    Os {
        /// The call.
        call: &'static str,
        /// Its errno.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn os(call: &'static str, errno: impl Into<io::Error>) -> Self {
        Self::Os {
            call,
            source: errno.into(),
        }
    }

    /// The one number that it becomes at an edge.
    #[must_use]
    pub fn kind(&self) -> Status {
        match self {
            Self::Refused { status, .. } => *status,
            Self::Frame(_) | Self::OutOfBounds { .. } => Status::InvalidArgument,
            Self::Version { .. } => Status::Unsupported,
            Self::PeerGone => Status::Unavailable,
            Self::TimedOut { .. } => Status::DeadlineMiss,
            Self::ArenaExhausted { .. } => Status::Overloaded,
            Self::Segment(_) | Self::Os { .. } | Self::Fault(_) => Status::Internal,
        }
    }
}
