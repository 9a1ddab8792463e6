//! The memory file with both rings, and what each side makes of it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use mlos_tensor_mem::{Segment, SegmentOptions};

use crate::layout::{self, RingsHeader};
use crate::slots::Slots;
use crate::{Consumer, Error, Fault, Producer, Request, Response, limits};

/// Both rings of a connection, mapped. The daemon [creates](Self::create) them, the client [maps](Self::map) what it is
/// given; either turns them into its ends, once.
#[derive(Debug)]
pub struct Rings {
    mapping: Arc<Mapping>,
}

impl Rings {
    /// New rings, in a sealed memory file.
    pub fn create(slots: u32) -> Result<Self, Error> {
        check_slots(slots)?;
        let segment = Segment::create(layout::rings_bytes(slots), &SegmentOptions::default())?;
        let mapping = Mapping { segment, slots };
        mapping.write_header();
        Ok(Self {
            mapping: Arc::new(mapping),
        })
    }

    /// Maps rings that a daemon has created. `slots` is what it said: the file's seals, its true length and its header
    /// must agree.
    pub fn map(fd: OwnedFd, slots: u32) -> Result<Self, Error> {
        check_slots(slots)?;
        let file_bytes = rustix::fs::fstat(&fd)
            .map_err(|errno| Error::os("fstat", errno))?
            .st_size;
        let least = layout::rings_bytes(slots);
        let file_bytes = usize::try_from(file_bytes).ok().filter(|bytes| *bytes >= least);
        let file_bytes = file_bytes.ok_or(Fault::RingsHeader {
            problem: "the file is shorter than its rings",
        })?;
        let segment = Segment::from_fd(fd, file_bytes)?;
        let mapping = Mapping { segment, slots };
        mapping.check_header()?;
        Ok(Self {
            mapping: Arc::new(mapping),
        })
    }

    /// Slots of either ring.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.mapping.slots
    }

    /// The daemon's ends: it takes requests and gives responses.
    #[must_use]
    pub fn into_daemon_ends(self) -> (Consumer<Request>, Producer<Response>) {
        (Consumer::new(self.requests()), Producer::new(self.responses()))
    }

    /// The client's ends: it gives requests and takes responses.
    #[must_use]
    pub fn into_client_ends(self) -> (Producer<Request>, Consumer<Response>) {
        (Producer::new(self.requests()), Consumer::new(self.responses()))
    }

    pub(crate) fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    fn requests(&self) -> Slots {
        Slots::new(Arc::clone(&self.mapping), layout::REQUESTS_OFFSET)
    }

    fn responses(&self) -> Slots {
        Slots::new(
            Arc::clone(&self.mapping),
            layout::responses_offset(self.mapping.slots),
        )
    }
}

impl AsFd for Rings {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.mapping.segment.as_fd()
    }
}

fn check_slots(slots: u32) -> Result<(), Error> {
    if slots.is_power_of_two() && (limits::SLOTS_MIN..=limits::SLOTS_MAX).contains(&slots) {
        return Ok(());
    }
    Err(Error::OutOfBounds {
        what: "the number of slots (a power of two)",
        got: slots.into(),
        min: limits::SLOTS_MIN.into(),
        max: limits::SLOTS_MAX.into(),
    })
}

/// The mapped file. Whoever holds a part of it holds all of it mapped.
#[derive(Debug)]
pub(crate) struct Mapping {
    segment: Segment,
    slots: u32,
}

impl Mapping {
    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    pub(crate) fn slots(&self) -> u32 {
        self.slots
    }

    #[inline]
    pub(crate) fn daemon_asleep(&self) -> &AtomicU32 {
        self.word(layout::DAEMON_ASLEEP_OFFSET)
    }

    #[inline]
    pub(crate) fn client_asleep(&self) -> &AtomicU32 {
        self.word(layout::CLIENT_ASLEEP_OFFSET)
    }

    #[inline]
    fn word(&self, offset: usize) -> &AtomicU32 {
        debug_assert!(offset.is_multiple_of(layout::LINE_BYTES));
        let word = self.segment.at(offset).cast::<AtomicU32>();
        // SAFETY: on the header's page, aligned to a line, mapped as long as `self` lives; any bytes are a valid
        // atomic, and the peer's accesses are those of one more thread.
        unsafe { word.as_ref() }
    }

    fn header_word(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at < size_of::<RingsHeader>() / size_of::<u64>());
        let word = self.segment.at(at * size_of::<u64>()).cast::<AtomicU64>();
        // SAFETY: as in `word`; the header is at the start of a page.
        unsafe { word.as_ref() }
    }

    fn write_header(&self) {
        for (at, word) in self.header().into_iter().enumerate() {
            self.header_word(at).store(word, Ordering::Relaxed);
        }
    }

    /// The header that a file of so many slots has, in words.
    fn header(&self) -> [u64; size_of::<RingsHeader>() / size_of::<u64>()] {
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let responses = layout::responses_offset(self.slots) as u32;
        [
            pair(layout::MAGIC, layout::VERSION.into()),
            pair(self.slots, layout::REQUESTS_OFFSET as u32),
            pair(responses, self.segment.len() as u32),
        ]
    }

    fn check_header(&self) -> Result<(), Fault> {
        let expected = self.header();
        let problems = [
            "it is of another kind or version",
            "it has other slots than the daemon said",
            "it has other offsets or another length",
        ];
        for ((at, expected), problem) in expected.into_iter().enumerate().zip(problems) {
            if self.header_word(at).load(Ordering::Relaxed) != expected {
                return Err(Fault::RingsHeader { problem });
            }
        }
        Ok(())
    }
}
