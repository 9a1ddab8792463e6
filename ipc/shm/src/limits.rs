//! Every bound of the protocol, in one place.

/// Slots of a ring when the client does not ask for another number: requests that may be in flight at once.
pub const SLOTS_DEFAULT: u32 = 256;

/// Most slots of a ring: 512 KiB of rings for one client.
pub const SLOTS_MAX: u32 = 4096;

/// Fewest slots of a ring. With one, a producer and its consumer would take turns on a single line.
pub const SLOTS_MIN: u32 = 2;

/// Arena of a client that does not ask for another size, in bytes. Address space: pages are taken when touched.
pub const ARENA_BYTES_DEFAULT: u64 = 64 << 20;

/// The largest arena that a client can ask for, in bytes; what it is granted is the daemon's to say.
pub const ARENA_BYTES_MAX: u64 = 64 << 30;

/// Bindings of one connection: their numbers are below this.
pub const BINDINGS_MAX: u32 = 4096;

/// Inputs and outputs of a frame together. The largest graphs that people serve have a few dozen.
pub const FRAME_TENSORS_MAX: u32 = 256;

/// Room for the text of an error, in bytes, beside a frame.
pub const TEXT_BYTES_MAX: u32 = 4096;

/// One packet of the control socket, in bytes. Signatures of models with hundreds of tensors fit.
pub const PACKET_BYTES_MAX: usize = 64 << 10;

/// Descriptors that come with one packet: rings, arena, and a bell for each side.
pub const PACKET_FDS_MAX: usize = 4;

/// A client's name for itself, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// The text that names a model (`hub/name@version`), in bytes.
pub const MODEL_BYTES_MAX: usize = 1024;

/// Models that one connection has open.
pub const HANDLES_MAX: u32 = 1024;

const _: () =
    assert!(SLOTS_MAX.is_power_of_two() && SLOTS_MIN.is_power_of_two() && SLOTS_DEFAULT.is_power_of_two());
