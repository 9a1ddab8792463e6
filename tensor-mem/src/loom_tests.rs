//! Every interleaving of the parts that threads share: `RUSTFLAGS="--cfg loom" cargo test -p mlos-tensor-mem --lib`.
//!
//! A block's memory is modelled by a loom cell, which reports any access that is not ordered with the others. So that
//! a test passes means: orderings and counts are such that no two owners ever meet in a block.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use crate::block_meta::BlockMeta;
use crate::free_stack::{FreeStack, Links, NIL};
use crate::sync::{AtomicU32, Ordering};

/// A pool reduced to what is concurrent in it.
struct Blocks {
    metas: Vec<BlockMeta>,
    memory: Vec<UnsafeCell<usize>>,
    free: FreeStack,
}

impl Links for Blocks {
    fn link(&self, index: u32) -> &AtomicU32 {
        self.metas[index as usize].link()
    }
}

impl Blocks {
    fn new(count: u32) -> Arc<Self> {
        let blocks = Self {
            metas: (0..count).map(|_| BlockMeta::new()).collect(),
            memory: (0..count).map(|_| UnsafeCell::new(0)).collect(),
            free: FreeStack::new(),
        };
        (0..count)
            .rev()
            .for_each(|index| blocks.free.push(&blocks, index));
        Arc::new(blocks)
    }

    fn loan(&self) -> Option<u32> {
        let index = self.free.pop(self)?;
        self.metas[index as usize].first_share();
        Some(index)
    }

    fn write(&self, index: u32, value: usize) {
        // SAFETY: the caller claims to be the only owner; loom panics if it is not.
        self.memory[index as usize].with_mut(|cell| unsafe { *cell = value });
    }

    fn read(&self, index: u32) -> usize {
        // SAFETY: the caller claims to share the block with readers only; loom panics if not.
        self.memory[index as usize].with(|cell| unsafe { *cell })
    }

    fn drop_share(&self, index: u32) {
        if self.metas[index as usize].unshare() {
            self.free.push(self, index);
        }
    }

    /// How many blocks are free, each counted once.
    fn drain(&self) -> u32 {
        let mut seen = vec![false; self.metas.len()];
        while let Some(index) = self.free.pop(self) {
            assert!(
                !std::mem::replace(&mut seen[index as usize], true),
                "block {index} is on the stack twice"
            );
            assert_eq!(self.metas[index as usize].shares(), 0);
        }
        seen.into_iter().map(u32::from).sum()
    }
}

#[test]
fn two_threads_never_own_one_block() {
    // Bounded, as the full space takes minutes: more than three forced switches are not explored here. The other
    // tests are small enough to be explored whole.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let blocks = Blocks::new(2);
        let churn = |blocks: Arc<Blocks>, value| {
            move || {
                for _ in 0..2 {
                    if let Some(index) = blocks.loan() {
                        blocks.write(index, value);
                        assert_eq!(blocks.read(index), value);
                        blocks.drop_share(index);
                    }
                }
            }
        };
        let other = thread::spawn(churn(Arc::clone(&blocks), 1));
        churn(Arc::clone(&blocks), 2)();
        other.join().unwrap();
        assert_eq!(blocks.drain(), 2);
    });
}

/// The classic ABA: while one thread is in the middle of a pop, another takes two blocks and returns the first.
#[test]
fn a_block_that_comes_back_does_not_revive_its_old_link() {
    loom::model(|| {
        let blocks = Blocks::new(3);
        let slow = {
            let blocks = Arc::clone(&blocks);
            thread::spawn(move || blocks.loan())
        };
        let (first, second) = (blocks.loan(), blocks.loan());
        let held = second.or(first);
        if let (Some(first), Some(_)) = (first, second) {
            blocks.drop_share(first);
        }
        let slow = slow.join().unwrap();
        assert!(slow.is_none() || slow != held, "block {held:?} has two owners");
        let out = u32::from(slow.is_some()) + u32::from(held.is_some());
        assert_eq!(blocks.drain(), 3 - out);
    });
}

#[test]
fn what_a_writer_wrote_is_over_before_the_next_owner_writes() {
    loom::model(|| {
        let blocks = Blocks::new(1);
        let index = blocks.loan().unwrap();
        blocks.write(index, 7);
        let lane = {
            let blocks = Arc::clone(&blocks);
            thread::spawn(move || {
                assert_eq!(blocks.read(index), 7);
                blocks.drop_share(index);
            })
        };
        // The front finds the block as soon as the lane has dropped it, or not at all.
        if let Some(index) = blocks.loan() {
            blocks.write(index, 8);
            blocks.drop_share(index);
        }
        lane.join().unwrap();
        assert_eq!(blocks.drain(), 1);
    });
}

#[test]
fn the_last_of_three_readers_returns_the_block_once() {
    loom::model(|| {
        let blocks = Blocks::new(1);
        let index = blocks.loan().unwrap();
        blocks.write(index, 7);
        let reader = |blocks: Arc<Blocks>| {
            blocks.metas[index as usize].share();
            move || {
                assert_eq!(blocks.read(index), 7);
                blocks.drop_share(index);
            }
        };
        let one = thread::spawn(reader(Arc::clone(&blocks)));
        let two = thread::spawn(reader(Arc::clone(&blocks)));
        blocks.drop_share(index);
        if let Some(index) = blocks.loan() {
            blocks.write(index, 8);
            blocks.drop_share(index);
        }
        one.join().unwrap();
        two.join().unwrap();
        assert_eq!(blocks.drain(), 1);
    });
}

/// `Tensor::into_mut`: who finds itself alone may write.
#[test]
fn a_unique_share_may_write() {
    loom::model(|| {
        let blocks = Blocks::new(1);
        let index = blocks.loan().unwrap();
        blocks.write(index, 7);
        blocks.metas[index as usize].share();
        let reader = {
            let blocks = Arc::clone(&blocks);
            thread::spawn(move || {
                assert_eq!(blocks.read(index), 7);
                blocks.drop_share(index);
            })
        };
        if blocks.metas[index as usize].is_unique() {
            blocks.write(index, 8);
        }
        blocks.drop_share(index);
        reader.join().unwrap();
        assert_eq!(blocks.drain(), 1);
    });
}

/// `Growth::punch_chunks`: the stack is emptied and refilled while others use it.
#[test]
fn reclaiming_loses_and_doubles_nothing() {
    loom::model(|| {
        let blocks = Blocks::new(3);
        let user = {
            let blocks = Arc::clone(&blocks);
            thread::spawn(move || {
                if let Some(index) = blocks.loan() {
                    blocks.write(index, 1);
                    blocks.drop_share(index);
                }
            })
        };
        let first = blocks.free.take_all();
        let mut last = NIL;
        let mut next = first;
        while next != NIL {
            blocks.write(next, 0);
            last = next;
            next = blocks.link(next).load(Ordering::Relaxed);
        }
        if first != NIL {
            blocks.free.push_chain(&*blocks, first, last);
        }
        user.join().unwrap();
        assert_eq!(blocks.drain(), 3);
    });
}
