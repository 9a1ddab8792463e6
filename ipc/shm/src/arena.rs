//! The client's arena: who has which part of it.
//!
//! Nothing of the bookkeeping lies in the arena, so that the daemon never has to know or trust it. To the daemon the
//! arena is bytes, and a frame says which.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mlos_tensor_mem::{Element, Segment};

use crate::layout::LINE_BYTES;
use crate::{Error, words};

const LINE: u64 = LINE_BYTES as u64;

/// Memory that a client lends to itself, piece by piece. Clones share it.
#[derive(Clone, Debug)]
pub struct Arena {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    segment: Arc<Segment>,
    pieces: Mutex<Pieces>,
}

/// How full an arena is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaStats {
    /// All of it.
    pub bytes: u64,
    /// Not on loan, in pieces.
    pub free: u64,
    /// The largest piece: what one loan can have.
    pub largest: u64,
    /// Loans that are out.
    pub loans: u64,
}

impl Arena {
    /// An arena over all of a segment, which nobody else may lend from.
    #[must_use]
    pub fn new(segment: Arc<Segment>) -> Self {
        words::welcome_huge_pages(&segment);
        let bytes = segment.len() as u64 / LINE * LINE;
        Self {
            inner: Arc::new(Inner {
                segment,
                pieces: Mutex::new(Pieces::new(bytes)),
            }),
        }
    }

    /// Lends `bytes` bytes on a cache line: the smallest free piece that is large enough. What lies in them is what
    /// was there before. Dropping the loan gives them back.
    pub fn loan(&self, bytes: usize) -> Result<Loan, Error> {
        let room = (bytes as u64)
            .max(1)
            .checked_next_multiple_of(LINE)
            .ok_or(Error::OutOfBounds {
                what: "the size of a loan",
                got: bytes as u64,
                min: 0,
                max: self.inner.segment.len() as u64,
            })?;
        let offset = self.pieces().take(room)?;
        Ok(Loan {
            arena: self.clone(),
            offset,
            room,
            len: bytes,
        })
    }

    /// How full it is.
    #[must_use]
    pub fn stats(&self) -> ArenaStats {
        self.pieces().stats()
    }

    /// The memory itself.
    #[must_use]
    pub fn segment(&self) -> &Arc<Segment> {
        &self.inner.segment
    }

    fn pieces(&self) -> MutexGuard<'_, Pieces> {
        // Each change of the pieces is whole before anything can panic.
        self.inner.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part of the arena that nobody else has.
///
/// The daemon is trusted by its clients, who gave themselves into its hands: it writes into a loan only while a request
/// is in flight whose frame names the loan as an output. Whoever sends such a request keeps the loan untouched until
/// the response; that is what makes the slices below whole.
#[derive(Debug)]
pub struct Loan {
    arena: Arena,
    offset: u64,
    room: u64,
    len: usize,
}

impl Loan {
    /// Where it starts in the arena; a multiple of 64.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Its length in bytes, as asked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it was asked for with no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its first byte. Valid as long as the loan, for [`len`](Self::len) bytes.
    #[must_use]
    pub fn as_ptr(&self) -> std::ptr::NonNull<u8> {
        self.segment().at(self.offset as usize)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the range lies in the mapping, which the loan keeps; it is memory of a file, so it has values; nobody
        // else of this process has it, and the daemon does not write now, as the type says.
        unsafe { std::slice::from_raw_parts(self.as_ptr().as_ptr(), self.len) }
    }

    /// Its bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.as_ptr().as_ptr(), self.len) }
    }

    /// Its bytes as elements; what is left over at the end is not shown. An error only for bools that are neither.
    pub fn elements<E: Element>(&self) -> Result<&[E], Error> {
        let len = self.checked_elements::<E>()?;
        // SAFETY: a loan starts on a cache line, to which every element is aligned; so many elements lie in it, and its
        // bytes are values of the type, as was just checked; the rest is as in `bytes`.
        Ok(unsafe { std::slice::from_raw_parts(self.as_ptr().cast::<E>().as_ptr(), len) })
    }

    /// Its bytes as elements, to write.
    pub fn elements_mut<E: Element>(&mut self) -> Result<&mut [E], Error> {
        let len = self.checked_elements::<E>()?;
        // SAFETY: as in `elements`, and `self` is borrowed mutably; any element is bytes.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.as_ptr().cast::<E>().as_ptr(), len) })
    }

    fn checked_elements<E: Element>(&self) -> Result<usize, Error> {
        E::check(self.bytes())?;
        Ok(self.len / size_of::<E>())
    }

    /// The arena's memory.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        &self.arena.inner.segment
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.arena.pieces().give_back(self.offset, self.room);
    }
}

/// The free pieces, by place and by size, and how many loans are out.
#[derive(Debug)]
struct Pieces {
    bytes: u64,
    free: u64,
    loans: u64,
    by_offset: BTreeMap<u64, u64>,
    by_size: BTreeSet<(u64, u64)>,
}

impl Pieces {
    fn new(bytes: u64) -> Self {
        let mut pieces = Self {
            bytes,
            free: 0,
            loans: 0,
            by_offset: BTreeMap::new(),
            by_size: BTreeSet::new(),
        };
        pieces.insert(0, bytes);
        pieces
    }

    /// The smallest piece that is large enough; of those of one size, the first.
    fn take(&mut self, room: u64) -> Result<u64, Error> {
        let Some(&(bytes, offset)) = self.by_size.range((room, 0)..).next() else {
            let ArenaStats { free, largest, .. } = self.stats();
            let asked = room;
            return Err(Error::ArenaExhausted { asked, free, largest });
        };
        self.remove(offset, bytes);
        if bytes > room {
            self.insert(offset + room, bytes - room);
        }
        self.loans += 1;
        Ok(offset)
    }

    /// Joins the piece with its free neighbours.
    fn give_back(&mut self, offset: u64, room: u64) {
        let (mut start, mut end) = (offset, offset + room);
        if let Some((&before, &bytes)) = self.by_offset.range(..offset).next_back()
            && before + bytes == offset
        {
            self.remove(before, bytes);
            start = before;
        }
        if let Some(&bytes) = self.by_offset.get(&end) {
            self.remove(end, bytes);
            end += bytes;
        }
        self.insert(start, end - start);
        self.loans -= 1;
    }

    fn insert(&mut self, offset: u64, bytes: u64) {
        self.by_offset.insert(offset, bytes);
        self.by_size.insert((bytes, offset));
        self.free += bytes;
    }

    fn remove(&mut self, offset: u64, bytes: u64) {
        self.by_offset.remove(&offset);
        self.by_size.remove(&(bytes, offset));
        self.free -= bytes;
    }

    fn stats(&self) -> ArenaStats {
        ArenaStats {
            bytes: self.bytes,
            free: self.free,
            largest: self.by_size.last().map_or(0, |(bytes, _)| *bytes),
            loans: self.loans,
        }
    }
}
