//! Every bound of this crate, in one place.

/// Most dimensions a [`Shape`](crate::Shape) can have. ONNX graphs in practice stay at 6 or fewer; 8 keeps the type inline.
pub const RANK_MAX: usize = 8;

/// Alignment of every loan, in bytes: one cache line, and the widest vector register (AVX-512).
pub const ALIGN_BYTES: usize = 64;

/// What a pool may hold when its owner does not say.
pub const POOL_LIMIT_BYTES_DEFAULT: usize = 1 << 30;

/// Address space of one shared segment. Large enough that mapping is rare, small enough that a pool of a small
/// machine is not refused; pages are only taken when touched.
pub const SEGMENT_BYTES: usize = 64 << 20;

/// The part of a segment that serves one size class. A multiple of the 2 MiB huge page.
pub const CHUNK_BYTES: usize = 8 << 20;

/// Most blocks carved out of one chunk: bounds the table of links and counts beside it (8 bytes a block).
pub const CHUNK_BLOCKS_MAX: usize = 1 << 15;

/// Most chunks of one pool, so that a block has a 31-bit name: 128 GiB of slab memory.
pub const CHUNKS_MAX: usize = 1 << 14;

/// The largest block that a slab serves; above it a tensor gets an extent of its own.
pub const SLAB_BLOCK_BYTES_MAX: usize = 4 << 20;

/// Most extents of one pool, in use and cached; each holds a file descriptor.
pub const EXTENTS_MAX: usize = 4096;

/// The largest tensor: the user half of a 47-bit address space.
pub const TENSOR_BYTES_MAX: usize = 1 << 46;

/// Size classes, slab and extent: see `class.rs`.
pub(crate) const CLASSES: usize = crate::class::of(TENSOR_BYTES_MAX) + 1;

/// The first of them are served by slabs.
pub(crate) const SLAB_CLASSES: usize = crate::class::of(SLAB_BLOCK_BYTES_MAX) + 1;

/// Blocks of this size and above ask for transparent huge pages. Smaller classes would make the first tiny tensor
/// of each class resident at 2 MiB, and an idle daemon fat.
pub(crate) const TRANSPARENT_HUGE_BLOCK_BYTES_MIN: usize = 64 << 10;

/// NUMA nodes that a `mbind` mask can name: the kernel's largest `CONFIG_NODES_SHIFT` is 10.
pub(crate) const NODES_MAX: u32 = 1024;

const _: () = assert!(SEGMENT_BYTES.is_multiple_of(CHUNK_BYTES));
const _: () = assert!(CHUNK_BYTES >= 2 * SLAB_BLOCK_BYTES_MAX);
const _: () = assert!(CHUNKS_MAX * CHUNK_BLOCKS_MAX <= 1 << 31);
const _: () = assert!(CLASSES <= u8::MAX as usize);
