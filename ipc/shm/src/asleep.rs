//! The word in which a consumer says that it is about to sleep, and the two steps that lose no wake-up.
//!
//! The consumer says that it sleeps and then looks at its ring once more; the producer fills a slot and then looks at
//! the word. With a full fence between the steps of each, at least one of the two sees what the other did: either the
//! consumer finds the message, or the producer finds it asleep and rings. `loom_tests.rs` holds that.
//!
//! The word is a hint and nothing more: whatever a lying peer writes into it costs a system call, or its own wake-up.

use crate::sync::{AtomicU32, Ordering, fence};

/// Nobody sleeps.
pub(crate) const AWAKE: u32 = 0;

/// How a side sleeps, which is how it must be woken.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// In a `futex(2)` on the word itself: a client's thread, which has nothing else to wait for.
    OnWord = 1,
    /// In a wait for its bell's descriptor, among others: an executor.
    OnDescriptor = 2,
}

impl Sleep {
    pub(crate) fn from_u32(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::OnWord),
            2 => Some(Self::OnDescriptor),
            _ => None,
        }
    }
}

/// The consumer's step before its last look at the ring.
pub(crate) fn lie_down(word: &AtomicU32, sleep: Sleep) {
    // A swap, where a store would do: whoever sleeps has time, and the loom models know one order of a word's values
    // only when each change has read the one before.
    word.swap(sleep as u32, Ordering::Relaxed);
    // SeqCst: pairs with the fence in `rouse`. Either our store is before the producer's load of the word, or its
    // message is before our look.
    fence(Ordering::SeqCst);
}

/// The consumer's step when it is awake again, by itself or by the bell.
pub(crate) fn get_up(word: &AtomicU32) {
    // Relaxed: a producer that sees the old value rings once in vain.
    word.swap(AWAKE, Ordering::Relaxed);
}

/// The producer's step after it has filled slots: how the consumer must be woken, if it must. Of several who ask, one
/// is told.
#[inline]
pub(crate) fn rouse(word: &AtomicU32) -> Option<Sleep> {
    // SeqCst: pairs with the fence in `lie_down`.
    fence(Ordering::SeqCst);
    // Looked at before it is taken: taking it would draw the line from the consumer's core for each message.
    if word.load(Ordering::Relaxed) == AWAKE {
        return None;
    }
    // Relaxed: the message was published by its slot's turn; the bell carries nothing.
    Sleep::from_u32(word.swap(AWAKE, Ordering::Relaxed))
}
