//! The queue of one class on one thread: earliest deadline first, with the sum of the work ahead of any deadline.
//!
//! Admission asks for that sum at each arrival. A binary heap cannot give it and a balanced tree is slow at the sizes that occur, so
//! this is a sorted list cut into blocks: a directory of blocks with their last key and their sum, searched by bisection.
//! At 1,000 jobs an insertion touches one block of 32 items and a directory of some 40 entries.

use alloc::vec::Vec;

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
}

#[derive(Debug)]
struct Block {
    items: [Item; BLOCK_ITEMS],
}

/// A block in its place.
#[derive(Clone, Copy, Debug)]
struct Place {
    last: Key,
    work_ns: u64,
    block: u32,
    len: u32,
}

#[derive(Debug)]
pub(crate) struct EdfQueue {
    places: Vec<Place>,
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
    pub fn first(&self) -> Option<Item> {
        self.places
            .first()
            .map(|place| self.blocks[place.block as usize].items[0])
    }

    /// Sum of the work of the items due before this key.
    pub fn work_before_ns(&self, key: Key) -> u64 {
        let at = self.place_of(key);
        let Some(place) = self.places.get(at) else {
            return self.work_ns;
        };
        let whole: u64 = self.places[..at].iter().map(|place| place.work_ns).sum();
        let items = self.items(place);
        let upto = items.partition_point(|item| item.key < key);
        whole + items[..upto].iter().map(|item| item.work_ns).sum::<u64>()
    }

    pub fn insert(&mut self, item: Item) {
        let mut at = self.place_of(item.key);
        if at == self.places.len() {
            let full = self
                .places
                .last()
                .is_none_or(|place| place.len as usize == BLOCK_ITEMS);
            if full {
                self.open_block(at);
            } else {
                at -= 1;
            }
        } else if self.places[at].len as usize == BLOCK_ITEMS {
            self.split(at);
            if self.places[at].last < item.key {
                at += 1;
            }
        }
        self.insert_in(at, item);
    }

    /// Takes the item with this key out.
    pub fn remove(&mut self, key: Key) -> Option<Item> {
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
        &self.blocks[place.block as usize].items[..place.len as usize]
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
            self.blocks.push(Block {
                items: [Item::default(); BLOCK_ITEMS],
            });
            self.blocks.len() as u32 - 1
        });
        self.places.insert(
            at,
            Place {
                last: Key::default(),
                work_ns: 0,
                block,
                len: 0,
            },
        );
    }

    fn split(&mut self, at: usize) {
        self.open_block(at + 1);
        let half = BLOCK_ITEMS / 2;
        for index in half..BLOCK_ITEMS {
            let item = self.blocks[self.places[at].block as usize].items[index];
            let to = self.places[at + 1].block as usize;
            self.blocks[to].items[index - half] = item;
            self.places[at + 1].work_ns += item.work_ns;
        }
        self.places[at + 1].len = (BLOCK_ITEMS - half) as u32;
        self.places[at + 1].last = self.places[at].last;
        self.places[at].work_ns -= self.places[at + 1].work_ns;
        self.places[at].len = half as u32;
        self.places[at].last = self.blocks[self.places[at].block as usize].items[half - 1].key;
    }

    fn insert_in(&mut self, at: usize, item: Item) {
        let place = &mut self.places[at];
        let len = place.len as usize;
        let items = &mut self.blocks[place.block as usize].items;
        let index = items[..len].partition_point(|other| other.key < item.key);
        items.copy_within(index..len, index + 1);
        items[index] = item;
        place.len += 1;
        place.work_ns += item.work_ns;
        place.last = items[len].key;
        self.len += 1;
        self.work_ns += item.work_ns;
    }

    fn remove_at(&mut self, at: usize, index: usize) -> Item {
        let place = &mut self.places[at];
        let len = place.len as usize;
        let items = &mut self.blocks[place.block as usize].items;
        let item = items[index];
        items.copy_within(index + 1..len, index);
        place.len -= 1;
        place.work_ns -= item.work_ns;
        self.len -= 1;
        self.work_ns -= item.work_ns;
        if len == 1 {
            self.close_block(at);
        } else {
            place.last = items[len - 2].key;
        }
        self.merge_around(at);
        item
    }

    fn close_block(&mut self, at: usize) {
        let place = self.places.remove(at);
        self.free.push(place.block);
    }

    fn merge_around(&mut self, at: usize) {
        for left in [at, at.wrapping_sub(1)] {
            let right = left.wrapping_add(1);
            if left < self.places.len() && right < self.places.len() {
                let sum = self.places[left].len + self.places[right].len;
                if sum as usize <= MERGE_ITEMS {
                    self.merge(left, right);
                }
            }
        }
    }

    fn merge(&mut self, left: usize, right: usize) {
        let from = self.places[right];
        let len = self.places[left].len as usize;
        let to = self.places[left].block as usize;
        for index in 0..from.len as usize {
            self.blocks[to].items[len + index] = self.blocks[from.block as usize].items[index];
        }
        self.places[left].len += from.len;
        self.places[left].work_ns += from.work_ns;
        self.places[left].last = from.last;
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
        }
    }

    #[test]
    fn is_empty_at_first() {
        let queue = EdfQueue::new(4);
        assert!(queue.is_empty());
        assert_eq!(queue.first(), None);
        assert_eq!(
            queue.work_before_ns(Key {
                deadline_ns: 9,
                seq: 9
            }),
            0
        );
    }

    #[test]
    fn equal_deadlines_keep_arrival_order() {
        let mut queue = EdfQueue::new(100);
        for seq in 0..100 {
            queue.insert(item(7, seq, 1));
        }
        let order: Vec<u64> = queue.iter().map(|item| item.key.seq).collect();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
        assert_eq!(
            queue.work_before_ns(Key {
                deadline_ns: 7,
                seq: 60
            }),
            60
        );
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
                    let before: u64 = model.range(..(deadline_ns, seq)).map(|(_, work)| work).sum();
                    prop_assert_eq!(queue.work_before_ns(key), before);
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
