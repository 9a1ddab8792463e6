//! Writes to memory that may belong to another process as well, by relaxed atomic accesses: a plain one would be a data
//! race with that process, and a reference would promise that the bytes stay what they are.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

const WORD_BYTES: usize = size_of::<u64>();

/// Copies bytes of ours.
///
/// # Safety
/// `to` is mapped for reads and writes of `from.len()` bytes, and no Rust reference leads there.
pub(crate) unsafe fn write(from: &[u8], to: *mut u8) {
    let word = |at: usize| {
        let word = from[at..].first_chunk::<WORD_BYTES>();
        u64::from_ne_bytes(*word.expect("words lie within the range"))
    };
    // SAFETY: the caller's promise.
    unsafe { store(to, from.len(), WORD_BYTES, |at| from[at], word) };
}

/// Copies bytes that another process may write meanwhile.
///
/// # Safety
/// `from` and `to` are mapped for reads and writes of `len` bytes, and no Rust reference leads there.
pub(crate) unsafe fn copy(from: *mut u8, to: *mut u8, len: usize) {
    let is_aligned_alike = from.addr() % WORD_BYTES == to.addr() % WORD_BYTES;
    let step = if is_aligned_alike { WORD_BYTES } else { 1 };
    let byte = |at: usize| {
        // SAFETY: `at` is below `len`: the caller's promise.
        unsafe { AtomicU8::from_ptr(from.wrapping_add(at)) }.load(Ordering::Relaxed)
    };
    let word = |at: usize| {
        // SAFETY: the word lies within `len`, and is aligned, as the one at the same place of `to` is.
        unsafe { AtomicU64::from_ptr(from.wrapping_add(at).cast()) }.load(Ordering::Relaxed)
    };
    // SAFETY: the caller's promise.
    unsafe { store(to, len, step, byte, word) };
}

/// Stores `len` bytes, by words where `step` is that of words.
///
/// # Safety
/// `to` is mapped for reads and writes of `len` bytes, and no Rust reference leads there.
unsafe fn store(
    to: *mut u8,
    len: usize,
    step: usize,
    byte: impl Fn(usize) -> u8,
    word: impl Fn(usize) -> u64,
) {
    let head = if step == WORD_BYTES {
        (to.addr().wrapping_neg() % WORD_BYTES).min(len)
    } else {
        len
    };
    let tail = head + (len - head) / WORD_BYTES * WORD_BYTES;
    let store_byte = |at: usize| {
        // SAFETY: `at` is below `len`: the caller's promise.
        unsafe { AtomicU8::from_ptr(to.wrapping_add(at)) }.store(byte(at), Ordering::Relaxed);
    };
    (0..head).for_each(store_byte);
    for at in (head..tail).step_by(WORD_BYTES) {
        // SAFETY: the word lies within `len`, and is aligned, as `head` bytes lead to a multiple of its size.
        let to = unsafe { AtomicU64::from_ptr(to.wrapping_add(at).cast()) };
        to.store(word(at), Ordering::Relaxed);
    }
    (tail..len).for_each(store_byte);
}

#[cfg(test)]
mod tests {
    use super::{copy, write};

    #[test]
    fn every_alignment_and_length() {
        let mut from: Vec<u8> = (0..64).collect();
        for case in 0..9 * 9 * 40 {
            let (first, target, len) = (case % 9, case / 9 % 9, case / 81);
            let mut expect = [0xEE; 64];
            expect[target..target + len].copy_from_slice(&from[first..first + len]);
            let (mut copied, mut written) = ([0xEE; 64], [0xEE; 64]);
            let start = from.as_mut_ptr().wrapping_add(first);
            // SAFETY: two arrays of 64 bytes, of which at most 8 + 40 are used.
            unsafe { copy(start, copied.as_mut_ptr().wrapping_add(target), len) };
            // SAFETY: as above.
            unsafe {
                write(
                    &from[first..first + len],
                    written.as_mut_ptr().wrapping_add(target),
                )
            };
            assert_eq!((copied, written), (expect, expect), "{first} {target} {len}");
        }
    }
}
