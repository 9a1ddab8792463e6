//! The cache against a slow and obvious model of it.
#![cfg(not(loom))]
#![expect(
    clippy::unwrap_used,
    reason = "a test's own helpers, where a panic is the message"
)]

use mlos_tensor_mem::{DType, Error, Pool, PoolConfig, Shape, Tensor, TensorLru};
use proptest::prelude::*;

const KIB: usize = 1 << 10;

fn pool(limit_bytes: usize) -> Pool {
    Pool::new(PoolConfig {
        limit_bytes,
        huge_pages: false,
        ..PoolConfig::default()
    })
    .unwrap()
}

fn tensor(pool: &Pool, len: usize) -> Tensor {
    pool.loan(DType::U8, Shape::new(&[len]).unwrap())
        .unwrap()
        .zeroed()
        .freeze()
}

#[test]
fn the_least_recently_used_goes_first() {
    let pool = pool(1 << 20);
    let mut cache = TensorLru::new(pool.clone(), 3 * KIB);
    for key in 1..=3 {
        cache.insert(key, tensor(&pool, KIB)).unwrap();
    }
    assert!(cache.get(1).is_some(), "now 2 is the oldest");
    cache.insert(4, tensor(&pool, KIB)).unwrap();
    assert_eq!(
        [1, 2, 3, 4].map(|key| cache.contains(key)),
        [true, false, true, true]
    );
    assert!(cache.get(2).is_none());
    let stats = cache.stats();
    assert_eq!((stats.entries, stats.bytes, stats.evictions), (3, 3 * KIB, 1));
    assert_eq!((stats.hits, stats.misses, stats.insertions), (1, 1, 4));
    drop(cache);
    assert_eq!(pool.stats().in_use_bytes, 0);
}

#[test]
fn pins_nest_and_protect() {
    let pool = pool(1 << 20);
    let mut cache = TensorLru::new(pool.clone(), 2 * KIB);
    cache.insert(1, tensor(&pool, KIB)).unwrap();
    cache.insert(2, tensor(&pool, KIB)).unwrap();
    assert!(cache.pin(1) && cache.pin(1) && cache.pin(2));
    assert!(!cache.pin(9) && !cache.unpin(9));
    assert!(!cache.evict(), "all are pinned");
    assert!(matches!(
        cache.insert(3, tensor(&pool, 1)),
        Err(Error::CacheFull {
            asked: 64,
            pinned: 2048,
            ..
        })
    ));
    assert!(matches!(
        cache.insert(1, tensor(&pool, 1)),
        Err(Error::Pinned { key: 1 })
    ));
    assert!(cache.unpin(1));
    assert!(!cache.evict(), "pinned twice, unpinned once");
    assert!(cache.unpin(1));
    assert!(!cache.unpin(1));
    cache.insert(3, tensor(&pool, KIB)).unwrap();
    assert_eq!([1, 2, 3].map(|key| cache.contains(key)), [false, true, true]);
    assert!(
        cache.remove(2).is_some(),
        "removal is explicit, pins do not hinder it"
    );
    assert_eq!(cache.stats().pinned_bytes, 0);
}

#[test]
fn a_tensor_above_the_limit_is_refused_and_evicts_nothing() {
    let pool = pool(1 << 20);
    let mut cache = TensorLru::new(pool.clone(), KIB);
    cache.insert(1, tensor(&pool, KIB)).unwrap();
    assert!(matches!(
        cache.insert(2, tensor(&pool, KIB + 1)),
        Err(Error::CacheFull { .. })
    ));
    assert!(cache.contains(1));
    cache.insert(1, tensor(&pool, 10)).unwrap();
    assert_eq!((cache.stats().entries, cache.stats().bytes), (1, 64));
}

#[test]
fn a_full_pool_is_relieved() {
    let pool = pool(8 * KIB);
    let mut cache = TensorLru::new(pool.clone(), usize::MAX);
    for key in 0..8 {
        cache.insert(key, tensor(&pool, KIB)).unwrap();
    }
    let shape = |len| Shape::new(&[len]).unwrap();
    assert!(matches!(
        pool.loan(DType::U8, shape(KIB)),
        Err(Error::Exhausted { .. })
    ));
    assert!(cache.pin(0));
    let loan = cache.loan(DType::U8, shape(KIB)).unwrap();
    assert_eq!([0, 1, 2].map(|key| cache.contains(key)), [true, false, true]);
    assert!(matches!(
        cache.loan(DType::U8, shape(9 * KIB)),
        Err(Error::Exhausted { .. })
    ));
    assert_eq!(cache.stats().entries, 7, "what can never fit evicts nothing");
    let rest: Vec<_> = (0..6)
        .map(|_| cache.loan(DType::U8, shape(KIB)).unwrap())
        .collect();
    assert!(
        matches!(cache.loan(DType::U8, shape(KIB)), Err(Error::Exhausted { .. })),
        "only the pinned one is left"
    );
    assert!(cache.contains(0));
    drop((loan, rest));
}

/// The model: entries from oldest to newest.
#[derive(Default)]
struct Model {
    entries: Vec<(u64, usize, u32)>,
}

impl Model {
    fn at(&self, key: u64) -> Option<usize> {
        self.entries.iter().position(|entry| entry.0 == key)
    }

    fn bytes(&self, pinned_only: bool) -> usize {
        self.entries
            .iter()
            .filter(|entry| !pinned_only || entry.2 > 0)
            .map(|entry| entry.1)
            .sum()
    }

    fn touch(&mut self, at: usize) {
        if self.entries[at].2 == 0 {
            let entry = self.entries.remove(at);
            self.entries.push(entry);
        }
    }

    fn insert(&mut self, key: u64, bytes: usize, limit: usize) -> bool {
        let at = self.at(key);
        if at.is_some_and(|at| self.entries[at].2 > 0) || self.bytes(true) + bytes > limit {
            return false;
        }
        if let Some(at) = at {
            self.entries.remove(at);
        }
        while self.bytes(false) + bytes > limit {
            let oldest = self.entries.iter().position(|entry| entry.2 == 0).unwrap();
            self.entries.remove(oldest);
        }
        self.entries.push((key, bytes, 0));
        true
    }
}

proptest! {
    #[test]
    fn agrees_with_the_model(steps in prop::collection::vec((0_u8..6, 0_u64..12, 1_usize..20), 1..200)) {
        let limit = 40 * 64;
        let pool = pool(1 << 20);
        let mut cache = TensorLru::new(pool.clone(), limit);
        let mut model = Model::default();
        for (action, key, blocks) in steps {
            let at = model.at(key);
            match action {
                0 | 1 => {
                    let kept = cache.insert(key, tensor(&pool, blocks * 64)).is_ok();
                    prop_assert_eq!(kept, model.insert(key, blocks * 64, limit));
                }
                2 => {
                    prop_assert_eq!(cache.get(key).map(|t| t.byte_len()), at.map(|at| model.entries[at].1));
                    if let Some(at) = at {
                        model.touch(at);
                    }
                }
                3 => {
                    prop_assert_eq!(cache.pin(key), at.is_some());
                    if let Some(at) = at {
                        model.entries[at].2 += 1;
                    }
                }
                4 => {
                    let pinned = at.filter(|&at| model.entries[at].2 > 0);
                    prop_assert_eq!(cache.unpin(key), pinned.is_some());
                    if let Some(at) = pinned {
                        model.entries[at].2 -= 1;
                        model.touch(at);
                    }
                }
                _ => {
                    prop_assert_eq!(cache.remove(key).is_some(), at.is_some());
                    if let Some(at) = at {
                        model.entries.remove(at);
                    }
                }
            }
            for key in 0..12 {
                prop_assert_eq!(cache.contains(key), model.at(key).is_some(), "key {}", key);
            }
            let stats = cache.stats();
            prop_assert_eq!((stats.entries, stats.bytes), (model.entries.len(), model.bytes(false)));
            prop_assert_eq!(stats.pinned_bytes, model.bytes(true));
        }
        drop(cache);
        prop_assert_eq!(pool.stats().in_use_bytes, 0);
    }
}
