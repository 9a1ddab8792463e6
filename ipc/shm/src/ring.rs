//! A ring of slots with one producer and one consumer, who share nothing but the slots.
//!
//! There is no head and no tail in shared memory. Each slot carries its *turn*: in round `r` it is free at `2r`, full
//! at `2r + 1`, and free for the next round at `2r + 2`. Both ends know by themselves which slot is next, so a message
//! is one cache line going over, and a peer that writes nonsense is found at the slot where it did.

use crate::Fault;
use crate::slot::Message;
use crate::slots::Slots;

/// Where an end of a ring is.
#[derive(Debug)]
struct Position {
    slots: Slots,
    /// How many messages have passed. 64 bits, as the turn of a slot must go on counting where 32 would begin anew.
    at: u64,
}

impl Position {
    /// The turn of the slot `ahead` places from here when it is free. Wraps after 2^31 rounds, for both ends alike.
    fn free_turn(&self, ahead: u32) -> u32 {
        let round = (self.at + u64::from(ahead)) >> self.slots.count().trailing_zeros();
        (round as u32).wrapping_mul(2)
    }

    fn index(&self, ahead: u32) -> u32 {
        (self.at + u64::from(ahead)) as u32 & (self.slots.count() - 1)
    }
}

/// The end of a ring that messages go into.
#[derive(Debug)]
pub struct Producer<M> {
    position: Position,
    /// How many slots from here on are known to be free.
    credit: u32,
    message: std::marker::PhantomData<fn(M)>,
}

/// There is no free slot: the consumer has not read what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ring is full")]
pub struct Full;

impl<M: Message> Producer<M> {
    pub(crate) fn new(slots: Slots) -> Self {
        Self {
            position: Position { slots, at: 0 },
            credit: 0,
            message: std::marker::PhantomData,
        }
    }

    /// Puts a message into the next slot, where the consumer finds it if it is awake. The bell is not rung: that is
    /// once for all messages that are sent together.
    ///
    /// A slot that the peer has broken counts as never free: who lies about having read gets no more.
    pub fn push(&mut self, message: M) -> Result<(), Full> {
        if self.credit == 0 {
            self.credit = self.look()?;
        }
        let turn = self.position.free_turn(0).wrapping_add(1);
        self.position
            .slots
            .get(self.position.index(0))
            .fill(message.encode(), turn);
        self.position.at += 1;
        self.credit -= 1;
        Ok(())
    }

    /// How many slots are free, as far as one look tells. A consumer frees slots in order, so that if the farthest of
    /// a quarter of the ring is free, all before it are. Reading a turn draws the line over from the consumer's core
    /// once more: so it is done for many at once.
    fn look(&self) -> Result<u32, Full> {
        let many = (self.capacity() / 4).max(1);
        for ahead in [many, 1] {
            let turn = self.position.slots.get(self.position.index(ahead - 1)).turn();
            if turn == self.position.free_turn(ahead - 1) {
                return Ok(ahead);
            }
        }
        Err(Full)
    }

    /// Slots of the ring.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.position.slots.count()
    }
}

/// The end of a ring that messages come out of.
#[derive(Debug)]
pub struct Consumer<M> {
    position: Position,
    message: std::marker::PhantomData<fn() -> M>,
}

impl<M: Message> Consumer<M> {
    pub(crate) fn new(slots: Slots) -> Self {
        Self {
            position: Position { slots, at: 0 },
            message: std::marker::PhantomData,
        }
    }

    /// Takes the next message, if there is one: copies it out, gives the slot back, and only then looks at it.
    ///
    /// After a [`Fault`] the connection must end; the position stays where it is.
    pub fn pop(&mut self) -> Result<Option<M>, Fault> {
        let slot = self.position.slots.get(self.position.index(0));
        let (free, found) = (self.position.free_turn(0), slot.turn());
        if found == free {
            return Ok(None);
        }
        let full = free.wrapping_add(1);
        if found != full {
            return Err(Fault::Turn {
                ring: M::RING,
                slot: self.position.index(0),
                expected: full,
                found,
            });
        }
        let words = slot.words();
        slot.free(full.wrapping_add(1));
        self.position.at += 1;
        // On its way while this message is dealt with, where several are in flight.
        self.position.slots.prefetch(self.position.index(0));
        M::decode(words).map(Some)
    }

    /// Whether there is nothing to take. A broken slot is something: [`pop`](Self::pop) tells.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.position.slots.get(self.position.index(0)).turn() == self.position.free_turn(0)
    }

    /// Slots of the ring.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.position.slots.count()
    }
}
