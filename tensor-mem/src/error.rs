//! What can go wrong with tensor memory, and whose fault it is.

use std::io;

use crate::{DType, limits};

/// Any failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The pool is at its limit and nothing in it could be given back.
    #[error(
        "tensor memory exhausted: {asked} bytes asked with {in_use} of {limit} bytes in use; free tensors or raise the limit"
    )]
    Exhausted {
        /// Bytes asked for.
        asked: usize,
        /// The pool's limit in bytes.
        limit: usize,
        /// Bytes on loan when it was refused.
        in_use: usize,
    },
    /// A shape has more dimensions than a [`Shape`](crate::Shape) holds.
    #[error("shape has {rank} dimensions; at most {max} are supported", max = limits::RANK_MAX)]
    TooManyDims {
        /// Dimensions given.
        rank: usize,
    },
    /// The size of a shape does not fit the address space.
    #[error("shape {shape} of {dtype} is too large to address", shape = crate::shape::Dims(dims))]
    ShapeOverflow {
        /// The dimensions given.
        dims: Box<[usize]>,
        /// The element type they were sized for.
        dtype: DType,
    },
    /// The number of bytes or elements is not what the shape says.
    #[error("expected {expected} bytes, got {got}")]
    SizeMismatch {
        /// Bytes that shape and element type need.
        expected: usize,
        /// Bytes given.
        got: usize,
    },
    /// A reshape changes the number of elements.
    #[error("cannot reshape {from} elements into {to}")]
    ElementsMismatch {
        /// Elements of the tensor.
        from: usize,
        /// Elements of the shape asked for.
        to: usize,
    },
    /// The element type is another than the tensor's.
    #[error("expected element type {expected}, got {got}")]
    DTypeMismatch {
        /// The tensor's element type.
        expected: DType,
        /// The one asked for.
        got: DType,
    },
    /// A name that is no element type.
    #[error(
        "unknown element type \"{name}\"; known are bool, uint8..uint64, int8..int64, float16, bfloat16, float32, float64 and string"
    )]
    UnknownDType {
        /// The name given.
        name: String,
    },
    /// A string tensor was asked for without its length in bytes.
    #[error("a string tensor has no fixed size; say its length in bytes")]
    StringsNeedByteLen,
    /// The bytes of a string tensor are not `u32` lengths each followed by that many bytes, once per element.
    #[error("string tensor is malformed at element {element} (byte {at}): {problem}")]
    Strings {
        /// The element at which it was found.
        element: usize,
        /// Where that element starts.
        at: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// A byte of a bool tensor is neither 0 nor 1.
    #[error("bool tensor holds the byte {byte} at element {element}; it must be 0 or 1")]
    InvalidBool {
        /// The element.
        element: usize,
        /// Its value.
        byte: u8,
    },
    /// Rows outside of the first dimension.
    #[error("rows {start}..{end} are outside of the {rows} rows of the tensor")]
    RowsOutOfRange {
        /// First row asked for.
        start: usize,
        /// One past the last row asked for.
        end: usize,
        /// Rows of the tensor; 0 for a scalar.
        rows: usize,
    },
    /// A writer was given more elements than the shape has.
    #[error("more elements than the tensor's shape has")]
    Full,
    /// A cache has no room for a tensor beside those that are pinned.
    #[error("cache of {limit} bytes is full: {asked} bytes asked, {pinned} bytes are pinned")]
    CacheFull {
        /// Bytes asked for.
        asked: usize,
        /// The cache's limit in bytes.
        limit: usize,
        /// Bytes pinned.
        pinned: usize,
    },
    /// The key is pinned in the cache, so its tensor cannot be replaced.
    #[error("cache entry {key} is pinned; unpin it first")]
    Pinned {
        /// The key.
        key: u64,
    },
    /// A NUMA node that the machine does not have.
    #[error("no NUMA node {node} on this machine")]
    NoSuchNode {
        /// The node asked for.
        node: u32,
    },
    /// A descriptor that cannot serve as a segment.
    #[error("not a usable segment: {problem}")]
    BadSegment {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A tensor that another process may write was to be read by reference.
    #[error("the tensor lies in memory that another process may write: copy it first")]
    Shared,
    /// A region does not start where tensors do.
    #[error("offset {offset} is not a multiple of {align} bytes", align = limits::ALIGN_BYTES)]
    Misaligned {
        /// The offset given.
        offset: usize,
    },
    /// A region that its segment does not have.
    #[error("{len} bytes from offset {offset} on are outside of a segment of {segment} bytes")]
    OutsideSegment {
        /// Where it was to start.
        offset: usize,
        /// How long it was to be.
        len: usize,
        /// The segment's length.
        segment: usize,
    },
    /// A system call failed.
    #[error("{call} failed: {source}")]
    Os {
        /// The call.
        call: &'static str,
        /// Its errno.
        source: io::Error,
    },
}

/// Who is at fault, for mapping to HTTP, gRPC and errno in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The caller gave something wrong; the same request will fail again.
    InvalidInput,
    /// There is no memory now; the same request may succeed later.
    Exhausted,
    /// The machine or its configuration.
    System,
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Exhausted { .. } | Self::CacheFull { .. } => ErrorKind::Exhausted,
            Self::NoSuchNode { .. } | Self::Os { .. } => ErrorKind::System,
            _ => ErrorKind::InvalidInput,
        }
    }

    /// The error of the system call that has just failed.
    #[cfg(not(loom))]
    pub(crate) fn last_os(call: &'static str) -> Self {
        Self::Os {
            call,
            source: io::Error::last_os_error(),
        }
    }
}
