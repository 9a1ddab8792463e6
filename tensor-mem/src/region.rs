//! Memory of a segment that somebody else manages.

use std::fmt;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::limits::ALIGN_BYTES;
use crate::segment::Segment;
use crate::{Error, racy};

/// A part of a segment that **another process may read and write at any time**: of a client's arena, say, where it lays
/// down inputs and finds its outputs. [`Tensor::over`](crate::Tensor::over) makes a tensor of it.
///
/// It starts at a multiple of 64 bytes and lies within its segment, which it keeps mapped; dropping it gives nothing
/// back. Who uses which part is the other side's business: regions may overlap, and no content can be relied on.
///
/// Making one is safe, and so is all that it offers, because nothing here makes a reference to those bytes: they are
/// copied in and out by relaxed atomic accesses, for which a race with the other process is defined, and pass
/// otherwise as a raw pointer only. Whoever uses the pointer keeps to the same rule, or passes it to code outside of
/// the language (an engine's kernel, a system call) that stays within the length whatever values it reads there.
#[derive(Clone)]
pub struct Region {
    segment: Arc<Segment>,
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a region is an address range that its segment keeps mapped, and that is accessed atomically.
unsafe impl Send for Region {}
// SAFETY: as above; it has no state of its own.
unsafe impl Sync for Region {}

impl Region {
    /// The `len` bytes of a segment from `offset` on.
    ///
    /// # Errors
    /// [`Error::Misaligned`], [`Error::OutsideSegment`].
    pub fn new(segment: &Arc<Segment>, offset: usize, len: usize) -> Result<Self, Error> {
        if !offset.is_multiple_of(ALIGN_BYTES) {
            return Err(Error::Misaligned { offset });
        }
        if offset.checked_add(len).is_none_or(|end| end > segment.len()) {
            return Err(Error::OutsideSegment {
                offset,
                len,
                segment: segment.len(),
            });
        }
        // SAFETY: `offset` is at most the segment's length, as just checked, and its mapping is one allocation.
        let start = unsafe { segment.base().add(offset) };
        Ok(Self {
            segment: Arc::clone(segment),
            start,
            len,
        })
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it starts in its segment, in bytes.
    pub fn offset(&self) -> usize {
        self.start.as_ptr().addr() - self.segment.base().as_ptr().addr()
    }

    /// The segment that it is a part of.
    pub fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// The first byte, mapped for reads and writes of [`len`](Self::len) bytes while this lives. No reference may be made
    /// of it: see the type.
    pub fn as_mut_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Copies all of it out: some value that each byte had meanwhile.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`] when `to` has another length.
    pub fn copy_to(&self, to: &mut [u8]) -> Result<(), Error> {
        self.expect_len(to.len())?;
        // SAFETY: a region is mapped while it lives, and only racy code and foreign code access it.
        unsafe { racy::read(self.start, uninit(to)) };
        Ok(())
    }

    /// Copies bytes to its start.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`] when they are more than it holds.
    pub fn copy_from(&self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() > self.len {
            self.expect_len(bytes.len())?;
        }
        // SAFETY: a region is mapped while it lives, and only racy code and foreign code access it.
        unsafe { racy::write(bytes, self.start) };
        Ok(())
    }

    fn expect_len(&self, got: usize) -> Result<(), Error> {
        if got == self.len {
            return Ok(());
        }
        Err(Error::SizeMismatch {
            expected: self.len,
            got,
        })
    }

    pub(crate) fn into_parts(self) -> (Arc<Segment>, NonNull<u8>, usize) {
        (self.segment, self.start, self.len)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end) = (self.offset(), self.offset() + self.len);
        write!(f, "Region({start}..{end} of segment {})", self.segment.id())
    }
}

/// Bytes that are going to be overwritten.
pub(crate) fn uninit(bytes: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    let (start, len) = (bytes.as_mut_ptr().cast::<MaybeUninit<u8>>(), bytes.len());
    // SAFETY: the same bytes, borrowed as long; `racy::read`, the only user, writes initialised bytes only.
    unsafe { std::slice::from_raw_parts_mut(start, len) }
}
