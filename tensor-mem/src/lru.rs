//! A cache of frozen tensors that makes room for new ones.

use std::collections::HashMap;

use crate::limits::ALIGN_BYTES;
use crate::tensor::Tensor;
use crate::uninit::TensorUninit;
use crate::{DType, Error, Pool, Shape};

/// No entry.
const NONE: usize = usize::MAX;

/// Tensors by key, under a limit of bytes. The least recently used ones that are not pinned go first, when a new one needs
/// the room or when the pool has no memory for a loan. Every operation is O(1), but for the evictions it causes.
///
/// Evicting drops the cache's share; the memory is free when the last clone elsewhere is dropped.
pub struct TensorLru {
    pool: Pool,
    limit_bytes: usize,
    by_key: HashMap<u64, usize>,
    entries: Vec<Entry>,
    /// Entries of `entries` that hold nothing, linked by `newer`.
    free: usize,
    /// Ends of the list of unpinned entries; pinned ones are in no list, so eviction never walks over them.
    oldest: usize,
    newest: usize,
    stats: LruStats,
}

struct Entry {
    key: u64,
    tensor: Option<Tensor>,
    pins: u32,
    older: usize,
    newer: usize,
}

/// What a cache holds and has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LruStats {
    /// The most bytes it may hold.
    pub limit: usize,
    /// Tensors held.
    pub entries: usize,
    /// Their bytes; each counts for 64 at least.
    pub bytes: usize,
    /// The bytes of those that are pinned.
    pub pinned_bytes: usize,
    /// Look-ups that found their key.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
    /// Tensors put in.
    pub insertions: u64,
    /// Tensors evicted to make room.
    pub evictions: u64,
}

impl TensorLru {
    /// An empty cache over a pool.
    pub fn new(pool: Pool, limit_bytes: usize) -> Self {
        Self {
            pool,
            limit_bytes,
            by_key: HashMap::new(),
            entries: Vec::new(),
            free: NONE,
            oldest: NONE,
            newest: NONE,
            stats: LruStats {
                limit: limit_bytes,
                ..LruStats::default()
            },
        }
    }

    /// The tensor of a key, which becomes the most recently used.
    pub fn get(&mut self, key: u64) -> Option<Tensor> {
        let Some(&at) = self.by_key.get(&key) else {
            self.stats.misses += 1;
            return None;
        };
        self.stats.hits += 1;
        if self.entries[at].pins == 0 {
            self.unlink(at);
            self.link_newest(at);
        }
        self.entries[at].tensor.clone()
    }

    /// Whether there is one; counts as no use.
    pub fn contains(&self, key: u64) -> bool {
        self.by_key.contains_key(&key)
    }

    /// Keeps a tensor, in the place of an earlier one of the same key, and evicts others to stay under the limit.
    pub fn insert(&mut self, key: u64, tensor: Tensor) -> Result<(), Error> {
        let asked = charge(&tensor);
        if self.by_key.get(&key).is_some_and(|&at| self.entries[at].pins > 0) {
            return Err(Error::Pinned { key });
        }
        let pinned = self.stats.pinned_bytes;
        if pinned
            .checked_add(asked)
            .is_none_or(|least| least > self.limit_bytes)
        {
            return Err(Error::CacheFull {
                asked,
                limit: self.limit_bytes,
                pinned,
            });
        }
        self.remove(key);
        while self.stats.bytes + asked > self.limit_bytes && self.evict() {}
        self.add(key, tensor);
        Ok(())
    }

    /// Takes a tensor out, pinned or not.
    pub fn remove(&mut self, key: u64) -> Option<Tensor> {
        let at = self.by_key.remove(&key)?;
        if self.entries[at].pins == 0 {
            self.unlink(at);
        } else {
            self.stats.pinned_bytes -= self.entries[at].charge();
        }
        self.stats.entries -= 1;
        self.stats.bytes -= self.entries[at].charge();
        let entry = &mut self.entries[at];
        entry.pins = 0;
        entry.newer = self.free;
        self.free = at;
        entry.tensor.take()
    }

    /// Keeps a tensor from being evicted, until as many [`unpin`](Self::unpin). False if there is none of that key.
    pub fn pin(&mut self, key: u64) -> bool {
        let Some(&at) = self.by_key.get(&key) else {
            return false;
        };
        if self.entries[at].pins == 0 {
            self.unlink(at);
            self.stats.pinned_bytes += self.entries[at].charge();
        }
        self.entries[at].pins += 1;
        true
    }

    /// Undoes one [`pin`](Self::pin). The last makes the tensor the most recently used. False if it was not pinned.
    pub fn unpin(&mut self, key: u64) -> bool {
        let Some(&at) = self.by_key.get(&key) else {
            return false;
        };
        if self.entries[at].pins == 0 {
            return false;
        }
        self.entries[at].pins -= 1;
        if self.entries[at].pins == 0 {
            self.stats.pinned_bytes -= self.entries[at].charge();
            self.link_newest(at);
        }
        true
    }

    /// Drops the least recently used tensor that is not pinned. False if there is none.
    pub fn evict(&mut self) -> bool {
        if self.oldest == NONE {
            return false;
        }
        self.stats.evictions += 1;
        self.remove(self.entries[self.oldest].key).is_some()
    }

    /// As [`Pool::loan`]; when the pool is exhausted, cached tensors make room.
    pub fn loan(&mut self, dtype: DType, shape: Shape) -> Result<TensorUninit, Error> {
        self.evict_for(|pool| pool.loan(dtype, shape))
    }

    /// As [`Pool::loan_bytes`]; when the pool is exhausted, cached tensors make room.
    pub fn loan_bytes(&mut self, dtype: DType, shape: Shape, byte_len: usize) -> Result<TensorUninit, Error> {
        self.evict_for(|pool| pool.loan_bytes(dtype, shape, byte_len))
    }

    fn evict_for(
        &mut self,
        loan: impl Fn(&Pool) -> Result<TensorUninit, Error>,
    ) -> Result<TensorUninit, Error> {
        loop {
            match loan(&self.pool) {
                // What the pool could never serve must not cost the cache anything.
                Err(Error::Exhausted { asked, limit, .. }) if asked <= limit && self.evict() => {}
                done => return done,
            }
        }
    }

    /// What it holds and has done.
    pub fn stats(&self) -> LruStats {
        self.stats
    }

    fn add(&mut self, key: u64, tensor: Tensor) {
        self.stats.entries += 1;
        self.stats.bytes += charge(&tensor);
        self.stats.insertions += 1;
        let entry = Entry {
            key,
            tensor: Some(tensor),
            pins: 0,
            older: NONE,
            newer: NONE,
        };
        let at = self.free;
        let at = if at == NONE {
            self.entries.push(entry);
            self.entries.len() - 1
        } else {
            self.free = self.entries[at].newer;
            self.entries[at] = entry;
            at
        };
        self.by_key.insert(key, at);
        self.link_newest(at);
    }

    fn link_newest(&mut self, at: usize) {
        let before = self.newest;
        self.entries[at].older = before;
        self.entries[at].newer = NONE;
        self.newest = at;
        match before {
            NONE => self.oldest = at,
            _ => self.entries[before].newer = at,
        }
    }

    fn unlink(&mut self, at: usize) {
        let Entry { older, newer, .. } = self.entries[at];
        match older {
            NONE => self.oldest = newer,
            _ => self.entries[older].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            _ => self.entries[newer].older = older,
        }
    }
}

impl Entry {
    fn charge(&self) -> usize {
        self.tensor.as_ref().map_or(0, charge)
    }
}

/// What a tensor counts for: at least the smallest block, so that the limit also bounds the number of entries.
fn charge(tensor: &Tensor) -> usize {
    tensor.byte_len().max(ALIGN_BYTES)
}
