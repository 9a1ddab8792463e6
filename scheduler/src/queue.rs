//! The queue of one class on one thread: earliest deadline first, with the sum of the work ahead of any deadline.
//!
//! Admission asks for that sum at each arrival. A binary heap cannot give it and a balanced tree is slow at the sizes that occur, so
//! this is a sorted list cut into blocks: a directory of blocks with their last key and their sum, searched by bisection.
//! At 1,000 jobs an insertion touches one block of 32 items and a directory of some 40 entries.

use alloc::vec::Vec;

use crate::job::ModelIndex;

/// Items of a block.
const BLOCK_ITEMS: usize = 32;
/// Neighbours that together have no more than this are merged, which bounds the number of blocks.
const MERGE_ITEMS: usize = BLOCK_ITEMS / 2;

/// The order within a class: by deadline, ties by arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub deadline_ns: u64,
    pub seq: u64,
}

/// A queued job: where it is kept, and how long it is expected to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Item {
    pub key: Key,
    pub work_ns: u64,
    pub slot: u32,
    pub model: ModelIndex,
}

type Block = [Item; BLOCK_ITEMS];

/// A block in its place. Its items begin anywhere, so that taking the first of them moves none.
#[derive(Clone, Copy, Debug)]
struct Place {
    last: Key,
    block: u32,
    start: u16,
    len: u16,
}

impl Place {
    fn start(&self) -> usize {
        self.start as usize
    }

    fn len(&self) -> usize {
        self.len as usize
    }
}

#[derive(Debug)]
pub(crate) struct EdfQueue {
    places: Vec<Place>,
    /// The work of each place, apart so that sums run over dense memory.
    works_ns: Vec<u64>,
    blocks: Vec<Block>,
    free: Vec<u32>,
    len: usize,
    work_ns: u64,
}

impl EdfQueue {
    /// Room for `items_max` items, whatever the order in which they come and go.
    pub fn new(items_max: usize) -> Self {
        // Two neighbours always have more than MERGE_ITEMS together.
        let blocks_max = 2 * items_max.div_ceil(MERGE_ITEMS) + 2;
        Self {
            places: Vec::with_capacity(blocks_max),
            works_ns: Vec::with_capacity(blocks_max),
            blocks: Vec::with_capacity(blocks_max),
            free: Vec::with_capacity(blocks_max),
            len: 0,
            work_ns: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sum of the work of all items.
    pub fn work_ns(&self) -> u64 {
        self.work_ns
    }

    /// The item that is due first.
    pub fn first(&self) -> Option<&Item> {
        self.places
            .first()
            .map(|place| &self.blocks[place.block as usize][place.start()])
    }

    /// Sum of the work of the items due at this time or before: what goes ahead of a job that arrives now with this deadline.
    pub fn work_until_ns(&self, deadline_ns: u64) -> u64 {
        let at = self
            .places
            .partition_point(|place| place.last.deadline_ns <= deadline_ns);
        let Some(place) = self.places.get(at) else {
            return self.work_ns;
        };
        let whole: u64 = self.works_ns[..at].iter().sum();
        let due = |item: &Item| {
            if item.key.deadline_ns <= deadline_ns {
                item.work_ns
            } else {
                0
            }
        };
        whole + self.items(place).iter().map(due).sum::<u64>()
    }

    pub fn insert(&mut self, item: Item) {
        let mut at = self.place_of(item.key);
        if at == self.places.len() {
            let full = self.places.last().is_none_or(|place| place.len() == BLOCK_ITEMS);
            if full {
                self.open_block(at);
            } else {
                at -= 1;
            }
        } else if self.places[at].len() == BLOCK_ITEMS {
            self.split(at);
            if self.places[at].last < item.key {
                at += 1;
            }
        }
        self.insert_in(at, item);
    }

    /// Takes the item with this key out.
    pub fn remove(&mut self, key: Key) -> Option<Item> {
        if self.first().is_some_and(|item| item.key == key) {
            return Some(self.remove_at(0, 0));
        }
        let at = self.place_of(key);
        let place = self.places.get(at)?;
        let index = self
            .items(place)
            .binary_search_by_key(&key, |item| item.key)
            .ok()?;
        Some(self.remove_at(at, index))
    }

    /// The items in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Item> {
        self.places.iter().flat_map(|place| self.items(place))
    }

    fn items(&self, place: &Place) -> &[Item] {
        &self.blocks[place.block as usize][place.start()..place.start() + place.len()]
    }

    /// The first place whose last key is not before this one.
    fn place_of(&self, key: Key) -> usize {
        self.places.partition_point(|place| place.last < key)
    }

    fn open_block(&mut self, at: usize) {
        let block = self.free.pop().unwrap_or_else(|| {
            debug_assert!(
                self.blocks.len() < self.blocks.capacity(),
                "blocks never outgrow their bound"
            );
            self.blocks.push([Item::default(); BLOCK_ITEMS]);
            self.blocks.len() as u32 - 1
        });
        self.places.insert(
            at,
            Place {
                last: Key::default(),
                block,
                start: 0,
                len: 0,
            },
        );
        self.works_ns.insert(at, 0);
    }

    /// Moves the upper half of a full block into a new one behind it.
    fn split(&mut self, at: usize) {
        const HALF: usize = BLOCK_ITEMS / 2;
        self.open_block(at + 1);
        let lower = self.places[at];
        debug_assert_eq!(lower.start, 0, "a full block begins at its start");
        let upper = self.places[at + 1].block as usize;
        let mut work_ns = 0;
        for index in HALF..BLOCK_ITEMS {
            let item = self.blocks[lower.block as usize][index];
            self.blocks[upper][index - HALF] = item;
            work_ns += item.work_ns;
        }
        self.places[at + 1].len = (BLOCK_ITEMS - HALF) as u16;
        self.places[at + 1].last = lower.last;
        self.works_ns[at + 1] = work_ns;
        self.works_ns[at] -= work_ns;
        self.places[at].len = HALF as u16;
        self.places[at].last = self.blocks[lower.block as usize][HALF - 1].key;
    }

    fn insert_in(&mut self, at: usize, item: Item) {
        let place = &mut self.places[at];
        let items = &mut self.blocks[place.block as usize];
        let (start, end) = (place.start(), place.start() + place.len());
        let index = start + items[start..end].partition_point(|other| other.key < item.key);
        // The gap is made on the side that has room, and on the shorter one if both have.
        let to_left = start > 0 && (end == BLOCK_ITEMS || index - start < end - index);
        let index = if to_left {
            items.copy_within(start..index, start - 1);
            place.start -= 1;
            index - 1
        } else {
            items.copy_within(index..end, index + 1);
            index
        };
        items[index] = item;
        place.len += 1;
        place.last = place.last.max(item.key);
        self.works_ns[at] += item.work_ns;
        self.len += 1;
        self.work_ns += item.work_ns;
    }

    fn remove_at(&mut self, at: usize, index: usize) -> Item {
        let place = &mut self.places[at];
        let items = &mut self.blocks[place.block as usize];
        let (start, end) = (place.start(), place.start() + place.len());
        let index = start + index;
        let item = items[index];
        if index - start < end - index {
            items.copy_within(start..index, start + 1);
            place.start += 1;
        } else {
            items.copy_within(index + 1..end, index);
        }
        place.len -= 1;
        self.works_ns[at] -= item.work_ns;
        self.len -= 1;
        self.work_ns -= item.work_ns;
        if place.len == 0 {
            self.close_block(at);
        } else {
            place.last = items[place.start() + place.len() - 1].key;
        }
        self.merge_around(at);
        item
    }

    fn close_block(&mut self, at: usize) {
        self.works_ns.remove(at);
        let place = self.places.remove(at);
        self.free.push(place.block);
    }

    fn merge_around(&mut self, at: usize) {
        for left in [at, at.wrapping_sub(1)] {
            let right = left.wrapping_add(1);
            if left < self.places.len() && right < self.places.len() {
                let sum = self.places[left].len() + self.places[right].len();
                if sum <= MERGE_ITEMS {
                    self.merge(left, right);
                }
            }
        }
    }

    fn merge(&mut self, left: usize, right: usize) {
        let (to, from) = (self.places[left], self.places[right]);
        let items = &mut self.blocks[to.block as usize];
        items.copy_within(to.start()..to.start() + to.len(), 0);
        for index in 0..from.len() {
            let item = self.blocks[from.block as usize][from.start() + index];
            self.blocks[to.block as usize][to.len() + index] = item;
        }
        self.places[left].start = 0;
        self.places[left].len += from.len;
        self.places[left].last = from.last;
        self.works_ns[left] += self.works_ns[right];
        self.close_block(right);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    fn item(deadline_ns: u64, seq: u64, work_ns: u64) -> Item {
        Item {
            key: Key { deadline_ns, seq },
            work_ns,
            slot: seq as u32,
            model: ModelIndex(0),
        }
    }

    #[test]
    fn is_empty_at_first() {
        let queue = EdfQueue::new(4);
        assert!(queue.is_empty());
        assert_eq!(queue.first(), None);
        assert_eq!(queue.work_until_ns(9), 0);
    }

    #[test]
    fn equal_deadlines_keep_arrival_order() {
        let mut queue = EdfQueue::new(100);
        for seq in 0..100 {
            queue.insert(item(7, seq, 1));
        }
        let order: Vec<u64> = queue.iter().map(|item| item.key.seq).collect();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
        assert_eq!((queue.work_until_ns(6), queue.work_until_ns(7)), (0, 100));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64, u64),
        First,
        Remove(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0u64..50, 0u64..1_000).prop_map(|(deadline, work)| Step::Insert(deadline, work)),
            1 => Just(Step::First),
            2 => (0usize..1_000).prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(steps in proptest::collection::vec(step(), 1..600)) {
            const ITEMS_MAX: usize = 200;
            let mut queue = EdfQueue::new(ITEMS_MAX);
            let capacity = queue.blocks.capacity();
            let mut model: BTreeMap<(u64, u64), u64> = BTreeMap::new();
            for (seq, step) in steps.into_iter().enumerate() {
                let chosen = match step {
                    Step::Insert(deadline, work) => {
                        if model.len() < ITEMS_MAX {
                            queue.insert(item(deadline, seq as u64, work));
                            model.insert((deadline, seq as u64), work);
                        }
                        None
                    }
                    Step::First => model.keys().next().copied(),
                    Step::Remove(n) => model.keys().nth(n % model.len().max(1)).copied(),
                };
                if let Some((deadline_ns, seq)) = chosen {
                    let key = Key { deadline_ns, seq };
                    let until: u64 = model.range(..=(deadline_ns, u64::MAX)).map(|(_, work)| work).sum();
                    prop_assert_eq!(queue.work_until_ns(deadline_ns), until);
                    let work = model.remove(&(deadline_ns, seq));
                    prop_assert_eq!(queue.remove(key).map(|item| item.work_ns), work);
                    prop_assert_eq!(queue.remove(key), None);
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(queue.work_ns(), model.values().sum::<u64>());
                prop_assert_eq!(
                    queue.first().map(|item| (item.key.deadline_ns, item.key.seq)),
                    model.keys().next().copied()
                );
            }
            let keys: Vec<_> = queue.iter().map(|item| (item.key.deadline_ns, item.key.seq)).collect();
            prop_assert_eq!(keys, model.keys().copied().collect::<Vec<_>>());
            prop_assert_eq!(queue.blocks.capacity(), capacity, "the queue never allocates");
        }
    }
}
