//! Named bounds of this crate.

/// Stack of one call. What `smi.h` promises: an engine's kernels recurse and keep scratch arrays on it.
pub const STACK_BYTES: usize = mlos_smi::abi::STACK_BYTES;

/// Calls that one thread may have started and not finished: one running and one suspended per class, with room.
pub const CALLS_PER_THREAD_MAX: usize = 16;

/// Stacks that a thread keeps for later calls.
pub const STACKS_IDLE_MAX: usize = 8;

/// Text of a failure that a plugin may leave; longer ones are cut.
pub const ERROR_TEXT_BYTES_MAX: usize = 4096;

/// A line that a plugin may log; longer ones are cut.
pub const LOG_TEXT_BYTES_MAX: usize = 16 * 1024;

/// Plugins in one shared object.
pub const PLUGINS_PER_LIBRARY_MAX: u32 = 64;

/// Formats that one plugin may name.
pub const FORMATS_MAX: usize = 64;

/// Measurements in a slice profile.
pub const SLICE_PROFILE_ROWS_MAX: usize = 64;

const _: () = assert!(STACKS_IDLE_MAX <= CALLS_PER_THREAD_MAX);
