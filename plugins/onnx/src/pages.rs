//! How the process's `malloc` is to behave, which ONNX Runtime takes weights from.

use crate::limits::OWN_MAPPING_BYTES_MIN;

/// Has large blocks mapped one by one: what a model frees goes back to the system at once, and the next one takes new
/// memory, not holes between blocks of others. glibc would stop to do so after the first free.
pub(crate) fn map_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number in the allocator, under the allocator's own lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING_BYTES_MIN);
    }
}
