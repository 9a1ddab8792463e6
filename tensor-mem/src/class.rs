//! Size classes: four to each doubling.
//!
//! Up to 256 bytes the classes are the multiples of 64; above, each doubling `(2^k, 2^(k+1)]` has the four sizes
//! `2^k * 5/4, 6/4, 7/4, 8/4`. A request just above one class wastes at most the step to the next, so the unused part
//! of a block stays below `(1/4) / (5/4)` = 20 % of it. This is the spacing and the bound of jemalloc's size classes
//! (jemalloc(3), "Implementation notes": "internal fragmentation is limited to approximately 20%" for all but the
//! smallest); powers of two would allow 50 %.

const LINEAR_STEP: usize = 64;
const LINEAR_MAX_LOG2: u32 = 8;
const LINEAR_CLASSES: usize = (1 << LINEAR_MAX_LOG2) / LINEAR_STEP;

/// The class of the smallest block that holds `bytes`; an empty tensor takes the smallest block.
pub(crate) const fn of(bytes: usize) -> usize {
    if bytes <= 1 << LINEAR_MAX_LOG2 {
        return bytes.saturating_sub(1) / LINEAR_STEP;
    }
    let last = bytes - 1;
    let doubling = last.ilog2();
    let quarter = (last >> (doubling - 2)) & 3;
    LINEAR_CLASSES + 4 * (doubling - LINEAR_MAX_LOG2) as usize + quarter
}

/// The block size of a class, in bytes. A multiple of 64.
pub(crate) const fn block_bytes(class: usize) -> usize {
    if class < LINEAR_CLASSES {
        return (class + 1) * LINEAR_STEP;
    }
    let above = class - LINEAR_CLASSES;
    let doubling = LINEAR_MAX_LOG2 as usize + above / 4;
    (5 + above % 4) << (doubling - 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{ALIGN_BYTES, CLASSES, SLAB_BLOCK_BYTES_MAX, SLAB_CLASSES, TENSOR_BYTES_MAX};

    #[test]
    fn sizes_at_boundaries() {
        for (bytes, block) in [
            (0, 64),
            (1, 64),
            (64, 64),
            (65, 128),
            (192, 192),
            (256, 256),
            (257, 320),
            (320, 320),
            (321, 384),
            (448, 448),
            (449, 512),
            (512, 512),
            (513, 640),
            (602_112, 655_360),
            (SLAB_BLOCK_BYTES_MAX, SLAB_BLOCK_BYTES_MAX),
            (SLAB_BLOCK_BYTES_MAX + 1, 5 << 20),
            (TENSOR_BYTES_MAX, TENSOR_BYTES_MAX),
        ] {
            assert_eq!(block_bytes(of(bytes)), block, "{bytes} bytes");
        }
        assert_eq!(block_bytes(SLAB_CLASSES - 1), SLAB_BLOCK_BYTES_MAX);
        assert_eq!(block_bytes(CLASSES - 1), TENSOR_BYTES_MAX);
    }

    #[test]
    fn every_class_is_aligned_and_wastes_under_a_fifth() {
        for class in 0..CLASSES {
            let block = block_bytes(class);
            assert_eq!(of(block), class);
            assert_eq!(block % ALIGN_BYTES, 0);
            if class + 1 == CLASSES {
                continue;
            }
            let next = block_bytes(class + 1);
            assert!(next > block);
            assert_eq!(of(block + 1), class + 1);
            let waste = next - (block + 1);
            assert!(
                waste < ALIGN_BYTES || waste * 5 < next,
                "class {class}: {waste} of {next}"
            );
        }
    }
}
