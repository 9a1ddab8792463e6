/// Gives memory that unloaded models have left in the allocator back to the system. Takes milliseconds when there is
/// much: call it where nobody waits.
pub fn release_free_memory() {
    // SAFETY: malloc_trim has no conditions; it locks what it touches.
    unsafe { libc::malloc_trim(0) };
}
