//! The pool's memory: free stacks that every thread uses without locks, over blocks that a locked, rare path grows.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::block_meta::BlockMeta;
use crate::free_stack::{FreeStack, Links};
use crate::growth::Growth;
use crate::limits::{CHUNK_BLOCKS_MAX, CHUNKS_MAX, CLASSES, EXTENTS_MAX, SLAB_BLOCK_BYTES_MAX, SLAB_CLASSES};
use crate::segment::Segment;
use crate::stats::{ClassStats, PoolStats};
use crate::sync::AtomicU32;
use crate::{Error, PoolConfig, class};

/// Which block it is, and of which class.
#[derive(Clone, Copy)]
pub(crate) struct BlockName {
    pub(crate) index: u32,
    pub(crate) class: u8,
}

/// Set in the index of an extent; the rest is its slot. Else the index is the chunk's times `CHUNK_BLOCKS_MAX` plus
/// the block's within the chunk.
const EXTENT: u32 = 1 << 31;

/// Blocks of one class that are free. On a cache line pair of its own, since classes are used by different threads.
#[repr(align(128))]
struct Class {
    free: FreeStack,
    loans: AtomicU64,
    returns: AtomicU64,
}

/// A part of a segment, and the table for the blocks in it. Which class they have changes over time; the table does
/// not, so that a stale reader of a link reads a link.
pub(crate) struct Chunk {
    pub(crate) segment: Arc<Segment>,
    pub(crate) offset: usize,
    metas: Box<[BlockMeta]>,
}

impl Chunk {
    pub(crate) fn new(segment: Arc<Segment>, offset: usize) -> Self {
        Self {
            segment,
            offset,
            metas: zeroed_metas(CHUNK_BLOCKS_MAX),
        }
    }
}

/// A tensor too large for slabs, with a segment of its own.
struct Extent {
    meta: BlockMeta,
    base: AtomicPtr<u8>,
}

/// See the module.
pub(crate) struct Store {
    pub(crate) config: PoolConfig,
    classes: Box<[Class]>,
    pub(crate) chunks: Box<[OnceLock<Chunk>]>,
    extents: Box<[Extent]>,
    in_use: AtomicUsize,
    high_water: AtomicUsize,
    /// Locked to carve new blocks and to trim, which a pool does while it warms up and when it is full. Loans of memory
    /// that is there already, and all returns, never touch it. A lock and not an actor, as loans are made from several threads.
    growth: Mutex<Growth>,
}

impl Store {
    pub(crate) fn new(config: PoolConfig) -> Self {
        let chunks = Growth::chunks_max(config.limit_bytes).min(CHUNKS_MAX);
        let extents = (config.limit_bytes / SLAB_BLOCK_BYTES_MAX).min(EXTENTS_MAX);
        let new_class = |_| Class {
            free: FreeStack::new(),
            loans: AtomicU64::new(0),
            returns: AtomicU64::new(0),
        };
        let new_extent = |meta| Extent {
            meta,
            base: AtomicPtr::new(std::ptr::null_mut()),
        };
        Self {
            config,
            classes: (0..CLASSES).map(new_class).collect(),
            chunks: (0..chunks).map(|_| OnceLock::new()).collect(),
            extents: zeroed_metas(extents).into_iter().map(new_extent).collect(),
            in_use: AtomicUsize::new(0),
            high_water: AtomicUsize::new(0),
            growth: Mutex::new(Growth::new(config.limit_bytes, extents)),
        }
    }

    /// Takes a block for `bytes` out of the pool, with its first share.
    pub(crate) fn take(&self, bytes: usize) -> Result<(BlockName, NonNull<u8>), Error> {
        let class = class::of(bytes);
        let index = match self.pop(class) {
            Some(index) => index,
            None => self.grow(class)?,
        };
        self.meta(index).first_share();
        self.count_taken(class);
        Ok((
            BlockName {
                index,
                class: class as u8,
            },
            self.base(index, class),
        ))
    }

    /// Drops a share, and puts the block back when it was the last.
    pub(crate) fn give_back(&self, name: BlockName) {
        if self.meta(name.index).unshare() {
            let class = usize::from(name.class);
            // Counted before the block can be taken again, so that the sum never shows it twice.
            self.in_use
                .fetch_sub(class::block_bytes(class), Ordering::Relaxed);
            // Release, pairs with the Acquire in `stats`, which then also sees the loan that this return ends.
            self.classes[class].returns.fetch_add(1, Ordering::Release);
            self.classes[class].free.push(self, name.index);
        }
    }

    fn count_taken(&self, class: usize) {
        // Relaxed throughout: statistics, from which nothing is concluded about other memory.
        let size = class::block_bytes(class);
        let in_use = self.in_use.fetch_add(size, Ordering::Relaxed) + size;
        if in_use > self.high_water.load(Ordering::Relaxed) {
            self.high_water.fetch_max(in_use, Ordering::Relaxed);
        }
        self.classes[class].loans.fetch_add(1, Ordering::Relaxed);
    }

    #[cold]
    fn grow(&self, class: usize) -> Result<u32, Error> {
        self.growth().take(self, class)
    }

    fn growth(&self) -> MutexGuard<'_, Growth> {
        // A panic under the lock would be a failed assertion of ours; the books are written after the system calls.
        self.growth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pop(&self, class: usize) -> Option<u32> {
        self.classes[class].free.pop(self)
    }

    pub(crate) fn take_all(&self, class: usize) -> u32 {
        self.classes[class].free.take_all()
    }

    pub(crate) fn push_chain(&self, class: usize, first: u32, last: u32) {
        self.classes[class].free.push_chain(self, first, last);
    }

    pub(crate) fn in_use_bytes(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    pub(crate) fn chunk(&self, chunk: usize) -> &Chunk {
        self.chunks[chunk]
            .get()
            .expect("a block's chunk exists before the block does")
    }

    pub(crate) fn meta(&self, index: u32) -> &BlockMeta {
        match place(index) {
            Place::Extent { slot } => &self.extents[slot].meta,
            Place::Slab { chunk, block } => &self.chunk(chunk).metas[block],
        }
    }

    fn base(&self, index: u32, class: usize) -> NonNull<u8> {
        match place(index) {
            Place::Slab { chunk, block } => {
                let chunk = self.chunk(chunk);
                chunk.segment.at(chunk.offset + block * class::block_bytes(class))
            }
            Place::Extent { slot } => {
                // Relaxed: written before the extent was pushed or handed to this thread, which has synchronised.
                let base = self.extents[slot].base.load(Ordering::Relaxed);
                NonNull::new(base).expect("an extent in use is mapped")
            }
        }
    }

    /// Notes where an extent lies. Its caller owns the slot.
    pub(crate) fn set_extent_base(&self, slot: usize, base: *mut u8) {
        // Relaxed: pairs as said in `base`.
        self.extents[slot].base.store(base, Ordering::Relaxed);
    }

    /// The segment of a block.
    pub(crate) fn segment(&self, name: BlockName) -> Arc<Segment> {
        match place(name.index) {
            Place::Slab { chunk, .. } => Arc::clone(&self.chunk(chunk).segment),
            Place::Extent { slot } => self.growth().extent(slot),
        }
    }

    pub(crate) fn trim(&self) -> usize {
        let reclaim = |class| {
            // The lock is gone when the extents are unmapped: that takes milliseconds, and others may want to grow.
            let reclaimed = self.growth().reclaim_class(self, class, usize::MAX);
            reclaimed.returned
        };
        (0..CLASSES).rev().map(reclaim).sum()
    }

    pub(crate) fn stats(&self) -> PoolStats {
        let mut stats = PoolStats {
            node: self.config.node,
            limit: self.config.limit_bytes,
            in_use_bytes: self.in_use_bytes(),
            high_water: self.high_water.load(Ordering::Relaxed),
            ..PoolStats::default()
        };
        let growth = self.growth();
        growth.describe(&mut stats);
        for (class, counts) in self.classes.iter().enumerate() {
            // In this order a return may be missed, but never the loan that it ended. Acquire, pairs with the Release
            // in `give_back`.
            let returns = counts.returns.load(Ordering::Acquire);
            let loans = counts.loans.load(Ordering::Relaxed);
            stats.loans += loans;
            if loans > 0 {
                stats.classes.push(ClassStats {
                    block_bytes: class::block_bytes(class),
                    blocks: growth.blocks(class),
                    in_use: (loans - returns) as usize,
                    loans,
                });
            }
        }
        stats
    }
}

impl Links for Store {
    fn link(&self, index: u32) -> &AtomicU32 {
        self.meta(index).link()
    }
}

/// Where a block is, by its index.
pub(crate) enum Place {
    Slab { chunk: usize, block: usize },
    Extent { slot: usize },
}

pub(crate) fn place(index: u32) -> Place {
    if index & EXTENT != 0 {
        return Place::Extent {
            slot: (index & !EXTENT) as usize,
        };
    }
    let index = index as usize;
    Place::Slab {
        chunk: index / CHUNK_BLOCKS_MAX,
        block: index % CHUNK_BLOCKS_MAX,
    }
}

pub(crate) fn slab_index(chunk: usize, block: usize) -> u32 {
    debug_assert!(chunk < CHUNKS_MAX && block < CHUNK_BLOCKS_MAX);
    (chunk * CHUNK_BLOCKS_MAX + block) as u32
}

pub(crate) fn extent_index(slot: usize) -> u32 {
    debug_assert!(slot < EXTENTS_MAX);
    slot as u32 | EXTENT
}

/// Whether the blocks of a class have extents of their own.
pub(crate) fn is_extent_class(class: usize) -> bool {
    class >= SLAB_CLASSES
}

/// A table that costs no memory until it is used: large zeroed allocations are untouched pages.
fn zeroed_metas(count: usize) -> Box<[BlockMeta]> {
    let metas = Box::new_zeroed_slice(count);
    // SAFETY: BlockMeta is two atomic integers, for which all zero bytes are a valid value.
    unsafe { metas.assume_init() }
}
