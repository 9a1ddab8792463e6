//! What a pool tells about itself.

use crate::{Binding, Pages};

/// A pool's state at about one moment (its counters are read one after the other).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// The NUMA node asked for.
    pub node: Option<u32>,
    /// What came of it.
    pub binding: Binding,
    /// The best pages that any of its segments got.
    pub pages: Pages,
    /// The most bytes that it may commit.
    pub limit: usize,
    /// Address space mapped. Costs nothing until touched.
    pub reserved_bytes: usize,
    /// Blocks ever carved and extents, on loan or free: the memory that may be resident. Never above `limit`.
    pub committed_bytes: usize,
    /// Blocks on loan, by the size of their class.
    pub in_use_bytes: usize,
    /// The most that `in_use_bytes` has been.
    pub high_water: usize,
    /// Loans made.
    pub loans: u64,
    /// Wishes that the kernel did not grant: huge pages, a node's binding, memory given back.
    pub fallbacks: u64,
    /// Free extents and chunks taken back from one size to serve another, as the limit was reached.
    pub evictions: u64,
    /// Per size class, the ones that were ever used.
    pub classes: Vec<ClassStats>,
}

/// One size class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassStats {
    /// The size of its blocks.
    pub block_bytes: usize,
    /// Blocks that exist, on loan or free.
    pub blocks: usize,
    /// Blocks on loan.
    pub in_use: usize,
    /// Loans made.
    pub loans: u64,
}
