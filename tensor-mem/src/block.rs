//! A share of one block of a pool's memory.

use std::ptr::NonNull;
use std::sync::Arc;

use crate::store::{BlockName, Store};

/// A share in a block. The first share is unique and may write (`TensorUninit`, `TensorMut`); after freezing, shares are
/// cloned and only read. The last one to go returns the block to the pool, on whichever thread that happens.
pub(crate) struct Block {
    store: Arc<Store>,
    base: NonNull<u8>,
    name: BlockName,
}

// SAFETY: a block is an address range of which the holder owns a share. The pool that takes it back is Sync, and the
// count of shares is atomic.
unsafe impl Send for Block {}
// SAFETY: through `&Block` one gets addresses and numbers only.
unsafe impl Sync for Block {}

impl Block {
    pub(crate) fn new(store: &Arc<Store>, bytes: usize) -> Result<Self, crate::Error> {
        let (name, base) = store.take(bytes)?;
        Ok(Self {
            store: Arc::clone(store),
            base,
            name,
        })
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    pub(crate) fn name(&self) -> BlockName {
        self.name
    }

    pub(crate) fn share(&self) -> Self {
        self.store.meta(self.name.index).share();
        Self {
            store: Arc::clone(&self.store),
            base: self.base,
            name: self.name,
        }
    }

    pub(crate) fn is_unique(&self) -> bool {
        self.store.meta(self.name.index).is_unique()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.store.give_back(self.name);
    }
}
