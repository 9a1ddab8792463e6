//! What lies where in shared memory: the contract between two processes that may be built apart.
//!
//! Nothing here is ever borrowed from shared memory. Slots and frames are copied out word by word, through atomics, and
//! these structs say which bytes of the words mean what; the assertions beside them keep a compiler or a hand from
//! moving a field.

use std::mem::{align_of, offset_of, size_of};

/// First word of the rings' header and of every control packet: `MLOS` in the order of its bytes.
pub const MAGIC: u32 = u32::from_le_bytes(*b"MLOS");

/// The version of everything in this module.
pub const VERSION: u16 = 1;

/// Slots are cache lines, and tensors start on one.
pub const LINE_BYTES: usize = 64;

/// The header of the rings' memory file.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingsHeader {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`VERSION`].
    pub version: u16,
    /// Zero.
    pub reserved: u16,
    /// Slots of either ring, a power of two.
    pub slots: u32,
    /// Offset of the first request slot.
    pub requests_offset: u32,
    /// Offset of the first response slot.
    pub responses_offset: u32,
    /// Length of the file in bytes.
    pub file_bytes: u32,
}

/// Offset of the word in which the daemon says that it sleeps. Words and slots of different writers are two lines
/// apart, since processors fetch lines in pairs.
pub const DAEMON_ASLEEP_OFFSET: usize = 128;

/// Offset of the word in which the client says that it sleeps, and how: see [`Sleep`](crate::Sleep).
pub const CLIENT_ASLEEP_OFFSET: usize = 256;

/// Offset of the first request slot: the header has a page of its own.
pub const REQUESTS_OFFSET: usize = 4096;

/// Offset of the first response slot.
#[must_use]
pub const fn responses_offset(slots: u32) -> usize {
    REQUESTS_OFFSET + slots as usize * LINE_BYTES
}

/// Bytes of the header and both rings, before rounding to pages.
#[must_use]
pub const fn rings_bytes(slots: u32) -> usize {
    responses_offset(slots) + slots as usize * LINE_BYTES
}

/// A request, as it lies in its slot. Written by the client.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestSlot {
    /// `2 * round + 1` when full, `2 * round + 2` when free for the next round.
    pub turn: u32,
    /// What is asked: [`Op`](crate::Op).
    pub op: u8,
    /// 0 for the model's default, 1 (realtime) to 4 (batch).
    pub class: u8,
    /// What to do with a predicted deadline miss: 0 reject, 1 degrade.
    pub on_miss: u8,
    /// Zero.
    pub flags: u8,
    /// The client's number for the request; the response carries it.
    pub id: u64,
    /// The client's number for the binding.
    pub binding: u32,
    /// The model, as `Opened` named it. For `BIND` only.
    pub handle: u32,
    /// Where the frame lies in the arena. For `BIND` only.
    pub frame_offset: u64,
    /// The frame's length. For `BIND` only.
    pub frame_bytes: u32,
    /// Zero.
    pub reserved: u32,
    /// Deadline in microseconds from submission; 0 for none.
    pub deadline_us: u64,
    /// Zero.
    pub reserved_words: [u64; 2],
}

/// A response, as it lies in its slot. Written by the daemon.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseSlot {
    /// As in a request.
    pub turn: u32,
    /// [`Status`](crate::Status); 0 for success.
    pub status: u16,
    /// The class that it was served in, 1 to 4.
    pub class: u8,
    /// Bit 0: the daemon has written shapes of outputs into the frame.
    pub flags: u8,
    /// The request's number.
    pub id: u64,
    /// Nanoseconds before the first computation.
    pub queue_ns: u64,
    /// Nanoseconds of computation.
    pub compute_ns: u64,
    /// How often it was suspended.
    pub preemptions: u32,
    /// In how many parts it ran.
    pub parts: u32,
    /// Bytes of text in the binding's text area.
    pub text_bytes: u32,
    /// Zero.
    pub reserved: u32,
    /// Zero.
    pub reserved_words: [u64; 2],
}

/// [`ResponseSlot::flags`]: shapes of outputs were written into the frame.
pub const FLAG_SHAPES_WRITTEN: u8 = 1;

/// The start of a frame, in the arena. `inputs` and then `outputs` records follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// The model, as `Opened` named it.
    pub handle: u32,
    /// How many records of inputs follow.
    pub inputs: u16,
    /// How many records of outputs follow those.
    pub outputs: u16,
    /// Where the daemon may write the text of an error.
    pub text_offset: u64,
    /// How much, at most; 0 for none.
    pub text_capacity: u32,
    /// Zero.
    pub reserved: u32,
    /// Zero.
    pub reserved_word: u64,
}

/// A tensor of a frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRecord {
    /// Where it lies in the arena; a multiple of 64.
    pub offset: u64,
    /// Its length; for an output, the room for it.
    pub bytes: u64,
    /// [`DType`](mlos_tensor_mem::DType) by number.
    pub dtype: u8,
    /// How many of `dims` count; [`RANK_UNKNOWN`] for an output whose shape the daemon shall say.
    pub rank: u8,
    /// 1 when the tensor is there (an output: wanted); 0 when it is left out, and the rest of the record is not read.
    pub present: u8,
    /// Zero.
    pub reserved: [u8; 5],
    /// Dimensions, outermost first.
    pub dims: [u64; 8],
    /// Zero.
    pub reserved_word: u64,
}

/// [`FrameRecord::rank`] of an output whose shape only the model knows.
pub const RANK_UNKNOWN: u8 = u8::MAX;

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = size_of::<FrameHeader>();

/// Bytes of a record.
pub const FRAME_RECORD_BYTES: usize = size_of::<FrameRecord>();

/// Bytes of a frame of so many tensors, without its text area.
#[must_use]
pub const fn frame_bytes(tensors: usize) -> usize {
    FRAME_HEADER_BYTES + tensors * FRAME_RECORD_BYTES
}

/// The start of every control packet. It stays as it is in every version, so that peers of different versions can
/// say that they are.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketHeader {
    /// [`MAGIC`].
    pub magic: u32,
    /// The lowest version that the sender speaks.
    pub version_min: u16,
    /// The highest; after the handshake both are the one agreed upon.
    pub version_max: u16,
    /// Bytes that follow.
    pub payload_bytes: u32,
    /// Descriptors that come along.
    pub fds: u16,
    /// Zero.
    pub reserved: u16,
}

/// Bytes of a packet's header. A multiple of 16, so that the archive behind it is as aligned as the packet.
pub const PACKET_HEADER_BYTES: usize = size_of::<PacketHeader>();

const _: () = {
    assert!(
        cfg!(target_endian = "little"),
        "the protocol is little-endian, like every machine it runs on"
    );

    assert!(size_of::<RingsHeader>() == 24);
    assert!(offset_of!(RingsHeader, slots) == 8);
    assert!(offset_of!(RingsHeader, file_bytes) == 20);
    assert!(size_of::<RingsHeader>() <= DAEMON_ASLEEP_OFFSET);
    assert!(CLIENT_ASLEEP_OFFSET - DAEMON_ASLEEP_OFFSET == 2 * LINE_BYTES);

    assert!(size_of::<RequestSlot>() == LINE_BYTES && align_of::<RequestSlot>() == LINE_BYTES);
    assert!(offset_of!(RequestSlot, op) == 4);
    assert!(offset_of!(RequestSlot, id) == 8);
    assert!(offset_of!(RequestSlot, binding) == 16);
    assert!(offset_of!(RequestSlot, handle) == 20);
    assert!(offset_of!(RequestSlot, frame_offset) == 24);
    assert!(offset_of!(RequestSlot, frame_bytes) == 32);
    assert!(offset_of!(RequestSlot, deadline_us) == 40);
    assert!(offset_of!(RequestSlot, reserved_words) == 48);

    assert!(size_of::<ResponseSlot>() == LINE_BYTES && align_of::<ResponseSlot>() == LINE_BYTES);
    assert!(offset_of!(ResponseSlot, status) == 4);
    assert!(offset_of!(ResponseSlot, class) == 6);
    assert!(offset_of!(ResponseSlot, flags) == 7);
    assert!(offset_of!(ResponseSlot, id) == 8);
    assert!(offset_of!(ResponseSlot, queue_ns) == 16);
    assert!(offset_of!(ResponseSlot, compute_ns) == 24);
    assert!(offset_of!(ResponseSlot, preemptions) == 32);
    assert!(offset_of!(ResponseSlot, parts) == 36);
    assert!(offset_of!(ResponseSlot, text_bytes) == 40);
    assert!(offset_of!(ResponseSlot, reserved_words) == 48);

    assert!(size_of::<FrameHeader>() == 32);
    assert!(offset_of!(FrameHeader, inputs) == 4);
    assert!(offset_of!(FrameHeader, outputs) == 6);
    assert!(offset_of!(FrameHeader, text_offset) == 8);
    assert!(offset_of!(FrameHeader, text_capacity) == 16);

    assert!(size_of::<FrameRecord>() == 96);
    assert!(offset_of!(FrameRecord, bytes) == 8);
    assert!(offset_of!(FrameRecord, dtype) == 16);
    assert!(offset_of!(FrameRecord, rank) == 17);
    assert!(offset_of!(FrameRecord, present) == 18);
    assert!(offset_of!(FrameRecord, dims) == 24);
    assert!(offset_of!(FrameRecord, reserved_word) == 88);

    assert!(size_of::<PacketHeader>() == 16);
    assert!(offset_of!(PacketHeader, payload_bytes) == 8);
    assert!(offset_of!(PacketHeader, fds) == 12);
};
