//! Copies from and to memory that another process may be writing at the same time.
//!
//! Plain reads there would be a data race, which the language forbids whatever the bytes are for; a `&[u8]` would also
//! promise the compiler that they stay what they are. So every byte is moved by one relaxed atomic access: a race between
//! those is defined, and gives some value that was there, for each word on its own. Words, since there is no wider
//! atomic; that keeps up with memory, if not with the nearest cache.

use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

const WORD_BYTES: usize = size_of::<u64>();

/// Fills `to` from shared memory.
///
/// # Safety
/// `from` is mapped, readable and writable, for `to.len()` bytes during the call, and no Rust reference leads there.
pub(crate) unsafe fn read(from: NonNull<u8>, to: &mut [MaybeUninit<u8>]) {
    let (head, words) = split(from, to.len());
    let (first, rest) = to.split_at_mut(head);
    let (middle, last) = rest.split_at_mut(words * WORD_BYTES);
    let byte = |at: usize| {
        // SAFETY: `at` is below `to.len()`: the caller's promise.
        let from = unsafe { from.add(at) };
        // SAFETY: mapped for reads and writes, and accessed atomically by all Rust code: the caller's promise.
        unsafe { AtomicU8::from_ptr(from.as_ptr()) }.load(Ordering::Relaxed)
    };
    for (at, to) in first.iter_mut().enumerate() {
        to.write(byte(at));
    }
    for (index, to) in middle.as_chunks_mut::<WORD_BYTES>().0.iter_mut().enumerate() {
        // SAFETY: the word lies within the range, behind `head` bytes: the caller's promise.
        let from = unsafe { from.add(head + index * WORD_BYTES) };
        // SAFETY: as for a byte; aligned, since `head` bytes lead to a multiple of the word's size.
        let word = unsafe { AtomicU64::from_ptr(from.as_ptr().cast()) }.load(Ordering::Relaxed);
        // SAFETY: a chunk of a word's size that is ours to write.
        unsafe { to.as_mut_ptr().cast::<u64>().write_unaligned(word) };
    }
    for (index, to) in last.iter_mut().enumerate() {
        to.write(byte(head + words * WORD_BYTES + index));
    }
}

/// Writes `from` to shared memory.
///
/// # Safety
/// `to` is mapped, readable and writable, for `from.len()` bytes during the call, and no Rust reference leads there.
pub(crate) unsafe fn write(from: &[u8], to: NonNull<u8>) {
    let (head, words) = split(to, from.len());
    let (first, rest) = from.split_at(head);
    let (middle, last) = rest.split_at(words * WORD_BYTES);
    let byte = |at: usize, value: u8| {
        // SAFETY: `at` is below `from.len()`: the caller's promise.
        let to = unsafe { to.add(at) };
        // SAFETY: mapped for reads and writes, and accessed atomically by all Rust code: the caller's promise.
        unsafe { AtomicU8::from_ptr(to.as_ptr()) }.store(value, Ordering::Relaxed);
    };
    for (at, &value) in first.iter().enumerate() {
        byte(at, value);
    }
    for (index, &word) in middle.as_chunks::<WORD_BYTES>().0.iter().enumerate() {
        // SAFETY: the word lies within the range, behind `head` bytes: the caller's promise.
        let to = unsafe { to.add(head + index * WORD_BYTES) };
        // SAFETY: as for a byte; aligned, since `head` bytes lead to a multiple of the word's size.
        unsafe { AtomicU64::from_ptr(to.as_ptr().cast()) }.store(u64::from_ne_bytes(word), Ordering::Relaxed);
    }
    for (index, &value) in last.iter().enumerate() {
        byte(head + words * WORD_BYTES + index, value);
    }
}

/// How many bytes come before the first aligned word of a range, and how many words follow.
fn split(start: NonNull<u8>, len: usize) -> (usize, usize) {
    let head = start.as_ptr().addr().wrapping_neg() % WORD_BYTES;
    let head = head.min(len);
    (head, (len - head) / WORD_BYTES)
}
