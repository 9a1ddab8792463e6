//! How a pool takes memory and gives it back. All of this runs under the pool's one lock, off the hot path.
//!
//! Memory is counted against the limit when it is *committed*: when a block is carved that was never used before, or
//! an extent is made. From then on its pages stay resident while it goes from loan to loan, so that reuse never
//! faults, until `trim` or a full pool punches them out.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::class;
use crate::free_stack::{Links, NIL};
use crate::limits::{
    CHUNK_BLOCKS_MAX, CHUNK_BYTES, CLASSES, SEGMENT_BYTES, SLAB_CLASSES, TRANSPARENT_HUGE_BLOCK_BYTES_MIN,
};
use crate::numa::Binding;
use crate::segment::{Pages, Segment, SegmentOptions};
use crate::stats::PoolStats;
use crate::store::{Chunk, Place, Store, extent_index, is_extent_class, place, slab_index};
use crate::{Error, PoolConfig};

/// The books.
pub(crate) struct Growth {
    limit: usize,
    committed: usize,
    reserved: usize,
    fallbacks: u64,
    evictions: u64,
    binding: Binding,
    pages: Pages,
    /// Blocks carved out of each chunk: these may be resident, the rest was never touched.
    carved: Vec<usize>,
    chunks_free: Vec<usize>,
    /// The segment that chunks are cut from, and how much of it is cut.
    segment: Option<(Arc<Segment>, usize)>,
    /// The chunk of each slab class that is not fully carved.
    carving: [Option<usize>; SLAB_CLASSES],
    blocks: [usize; CLASSES],
    extents: Vec<Option<Arc<Segment>>>,
    extents_free: Vec<usize>,
}

/// What was taken back from a class.
#[derive(Default)]
pub(crate) struct Reclaimed {
    /// Bytes that no longer count against the limit.
    pub(crate) committed: usize,
    /// Those of them that the kernel got.
    pub(crate) returned: usize,
    /// Extents to unmap, by being dropped: where that takes long, not under the lock.
    segments: Vec<Arc<Segment>>,
}

/// How many blocks of a class one chunk gives.
const fn chunk_blocks(class: usize) -> usize {
    let fit = CHUNK_BYTES / class::block_bytes(class);
    if fit < CHUNK_BLOCKS_MAX {
        fit
    } else {
        CHUNK_BLOCKS_MAX
    }
}

impl Growth {
    pub(crate) fn new(limit: usize, extents_max: usize) -> Self {
        Self {
            limit,
            committed: 0,
            reserved: 0,
            fallbacks: 0,
            evictions: 0,
            binding: Binding::Default,
            pages: Pages::Base,
            carved: Vec::new(),
            chunks_free: Vec::new(),
            segment: None,
            carving: [None; SLAB_CLASSES],
            blocks: [0; CLASSES],
            extents: (0..extents_max).map(|_| None).collect(),
            extents_free: (0..extents_max).rev().collect(),
        }
    }

    /// Chunks that a pool of that limit can need: each class may have one that is only begun, and the others are full,
    /// with the least in them when blocks are smallest.
    pub(crate) fn chunks_max(limit: usize) -> usize {
        let full_bytes_min = (0..SLAB_CLASSES)
            .map(|class| chunk_blocks(class) * class::block_bytes(class))
            .min();
        SLAB_CLASSES + limit / full_bytes_min.unwrap_or(CHUNK_BYTES)
    }

    /// A block for a class whose free stack was found empty.
    pub(crate) fn take(&mut self, store: &Store, class: usize) -> Result<u32, Error> {
        let size = class::block_bytes(class);
        // Somebody else may have grown or returned one while we waited for the lock.
        if let Some(index) = store.pop(class) {
            return Ok(index);
        }
        if size <= self.limit && !self.fits(size) {
            self.reclaim(store, class);
        }
        if !self.fits(size) {
            // A block may have come back meanwhile; it would be wrong to refuse with one at hand.
            return store.pop(class).ok_or_else(|| self.exhausted(store, size));
        }
        let index = if is_extent_class(class) {
            self.make_extent(store, size)
        } else {
            self.carve(store, class)
        }?;
        self.committed += size;
        self.blocks[class] += 1;
        Ok(index)
    }

    fn fits(&self, size: usize) -> bool {
        self.committed
            .checked_add(size)
            .is_some_and(|sum| sum <= self.limit)
    }

    fn exhausted(&self, store: &Store, asked: usize) -> Error {
        Error::Exhausted {
            asked,
            limit: self.limit,
            in_use: store.in_use_bytes(),
        }
    }

    fn carve(&mut self, store: &Store, class: usize) -> Result<u32, Error> {
        let chunk = match self.carving[class] {
            Some(chunk) => chunk,
            None => self.begin_chunk(store, class)?,
        };
        let carved = &mut self.carved[chunk];
        let block = *carved;
        *carved += 1;
        self.carving[class] = (*carved < chunk_blocks(class)).then_some(chunk);
        Ok(slab_index(chunk, block))
    }

    fn begin_chunk(&mut self, store: &Store, class: usize) -> Result<usize, Error> {
        let chunk = match self.chunks_free.pop() {
            Some(chunk) => chunk,
            None => self.cut_chunk(store)?,
        };
        self.carved[chunk] = 0;
        if store.config.huge_pages && class::block_bytes(class) >= TRANSPARENT_HUGE_BLOCK_BYTES_MIN {
            let Chunk { segment, offset, .. } = store.chunk(chunk);
            let segment = Arc::clone(segment);
            self.advise_huge(&segment, *offset, CHUNK_BYTES);
        }
        Ok(chunk)
    }

    fn cut_chunk(&mut self, store: &Store) -> Result<usize, Error> {
        let chunk = self.carved.len();
        let Some(slot) = store.chunks.get(chunk) else {
            return Err(self.exhausted(store, CHUNK_BYTES));
        };
        let (segment, offset) = match self.segment.take() {
            Some((segment, cut)) if cut + CHUNK_BYTES <= segment.len() => (segment, cut),
            _ => {
                let len = self
                    .limit
                    .next_multiple_of(CHUNK_BYTES)
                    .clamp(CHUNK_BYTES, SEGMENT_BYTES);
                (Arc::new(self.make_segment(&store.config, len)?), 0)
            }
        };
        slot.get_or_init(|| Chunk::new(Arc::clone(&segment), offset));
        self.segment = Some((segment, offset + CHUNK_BYTES));
        self.carved.push(0);
        Ok(chunk)
    }

    fn make_extent(&mut self, store: &Store, size: usize) -> Result<u32, Error> {
        let Some(slot) = self.extents_free.pop() else {
            return Err(self.exhausted(store, size));
        };
        let made = self.make_segment(&store.config, size);
        let segment = match made {
            Ok(segment) => Arc::new(segment),
            Err(error) => {
                self.extents_free.push(slot);
                return Err(error);
            }
        };
        if store.config.huge_pages {
            self.advise_huge(&segment, 0, size);
        }
        store.set_extent_base(slot, segment.base().as_ptr());
        self.extents[slot] = Some(segment);
        Ok(extent_index(slot))
    }

    fn make_segment(&mut self, config: &PoolConfig, len: usize) -> Result<Segment, Error> {
        let options = SegmentOptions {
            node: config.node,
            node_policy: config.node_policy,
            huge_pages: config.huge_pages,
        };
        let segment = Segment::create(len, &options)?;
        self.reserved += segment.len();
        self.binding = segment.binding();
        if matches!(segment.binding(), Binding::Refused { .. }) {
            self.fallbacks += 1;
        }
        if segment.pages() == Pages::ReservedHuge {
            self.pages = Pages::ReservedHuge;
        } else if config.huge_pages {
            self.fallbacks += 1;
        }
        Ok(segment)
    }

    fn advise_huge(&mut self, segment: &Segment, offset: usize, len: usize) {
        if !segment.advise_huge(offset..offset + len) {
            self.fallbacks += 1;
        } else if self.pages == Pages::Base {
            self.pages = Pages::TransparentHuge;
        }
    }

    /// Makes room for one block of a class out of what other classes hold free: large extents first.
    fn reclaim(&mut self, store: &Store, class: usize) {
        let size = class::block_bytes(class);
        for victim in (0..CLASSES).rev().filter(|&victim| victim != class) {
            if self.fits(size) {
                return;
            }
            let wanted = (self.committed + size).saturating_sub(self.limit);
            let reclaimed = self.reclaim_class(store, victim, wanted);
            self.evictions += u64::from(reclaimed.committed > 0);
        }
    }

    /// Takes free memory back from one class, about `wanted` bytes of it.
    pub(crate) fn reclaim_class(&mut self, store: &Store, class: usize, wanted: usize) -> Reclaimed {
        if self.blocks[class] == 0 {
            return Reclaimed::default();
        }
        let reclaimed = if is_extent_class(class) {
            self.drop_extents(store, class, wanted)
        } else {
            self.punch_chunks(store, class)
        };
        self.committed -= reclaimed.committed;
        self.blocks[class] -= reclaimed.committed / class::block_bytes(class);
        reclaimed
    }

    fn drop_extents(&mut self, store: &Store, class: usize, wanted: usize) -> Reclaimed {
        let mut reclaimed = Reclaimed::default();
        while reclaimed.committed < wanted
            && let Some(index) = store.pop(class)
        {
            let Place::Extent { slot } = place(index) else {
                unreachable!("extent classes hold extents")
            };
            store.set_extent_base(slot, std::ptr::null_mut());
            if let Some(segment) = self.extents[slot].take() {
                self.reserved -= segment.len();
                reclaimed.segments.push(segment);
            }
            self.extents_free.push(slot);
            reclaimed.committed += class::block_bytes(class);
        }
        reclaimed.returned = reclaimed.committed;
        reclaimed
    }

    /// Punches out the chunks of a class whose every block is free. The class's free blocks are taken off its stack
    /// for the time; who finds it empty waits for the lock that we hold, and looks again.
    fn punch_chunks(&mut self, store: &Store, class: usize) -> Reclaimed {
        let first = store.take_all(class);
        let idle = self.idle_chunks(store, first);
        push_back_except(store, class, first, &idle);
        let mut reclaimed = Reclaimed::default();
        for chunk in (0..idle.len()).filter(|&chunk| idle[chunk]) {
            let len = self.carved[chunk] * class::block_bytes(class);
            if self.punch(store.chunk(chunk)) {
                reclaimed.returned += len;
            }
            if self.carving[class] == Some(chunk) {
                self.carving[class] = None;
            }
            self.carved[chunk] = 0;
            self.chunks_free.push(chunk);
            reclaimed.committed += len;
        }
        reclaimed
    }

    /// Gives a chunk's pages back to the kernel, and says whether it could.
    fn punch(&mut self, chunk: &Chunk) -> bool {
        if chunk.segment.pages() == Pages::ReservedHuge {
            // They would go back to the administrator's stock, and a later touch could find it empty: SIGBUS.
            return false;
        }
        let punched = chunk
            .segment
            .punch(chunk.offset..chunk.offset + CHUNK_BYTES)
            .is_ok();
        self.fallbacks += u64::from(!punched);
        punched
    }

    /// For each chunk, whether all its carved blocks are in this list.
    fn idle_chunks(&self, store: &Store, first: u32) -> Vec<bool> {
        let mut free = vec![0; self.carved.len()];
        let mut index = first;
        while index != NIL {
            free[chunk_of(index)] += 1;
            index = store.link(index).load(Ordering::Relaxed);
        }
        let idle = |(&free, &carved): (&usize, &usize)| free > 0 && free == carved;
        free.iter().zip(&self.carved).map(idle).collect()
    }

    pub(crate) fn extent(&self, slot: usize) -> Arc<Segment> {
        Arc::clone(self.extents[slot].as_ref().expect("an extent in use is mapped"))
    }

    pub(crate) fn blocks(&self, class: usize) -> usize {
        self.blocks[class]
    }

    pub(crate) fn describe(&self, stats: &mut PoolStats) {
        stats.binding = self.binding;
        stats.pages = self.pages;
        stats.reserved_bytes = self.reserved;
        stats.committed_bytes = self.committed;
        stats.fallbacks = self.fallbacks;
        stats.evictions = self.evictions;
    }
}

/// Returns the blocks of a list to their stack, but for those of the chunks marked. The list is ours: no other thread
/// changes its links.
fn push_back_except(store: &Store, class: usize, first: u32, except: &[bool]) {
    let (mut kept_first, mut kept_last) = (NIL, NIL);
    let mut index = first;
    while index != NIL {
        let next = store.link(index).load(Ordering::Relaxed);
        if !except[chunk_of(index)] {
            if kept_last == NIL {
                kept_first = index;
            } else {
                store.link(kept_last).store(index, Ordering::Relaxed);
            }
            kept_last = index;
        }
        index = next;
    }
    if kept_first != NIL {
        store.push_chain(class, kept_first, kept_last);
    }
}

fn chunk_of(index: u32) -> usize {
    match place(index) {
        Place::Slab { chunk, .. } => chunk,
        Place::Extent { .. } => unreachable!("slab classes hold blocks of chunks"),
    }
}
