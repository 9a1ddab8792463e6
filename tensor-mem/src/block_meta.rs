//! What is known of a block beside its memory: how many tensors share it, and its link while it is free.

use crate::sync::{AtomicU32, Ordering, fence};

/// Link and reference count of one block. All zero bytes are a valid value, so tables of them start untouched.
#[repr(C)]
pub(crate) struct BlockMeta {
    link: AtomicU32,
    shares: AtomicU32,
}

/// Shares at which the process is stopped, far from overflow (as `Arc` does): a leak of clones, not a load.
const SHARES_MAX: u32 = i32::MAX as u32;

impl BlockMeta {
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self {
            link: AtomicU32::new(0),
            shares: AtomicU32::new(0),
        }
    }

    #[cfg(loom)]
    pub(crate) fn shares(&self) -> u32 {
        self.shares.load(Ordering::Relaxed)
    }

    pub(crate) fn link(&self) -> &AtomicU32 {
        &self.link
    }

    /// The first share of a block just taken from its free stack.
    pub(crate) fn first_share(&self) {
        debug_assert_eq!(self.shares.load(Ordering::Relaxed), 0, "a free block was shared");
        // Relaxed: the block is ours alone, and it reaches other threads only by way of something that synchronises.
        self.shares.store(1, Ordering::Relaxed);
    }

    /// One more share. The caller has one, so the count cannot reach zero meanwhile.
    pub(crate) fn share(&self) {
        // Relaxed: a new share is made from an existing one, and publishing it is the caller's matter (as in `Arc`).
        if self.shares.fetch_add(1, Ordering::Relaxed) >= SHARES_MAX {
            std::process::abort();
        }
    }

    /// Whether the caller's share is the only one.
    pub(crate) fn is_unique(&self) -> bool {
        // Acquire, pairs with the Release in `unshare`: reads by former sharers happen before our writes.
        self.shares.load(Ordering::Acquire) == 1
    }

    /// One share less. True for the last: the caller must then return the block to its free stack.
    #[must_use]
    pub(crate) fn unshare(&self) -> bool {
        // A share that is the only one stays it, as new ones are made from existing ones: no read-modify-write needed.
        if self.is_unique() {
            // Relaxed: for `first_share`'s assertion; the push to the free stack publishes it.
            self.shares.store(0, Ordering::Relaxed);
            return true;
        }
        // Release, pairs with the Acquire in `is_unique` and the fence below, in the thread that drops the last share:
        // what each sharer did with the memory happens before it is handed to somebody else.
        if self.shares.fetch_sub(1, Ordering::Release) != 1 {
            return false;
        }
        // Acquire, pairs with the Release above of all other sharers.
        fence(Ordering::Acquire);
        true
    }
}
