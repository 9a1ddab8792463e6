//! Tensor memory: where inputs are decoded to, models compute in, and outputs leave from.
//!
//! A [`Pool`] lends memory. A loan is a typestate: [`TensorUninit`] can only be written, [`TensorMut`] is a whole tensor
//! with one owner, [`Tensor`] is frozen and shared by clones and by views of rows. Dropping the last share returns the
//! memory, on whichever thread; no copy is made on the way from an edge to a plugin and back.
//!
//! ```
//! use mlos_tensor_mem::{DType, Pool, PoolConfig, Shape};
//!
//! let pool = Pool::new(PoolConfig::default())?;
//! let mut numbers = pool.loan(DType::F32, Shape::new(&[2, 3])?)?.writer::<f32>()?;
//! for n in 0..6 {
//!     numbers.push(n as f32)?;
//! }
//! let tensor = numbers.finish()?.freeze();
//! let second = tensor.rows(1..2)?;
//! assert_eq!(second.as_slice::<f32>()?, [3.0, 4.0, 5.0]);
//! # Ok::<(), mlos_tensor_mem::Error>(())
//! ```
//!
//! Beneath a pool are [`Segment`]s: memory files, sealed so that their length is certain, bound to the pool's NUMA node, on
//! huge pages where there are any. Small and medium tensors are blocks of size classes cut from shared segments; a
//! tensor above 4 MiB has a segment of its own, kept for reuse. Free blocks are kept on lock-free stacks
//! beside the segments, not in them, since another process may map a segment ([`Tensor::location`]).
//!
//! A tensor may also lie in a [`Region`] of a segment that somebody else manages and another process writes: a client's
//! arena. Such a tensor ([`Tensor::over`]) goes the same way, but is never read by reference.
//!
//! A pool commits memory up to its limit and keeps what it has: reuse never faults a page. It gives memory back when
//! told to ([`Pool::trim`]) or when one size needs what another holds free. [`TensorLru`] keeps finished tensors and lets go
//! of the least recently used ones when memory is short.
//!
//! Deliberately not here: strides and arithmetic (plugins compute), device memory, and any policy about *whose* tensors
//! deserve memory: that is the scheduler's and the runtime's.

#![cfg_attr(
    loom,
    expect(dead_code, reason = "limits and sizes of what is not built under loom")
)]

// Under loom only the parts that threads share are built: see `sync.rs` and `loom_tests.rs`.
#[cfg(not(loom))]
mod block;
mod block_meta;
mod class;
mod dtype;
mod element;
mod error;
mod free_stack;
#[cfg(not(loom))]
mod growth;
pub mod limits;
#[cfg(all(loom, test))]
mod loom_tests;
#[cfg(not(loom))]
mod lru;
#[cfg(not(loom))]
mod numa;
#[cfg(not(loom))]
mod pool;
#[cfg(not(loom))]
mod racy;
#[cfg(not(loom))]
mod region;
#[cfg(not(loom))]
mod segment;
mod shape;
#[cfg(not(loom))]
mod stats;
#[cfg(not(loom))]
mod store;
#[cfg(not(loom))]
mod strings;
mod sync;
#[cfg(not(loom))]
mod tensor;
#[cfg(not(loom))]
mod tensor_mut;
#[cfg(not(loom))]
mod uninit;
#[cfg(not(loom))]
mod writer;

pub use dtype::DType;
pub use element::Element;
pub use error::{Error, ErrorKind};
#[cfg(not(loom))]
pub use {
    lru::{LruStats, TensorLru},
    numa::{Binding, NodePolicy},
    pool::{Pool, PoolConfig},
    region::Region,
    segment::{Pages, Segment, SegmentOptions},
    stats::{ClassStats, PoolStats},
    strings::Strings,
    tensor::{Location, Tensor},
    tensor_mut::TensorMut,
    uninit::TensorUninit,
    writer::{Full, Writer},
};

pub use shape::Shape;
