//! Frames of any kind: those that fit come back, and whatever is accepted is sound.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use mlos_shm::{DType, Frame, Shape, TensorPlace};
use proptest::prelude::*;
use support::{ARENA_BYTES, FRAME_AT, HANDLE, Pair, frame_words, pair};

/// A frame that fits, as words, and what was put into it.
fn any_frame() -> impl Strategy<Value = (Vec<Option<TensorPlace>>, usize)> {
    let dims = proptest::collection::vec(0_usize..5, 0..=4);
    let tensor = (0_u8..13, dims, any::<bool>(), 0_u64..200);
    (
        proptest::collection::vec(tensor, 0..12),
        any::<proptest::sample::Index>(),
    )
        .prop_map(|(tensors, split)| {
            let inputs = if tensors.is_empty() {
                0
            } else {
                split.index(tensors.len())
            };
            let mut next = 65536;
            let places = tensors
                .into_iter()
                .enumerate()
                .map(|(at, (dtype, dims, is_there, more))| {
                    let dtype = DType::from_u8(dtype).unwrap();
                    let shape = Shape::new(&dims).unwrap();
                    let needed = shape.byte_len(dtype).unwrap() as u64;
                    let bytes = if at < inputs { needed } else { needed + more };
                    let offset = next;
                    next = (next + bytes).next_multiple_of(64);
                    is_there.then_some(TensorPlace {
                        offset,
                        bytes,
                        dtype,
                        shape: Some(shape),
                    })
                });
            (places.collect(), inputs)
        })
}

proptest! {
    #[test]
    fn any_frame_that_fits_comes_back((tensors, inputs) in any_frame()) {
        let Pair { daemon, client, .. } = pair(2);
        let (inputs, outputs) = tensors.split_at(inputs);
        let mut frame = Frame::new(3, inputs.into(), outputs.into());
        let loan = client.arena.loan(frame.bytes() as usize + 10).unwrap();
        frame.write(&loan).unwrap();
        prop_assert_eq!(Frame::read(&daemon.arena, frame.offset(), frame.bytes(), 3), Ok(frame));
    }

    /// Whatever a few words are changed to: an error, or a frame that lies in the arena and does not write over itself.
    #[test]
    fn what_is_accepted_is_sound(changes in proptest::collection::vec((0_usize..52, hostile()), 1..4)) {
        let mut words = frame_words();
        for (at, value) in changes {
            words[at] = value;
        }
        if let Ok(frame) = Frame::check(&words, FRAME_AT, HANDLE, ARENA_BYTES) {
            is_sound(&frame);
        }
    }
}

/// Numbers that are near an edge more often than not.
fn hostile() -> impl Strategy<Value = u64> {
    const EDGES: [u64; 13] = [
        0,
        1,
        24,
        63,
        64,
        4096,
        65536,
        131_072,
        ARENA_BYTES,
        1 << 32,
        1 << 46,
        1 << 63,
        u64::MAX,
    ];
    prop_oneof![
        (proptest::sample::select(&EDGES[..]), -70_i64..70)
            .prop_map(|(edge, by)| edge.wrapping_add_signed(by)),
        any::<u64>(),
        (0_u64..20, 0_u64..10, 0_u64..3).prop_map(|(dtype, rank, present)| dtype | rank << 8 | present << 16),
        (0_u64..6, 0_u64..6).prop_map(|(inputs, outputs)| 7 | inputs << 32 | outputs << 48),
    ]
}

fn is_sound(frame: &Frame) {
    let mut written = Vec::new();
    let mut read = vec![(frame.offset(), u64::from(frame.bytes()))];
    written.extend(frame.text.map(|text| (text.offset, u64::from(text.capacity))));
    read.extend(
        frame
            .inputs
            .iter()
            .flatten()
            .map(|place| (place.offset, place.bytes)),
    );
    written.extend(
        frame
            .outputs
            .iter()
            .flatten()
            .map(|place| (place.offset, place.bytes)),
    );
    for (offset, bytes) in read.iter().chain(&written) {
        assert!(offset.checked_add(*bytes).is_some_and(|end| end <= ARENA_BYTES));
    }
    for (at, (offset, bytes)) in written.iter().enumerate() {
        for (other, other_bytes) in read.iter().chain(&written[at + 1..]) {
            let is_apart = offset + bytes <= *other || other + other_bytes <= *offset;
            assert!(is_apart || *bytes == 0 || *other_bytes == 0, "{frame:?}");
        }
    }
}
