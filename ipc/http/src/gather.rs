//! A body that comes in pieces, gathered into one piece of memory.

use std::io;

use bytes::Bytes;
use memmap2::MmapMut;

use crate::limits::BODY_SPARE_BYTES_MAX;

/// What has come of a body.
pub(crate) enum Gathered {
    /// In memory of the heap, which is kept for the next body.
    Heap(Vec<u8>),
    /// In pages of its own, which go back to the system with it: an allocator would keep what was large once.
    Pages { pages: MmapMut, len: usize },
}

impl Gathered {
    /// Adds a piece. `most` is what the body may grow to; pages that nothing is written to cost nothing.
    pub(crate) fn add(&mut self, piece: &[u8], most: usize) -> io::Result<()> {
        if let Self::Heap(bytes) = self {
            if bytes.len() + piece.len() <= BODY_SPARE_BYTES_MAX {
                bytes.extend_from_slice(piece);
                return Ok(());
            }
            let mut pages = MmapMut::map_anon(most.max(bytes.len() + piece.len()))?;
            pages[..bytes.len()].copy_from_slice(bytes);
            let len = bytes.len();
            *self = Self::Pages { pages, len };
        }
        if let Self::Pages { pages, len } = self {
            let end = *len + piece.len();
            pages[*len..end].copy_from_slice(piece);
            *len = end;
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Heap(bytes) => bytes.len(),
            Self::Pages { len, .. } => *len,
        }
    }
}

impl From<Gathered> for Bytes {
    fn from(gathered: Gathered) -> Self {
        match gathered {
            Gathered::Heap(bytes) => bytes.into(),
            Gathered::Pages { pages, len } => Self::from_owner(pages).slice(..len),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_together_in_either_memory() {
        let piece: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
        for pieces in [1, 2, 10, 11, 16] {
            let mut gathered = Gathered::Heap(Vec::new());
            for _ in 0..pieces {
                gathered.add(&piece, pieces * piece.len()).unwrap();
            }
            let is_large = matches!(gathered, Gathered::Pages { .. });
            assert_eq!(is_large, pieces * piece.len() > BODY_SPARE_BYTES_MAX);
            assert_eq!(gathered.len(), pieces * piece.len());
            assert!(Bytes::from(gathered) == piece.repeat(pieces), "{pieces}");
        }
    }
}
