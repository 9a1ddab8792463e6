//! Pools: where loans come from.

use std::sync::Arc;

use crate::block::Block;
use crate::limits::{POOL_LIMIT_BYTES_DEFAULT, TENSOR_BYTES_MAX};
use crate::numa::{self, NodePolicy};
use crate::stats::PoolStats;
use crate::store::Store;
use crate::uninit::TensorUninit;
use crate::{DType, Error, Shape};

/// What a pool may take, and from where.
#[derive(Clone, Copy, Debug)]
pub struct PoolConfig {
    /// The NUMA node to bind memory to; `None` leaves it to first touch.
    pub node: Option<u32>,
    /// How strongly.
    pub node_policy: NodePolicy,
    /// The most bytes that it may commit: blocks on loan and free ones kept for reuse.
    pub limit_bytes: usize,
    /// Use huge pages where there are any.
    pub huge_pages: bool,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            node: None,
            node_policy: NodePolicy::default(),
            limit_bytes: POOL_LIMIT_BYTES_DEFAULT,
            huge_pages: true,
        }
    }
}

/// A pool of tensor memory. Clones are the same pool. One per shard, used by the shard's front and its lanes; what it
/// lends may be dropped on any thread, and keeps the pool's memory alive when the pool itself is gone.
#[derive(Clone)]
pub struct Pool {
    store: Arc<Store>,
}

impl Pool {
    /// A pool. It takes no memory until the first loan.
    pub fn new(config: PoolConfig) -> Result<Self, Error> {
        if let Some(node) = config.node {
            numa::check_node(node)?;
        }
        Ok(Self {
            store: Arc::new(Store::new(config)),
        })
    }

    /// Whether both are the same pool.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.store, &other.store)
    }

    /// Lends memory for a tensor of a fixed-size element type.
    pub fn loan(&self, dtype: DType, shape: Shape) -> Result<TensorUninit, Error> {
        let byte_len = shape.byte_len(dtype)?;
        self.lend(dtype, shape, byte_len)
    }

    /// Lends memory for a tensor whose bytes are counted already. For strings that is the only way: `byte_len` is
    /// the sum of their lengths and of 4 bytes for each. For other types it must be what the shape says.
    pub fn loan_bytes(&self, dtype: DType, shape: Shape, byte_len: usize) -> Result<TensorUninit, Error> {
        let expected = match dtype.size_bytes() {
            Some(_) => shape.byte_len(dtype)?,
            None => {
                let lengths = shape.elements()?.saturating_mul(size_of::<u32>());
                if byte_len < lengths || (lengths == 0 && byte_len > 0) {
                    return Err(Error::SizeMismatch {
                        expected: lengths,
                        got: byte_len,
                    });
                }
                byte_len
            }
        };
        if byte_len != expected {
            return Err(Error::SizeMismatch {
                expected,
                got: byte_len,
            });
        }
        if byte_len > TENSOR_BYTES_MAX {
            return Err(Error::ShapeOverflow {
                dims: shape.dims().into(),
                dtype,
            });
        }
        self.lend(dtype, shape, byte_len)
    }

    fn lend(&self, dtype: DType, shape: Shape, byte_len: usize) -> Result<TensorUninit, Error> {
        let block = Block::new(&self.store, byte_len)?;
        Ok(TensorUninit::new(block, dtype, shape, byte_len))
    }

    /// What it holds and has done.
    pub fn stats(&self) -> PoolStats {
        self.store.stats()
    }

    /// Gives free memory back to the kernel and returns how many bytes. Loans are not touched; free blocks beside a
    /// block on loan in the same chunk are kept. It may take milliseconds, in which loans that need new memory wait: call it
    /// from a lane or when idle, not from a front.
    pub fn trim(&self) -> usize {
        self.store.trim()
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stats = self.stats();
        f.debug_struct("Pool")
            .field("node", &stats.node)
            .field("limit", &stats.limit)
            .field("in_use_bytes", &stats.in_use_bytes)
            .finish_non_exhaustive()
    }
}
