//! Any words as a frame, anywhere in an arena of any size: what is accepted lies inside of it.
//!
//! The first words choose the arena, the place and the handle. A seeded run of the same is in the crate's tests.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mlos_shm::{Frame, TensorPlace};

fuzz_target!(|data: &[u8]| {
    let (words, _) = data.as_chunks::<8>();
    let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let [arena_bytes, offset, frame @ ..] = words.as_slice() else {
        return;
    };
    let handle = frame.first().map_or(0, |word| *word as u32);
    let Ok(frame) = Frame::check(frame, *offset, handle, *arena_bytes) else {
        return;
    };
    let within = |offset: u64, bytes: u64| {
        assert!(offset.checked_add(bytes).is_some_and(|end| end <= *arena_bytes));
    };
    within(frame.offset(), frame.bytes().into());
    let written = frame.outputs.iter().flatten();
    let mut spans: Vec<(u64, u64)> = written.map(|place| (place.offset, place.bytes)).collect();
    if let Some(text) = frame.text {
        spans.push((text.offset, text.capacity.into()));
    }
    for TensorPlace {
        offset,
        bytes,
        dtype,
        shape,
    } in frame.inputs.iter().chain(&frame.outputs).flatten()
    {
        within(*offset, *bytes);
        assert_eq!(offset % 64, 0);
        if let (Some(shape), Some(_)) = (shape, dtype.size_bytes()) {
            assert!(shape.byte_len(*dtype).is_ok_and(|needed| needed as u64 <= *bytes));
        }
    }
    for (at, (offset, bytes)) in spans.iter().enumerate() {
        within(*offset, *bytes);
        for (other, other_bytes) in &spans[at + 1..] {
            let is_apart = offset + bytes <= *other || other + other_bytes <= *offset;
            assert!(is_apart || *bytes == 0 || *other_bytes == 0);
        }
    }
});
