//! The jobs that have not ended: a slot for each, found by id.

use alloc::vec;
use alloc::vec::Vec;

use crate::job::{Job, JobId, Thread};
use crate::queue::Key;

/// No slot.
pub(crate) const NONE: u32 = u32::MAX;

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// In the queue of its class on this thread.
    Queued(Thread),
    /// Between two of its parts, ahead of the queue of its class on this thread.
    Resting(Thread),
    /// In this run, running or set aside, on this thread.
    Running(Thread, u8),
}

/// What admission expected of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Nothing,
    Meet,
    Miss,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// As it arrived, but for what degrading changed.
    pub job: Job,
    pub stage: Stage,
    pub key: Key,
    pub arrival_ns: u64,
    /// The deadline it arrived with, kept when degrading took it away.
    pub asked_deadline_ns: Option<u64>,
    pub expected: Expected,
    pub cancelled: bool,
    pub rows_done: u32,
    /// Expected time of all its rows, less what it saves by running with others.
    pub mean_ns: u64,
    /// Bound of its time if it runs alone.
    pub bound_ns: u64,
    /// What the REALTIME bound was charged for it.
    pub charged_ns: u64,
    /// Neighbours among the queued jobs of its model.
    pub older: u32,
    pub younger: u32,
}

impl Entry {
    pub fn rows_left(&self) -> u32 {
        self.job.rows - self.rows_done
    }

    /// The part of `whole_ns` that falls to the rows not yet done.
    pub fn left_of_ns(&self, whole_ns: u64) -> u64 {
        if self.rows_done == 0 {
            return whole_ns;
        }
        (u128::from(whole_ns) * u128::from(self.rows_left()) / u128::from(self.job.rows)) as u64
    }
}

/// A cell of the table from ids to slots; `slot` is [`NONE`] where it is free. The hash tells almost all other ids apart, and
/// is half as long: the table of a full shard stays in the second-level cache.
#[derive(Clone, Copy, Debug)]
struct Cell {
    hash: u32,
    slot: u32,
}

/// Linear probing with deletion by shifting back: no tombstones, so it does not age.
#[derive(Debug)]
pub(crate) struct Slots {
    entries: Vec<Entry>,
    free: Vec<u32>,
    cells: Vec<Cell>,
}

impl Slots {
    pub fn new(jobs_max: usize) -> Self {
        // At most two thirds full.
        let cells = (jobs_max + jobs_max / 2 + 1).next_power_of_two();
        Self {
            entries: Vec::with_capacity(jobs_max),
            free: Vec::with_capacity(jobs_max),
            cells: vec![Cell { hash: 0, slot: NONE }; cells],
        }
    }

    /// Jobs that have not ended.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub fn find(&self, id: JobId) -> Option<u32> {
        let hash = hash_of(id);
        let mut at = self.home(hash);
        loop {
            let cell = self.cells[at];
            if cell.slot == NONE {
                return None;
            }
            if cell.hash == hash && self.get(cell.slot).job.id == id {
                return Some(cell.slot);
            }
            at = self.after(at);
        }
    }

    /// Keeps an entry whose id is not there yet.
    pub fn insert(&mut self, entry: Entry) -> u32 {
        let hash = hash_of(entry.job.id);
        let mut at = self.home(hash);
        while self.cells[at].slot != NONE {
            at = self.after(at);
        }
        let slot = match self.free.pop() {
            Some(slot) => {
                self.entries[slot as usize] = entry;
                slot
            }
            None => {
                debug_assert!(
                    self.entries.len() < self.entries.capacity(),
                    "jobs never outgrow their bound"
                );
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
        };
        self.cells[at] = Cell { hash, slot };
        slot
    }

    /// Forgets a job. What is known of it can still be read until the next `insert`.
    pub fn remove(&mut self, slot: u32) -> &Entry {
        let mut hole = self.home(hash_of(self.get(slot).job.id));
        while self.cells[hole].slot != slot {
            hole = self.after(hole);
        }
        let mut at = self.after(hole);
        while self.cells[at].slot != NONE {
            // A cell may fill the hole if the hole is not before its home, counted around the table.
            let mask = self.cells.len() - 1;
            let from_home = at.wrapping_sub(self.home(self.cells[at].hash)) & mask;
            let from_hole = at.wrapping_sub(hole) & mask;
            if from_home >= from_hole {
                self.cells[hole] = self.cells[at];
                hole = at;
            }
            at = self.after(at);
        }
        self.cells[hole].slot = NONE;
        self.free.push(slot);
        self.get(slot)
    }

    pub fn get(&self, slot: u32) -> &Entry {
        &self.entries[slot as usize]
    }

    pub fn get_mut(&mut self, slot: u32) -> &mut Entry {
        &mut self.entries[slot as usize]
    }

    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.cells.len() as u64) >> u32::BITS) as usize
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.cells.len() - 1)
    }
}

/// Fibonacci hashing: the high half of the product depends on all bits of the id.
fn hash_of(id: JobId) -> u32 {
    (id.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> u32::BITS) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OnMiss;
    use crate::job::{Class, ModelIndex};
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    fn entry(id: u64) -> Entry {
        let job = Job {
            id: JobId(id),
            model: ModelIndex(0),
            class: Class::Normal,
            deadline_ns: None,
            on_miss: OnMiss::Reject,
            rows: 1,
            shape_key: 0,
        };
        Entry {
            job,
            stage: Stage::Queued(Thread::FRONT),
            key: Key::default(),
            arrival_ns: 0,
            asked_deadline_ns: None,
            expected: Expected::Nothing,
            cancelled: false,
            rows_done: 0,
            mean_ns: 0,
            bound_ns: 0,
            charged_ns: 0,
            older: NONE,
            younger: NONE,
        }
    }

    proptest! {
        #[test]
        fn finds_what_it_holds(ids in proptest::collection::vec(0u64..40, 1..400)) {
            let mut slots = Slots::new(24);
            let mut model: BTreeMap<u64, u32> = BTreeMap::new();
            for id in ids {
                // Spread ids so that some collide at the end of the table and wrap around.
                let id = id * 0x0101_0101_0101;
                if let Some(slot) = model.remove(&id) {
                    prop_assert_eq!(slots.remove(slot).job.id.0, id);
                } else if model.len() < 24 {
                    model.insert(id, slots.insert(entry(id)));
                }
                prop_assert_eq!(slots.len(), model.len());
                for wanted in 0..40 {
                    let wanted = wanted * 0x0101_0101_0101;
                    prop_assert_eq!(slots.find(JobId(wanted)), model.get(&wanted).copied());
                }
            }
        }
    }

    #[test]
    fn what_is_left_is_in_proportion() {
        let mut half = entry(1);
        half.job.rows = 4;
        half.rows_done = 1;
        assert_eq!(half.rows_left(), 3);
        assert_eq!(half.left_of_ns(100), 75);
    }
}
