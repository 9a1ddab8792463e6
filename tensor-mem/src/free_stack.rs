//! A stack of free blocks, by index: popped by the thread that loans, pushed by whichever thread drops.
//!
//! A Treiber stack whose links live in a table beside the blocks, not in them (a block may be mapped by another
//! process, which must not be able to corrupt the list). It is bounded by that table: every index is in it at most
//! once. Beside the index of the top block the head carries a generation that every operation raises, so that a pop
//! that slept while its block went away and came back (ABA) fails its compare-exchange instead of installing a stale
//! link. The generation has 32 bits: a thread would have to sleep inside `pop` through exactly 2^32 operations.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// No block.
pub(crate) const NIL: u32 = u32::MAX;

/// Where the link of each block is kept. The same cell for the same index, for as long as the stack lives: `pop` may
/// read the link of a block that another thread has taken meanwhile.
pub(crate) trait Links {
    /// The link of a block that is, or once was, on the stack.
    fn link(&self, index: u32) -> &AtomicU32;
}

/// The stack. Its links are passed to each operation, as one table serves many stacks.
pub(crate) struct FreeStack {
    /// Generation in the upper half, index of the top block in the lower.
    head: AtomicU64,
}

fn pack(generation: u32, index: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(index)
}

fn top(head: u64) -> u32 {
    head as u32
}

fn generation(head: u64) -> u32 {
    (head >> 32) as u32
}

impl FreeStack {
    pub(crate) fn new() -> Self {
        Self {
            head: AtomicU64::new(pack(0, NIL)),
        }
    }

    /// Puts a block on top. The caller owns it and gives it away.
    pub(crate) fn push(&self, links: &impl Links, index: u32) {
        self.push_chain(links, index, index);
    }

    /// Puts blocks on top that are linked already from `first` to `last`.
    pub(crate) fn push_chain(&self, links: &impl Links, first: u32, last: u32) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            links.link(last).store(top(head), Ordering::Relaxed);
            let pushed = pack(generation(head).wrapping_add(1), first);
            // Release, pairs with the Acquire loads of `head` in `pop` and `take_all`: who takes a block sees its
            // link, and all that the last owner did with its memory. Every write of `head` is a read-modify-write,
            // so the pairing holds also through the pushes and pops in between (release sequence).
            match self
                .head
                .compare_exchange_weak(head, pushed, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes the top block, which the caller then owns.
    pub(crate) fn pop(&self, links: &impl Links) -> Option<u32> {
        // Acquire, pairs with the Release in `push_chain`.
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            let index = top(head);
            if index == NIL {
                return None;
            }
            // May be stale when another thread took the block; the generation then makes the exchange fail.
            let below = links.link(index).load(Ordering::Relaxed);
            let popped = pack(generation(head).wrapping_add(1), below);
            // Nothing is published by a pop, so Acquire (for the retry, as above) and no Release.
            match self
                .head
                .compare_exchange_weak(head, popped, Ordering::Acquire, Ordering::Acquire)
            {
                Ok(_) => return Some(index),
                Err(now) => head = now,
            }
        }
    }

    /// Takes all blocks at once: the index of the first, from which the caller follows the links to `NIL`.
    pub(crate) fn take_all(&self) -> u32 {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let emptied = pack(generation(head).wrapping_add(1), NIL);
            // Acquire, pairs with the Release in `push_chain`.
            match self
                .head
                .compare_exchange_weak(head, emptied, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return top(head),
                Err(now) => head = now,
            }
        }
    }
}
