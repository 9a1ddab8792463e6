//! A slot: one cache line that says by itself whether it is full.

use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::{Fault, RingName};

/// Words of a message beside its first half-word. Under loom a message is short, so that every interleaving is met.
#[cfg(not(loom))]
pub(crate) const WORDS: usize = 7;
#[cfg(loom)]
pub(crate) const WORDS: usize = 1;

/// A message as it lies in a slot, without the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    pub(crate) head: u32,
    pub(crate) body: [u64; WORDS],
}

/// What can travel over a ring: [`Request`](crate::Request) and [`Response`](crate::Response).
pub trait Message: Copy {
    /// The ring that it travels over.
    const RING: RingName;

    /// Into words.
    fn encode(self) -> Words;

    /// From words that were copied out of a slot, and may be anything.
    fn decode(words: Words) -> Result<Self, Fault>;
}

/// A slot in shared memory. Only atomics, so that whatever the peer does meanwhile, reading is defined: it gives some
/// words, which are then looked at in private.
#[repr(C)]
#[cfg_attr(not(loom), repr(align(64)))]
#[derive(Debug)]
pub(crate) struct Slot {
    turn: AtomicU32,
    head: AtomicU32,
    body: [AtomicU64; WORDS],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Slot>() == crate::layout::LINE_BYTES);

impl Slot {
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self {
            turn: AtomicU32::new(0),
            head: AtomicU32::new(0),
            body: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// The turn. Acquire, as everything follows from it: a consumer that sees "full" (the Release in `fill`) sees the
    /// words; a producer that sees "free" (the Release in `free`) comes after the consumer's reading.
    #[inline]
    pub(crate) fn turn(&self) -> u32 {
        self.turn.load(Ordering::Acquire)
    }

    /// Writes the words and then the turn that says so.
    #[inline]
    pub(crate) fn fill(&self, words: Words, turn: u32) {
        self.head.store(words.head, Ordering::Relaxed);
        for (slot, word) in self.body.iter().zip(words.body) {
            slot.store(word, Ordering::Relaxed);
        }
        // Release: pairs with the consumer's load in `turn`.
        self.turn.store(turn, Ordering::Release);
    }

    /// Copies the words out.
    #[inline]
    pub(crate) fn words(&self) -> Words {
        Words {
            head: self.head.load(Ordering::Relaxed),
            body: std::array::from_fn(|at| self.body[at].load(Ordering::Relaxed)),
        }
    }

    /// Gives the slot back to the producer.
    #[inline]
    pub(crate) fn free(&self, turn: u32) {
        // Release: pairs with the producer's load in `turn`.
        self.turn.store(turn, Ordering::Release);
    }
}
