//! Where the slots of a ring are: in the mapped rings, or, under loom, in memory that it watches.

use crate::slot::Slot;

#[cfg(not(loom))]
pub(crate) use mapped::Slots;
#[cfg(loom)]
pub(crate) use modelled::Slots;

#[cfg(not(loom))]
mod mapped {
    use std::sync::Arc;

    use super::Slot;
    use crate::layout::LINE_BYTES;
    use crate::rings::Mapping;

    /// One ring's part of the mapping, which it keeps mapped.
    #[derive(Debug)]
    pub(crate) struct Slots {
        mapping: Arc<Mapping>,
        offset: usize,
        count: u32,
    }

    impl Slots {
        /// `offset` is that of the first slot.
        pub(crate) fn new(mapping: Arc<Mapping>, offset: usize) -> Self {
            let count = mapping.slots();
            assert!(count.is_power_of_two());
            assert!(offset.is_multiple_of(LINE_BYTES));
            assert!(offset + count as usize * LINE_BYTES <= mapping.segment().len());
            Self {
                mapping,
                offset,
                count,
            }
        }

        pub(crate) fn count(&self) -> u32 {
            self.count
        }

        #[inline]
        pub(crate) fn get(&self, index: u32) -> &Slot {
            debug_assert!(index < self.count);
            // The mask costs nothing and keeps the access inside whatever the caller computed.
            let offset = self.offset + (index & (self.count - 1)) as usize * LINE_BYTES;
            let slot = self.mapping.segment().at(offset).cast::<Slot>();
            // SAFETY: inside of the mapping, as asserted in `new`, which lives as long as `self`; aligned to a line, as
            // offset and mapping are; a slot is atomics, for which any bytes are valid and any access by another
            // process is one more thread's.
            unsafe { slot.as_ref() }
        }

        /// Has the processor fetch a slot that is going to be looked at.
        #[cfg(target_arch = "x86_64")]
        pub(crate) fn prefetch(&self, index: u32) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let slot: *const Slot = self.get(index);
            // SAFETY: a hint, which accesses nothing.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(slot.cast()) };
        }

        /// Has the processor fetch a slot that is going to be looked at: it does so by itself, or not.
        #[cfg(not(target_arch = "x86_64"))]
        pub(crate) fn prefetch(&self, _: u32) {}
    }
}

#[cfg(loom)]
mod modelled {
    use loom::sync::Arc;

    use super::Slot;

    #[derive(Clone, Debug)]
    pub(crate) struct Slots {
        slots: Arc<Vec<Slot>>,
    }

    impl Slots {
        pub(crate) fn new(count: u32) -> Self {
            Self {
                slots: Arc::new((0..count).map(|_| Slot::new()).collect()),
            }
        }

        pub(crate) fn prefetch(&self, _: u32) {}

        pub(crate) fn count(&self) -> u32 {
            self.slots.len() as u32
        }

        pub(crate) fn get(&self, index: u32) -> &Slot {
            &self.slots[index as usize]
        }
    }
}
