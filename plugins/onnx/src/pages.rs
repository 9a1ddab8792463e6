//! Where ONNX Runtime's weights lie: it takes them from `malloc`.

use crate::limits::OWN_MAPPING_BYTES_MIN;

/// Has large blocks mapped one by one, so that a model's weights lie in new memory, one behind the other, and not in what
/// earlier models have left between blocks of others: with the holes, BERT-base at 1x16 takes 1 % longer. glibc would
/// stop to do so after the first large block that is freed.
pub(crate) fn map_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number in the allocator, under the allocator's own lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING_BYTES_MIN);
    }
}
