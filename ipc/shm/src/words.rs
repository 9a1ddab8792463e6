//! The arena, word by word: how this crate reads and writes memory that another process may be writing.
//!
//! By relaxed atomics, so that a race gives some value and nothing worse. Bulk data is not read here: tensors are used
//! where they lie.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use mlos_tensor_mem::Segment;

const WORD_BYTES: usize = size_of::<u64>();

/// # Panics
/// When the word is not aligned or not in the segment.
fn word(segment: &Segment, offset: usize) -> &AtomicU64 {
    assert!(offset.is_multiple_of(WORD_BYTES));
    assert!(offset + WORD_BYTES <= segment.len());
    let word = segment.at(offset).cast::<AtomicU64>();
    // SAFETY: in the mapping, which lives as long as the segment that is borrowed, and aligned, as asserted; any bytes
    // are a valid atomic, and another process's accesses are those of one more thread.
    unsafe { word.as_ref() }
}

fn byte(segment: &Segment, offset: usize) -> &AtomicU8 {
    let byte = segment.at(offset).cast::<AtomicU8>();
    // SAFETY: `at` has checked that the byte is in the mapping; the rest is as in `word`.
    unsafe { byte.as_ref() }
}

/// Tells the kernel that huge pages are welcome here: transparent ones, see
/// [`DaemonSide::create`](crate::control::DaemonSide::create). A kernel without them costs speed and nothing else.
pub(crate) fn welcome_huge_pages(segment: &Segment) {
    let advice = rustix::mm::Advice::LinuxHugepage;
    // SAFETY: exactly the segment's mapping, which is borrowed; MADV_HUGEPAGE changes no contents.
    let _ = unsafe { rustix::mm::madvise(segment.base().as_ptr().cast(), segment.len(), advice) };
}

/// Copies words out.
pub(crate) fn load(segment: &Segment, offset: usize, words: usize) -> Vec<u64> {
    let offsets = (0..words).map(|at| offset + at * WORD_BYTES);
    offsets
        .map(|offset| word(segment, offset).load(Ordering::Relaxed))
        .collect()
}

/// Writes words.
pub(crate) fn store(segment: &Segment, offset: usize, words: &[u64]) {
    for (at, value) in words.iter().enumerate() {
        word(segment, offset + at * WORD_BYTES).store(*value, Ordering::Relaxed);
    }
}

/// Copies bytes out.
pub(crate) fn load_bytes(segment: &Segment, offset: usize, len: usize) -> Vec<u8> {
    let offsets = offset..offset + len;
    offsets
        .map(|at| byte(segment, at).load(Ordering::Relaxed))
        .collect()
}

/// Writes bytes.
pub(crate) fn store_bytes(segment: &Segment, offset: usize, bytes: &[u8]) {
    for (at, value) in (offset..).zip(bytes) {
        byte(segment, at).store(*value, Ordering::Relaxed);
    }
}
