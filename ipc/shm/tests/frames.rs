//! Frames: what is written is read the same, and nothing that is wrong gets through.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use mlos_shm::layout::{self, FRAME_HEADER_BYTES, FRAME_RECORD_BYTES};
use mlos_shm::{BadFrame, DType, Error, Frame, FrameProblem, Place, Shape, TensorPlace, TextArea, limits};
use support::{ARENA_BYTES, FRAME_AT, HANDLE, Pair, frame_words as words, pair};

fn place(offset: u64, bytes: u64, dtype: DType, dims: &[usize]) -> Option<TensorPlace> {
    Some(TensorPlace {
        offset,
        bytes,
        dtype,
        shape: Some(Shape::new(dims).unwrap()),
    })
}

fn check(words: &[u64]) -> Result<Frame, BadFrame> {
    Frame::check(words, FRAME_AT, HANDLE, ARENA_BYTES)
}

#[test]
fn a_frame_is_read_as_it_was_written() {
    let frame = check(&words()).unwrap();
    assert_eq!(frame.handle, HANDLE);
    assert_eq!(
        frame.inputs,
        [
            place(65536, 24, DType::F32, &[2, 3]),
            place(65536 + 64, 40, DType::String, &[10])
        ]
    );
    let unknown = TensorPlace {
        offset: 131_072 + 64,
        bytes: 4096,
        dtype: DType::U8,
        shape: None,
    };
    assert_eq!(
        frame.outputs,
        [place(131_072, 64, DType::I64, &[8]), Some(unknown)]
    );
    assert_eq!(
        frame.text,
        Some(TextArea {
            offset: 8192,
            capacity: 256
        })
    );
    assert_eq!((frame.offset(), frame.bytes()), (FRAME_AT, 32 + 4 * 96));
}

/// Words of the frame above.
const INPUT: usize = 4;
const STRINGS: usize = INPUT + 12;
const OUTPUT: usize = STRINGS + 12;
const UNKNOWN: usize = OUTPUT + 12;
const KIND: usize = 2;
const DIMS: usize = 3;

fn kind(dtype: u8, rank: u8, present: u8) -> u64 {
    u64::from(dtype) | u64::from(rank) << 8 | u64::from(present) << 16
}

#[test]
fn whatever_is_wrong_with_a_frame_is_found() {
    use FrameProblem as P;
    let arena_bytes = ARENA_BYTES;
    let (input, strings, output, unknown) = (
        Place::Input(0),
        Place::Input(1),
        Place::Output(0),
        Place::Output(1),
    );
    let outside = |what, offset, bytes| P::TensorOutsideArena {
        what,
        offset,
        bytes,
        arena_bytes,
    };
    let max = u64::MAX;
    let f32 = DType::F32 as u8;
    let length = |tensors, expected| P::Length {
        tensors,
        expected,
        got: 416,
    };
    let cases: &[(usize, u64, FrameProblem)] = &[
        // header
        (0, 8 | 2 << 32 | 2 << 48, P::Handle { frame: 8, request: 7 }),
        (0, 7 | 1 << 32 | 2 << 48, length(3, 320)),
        (0, 7 | 3 << 32 | 2 << 48, length(5, 512)),
        (0, 7, length(0, 32)),
        (
            0,
            7 | 0xffff << 32 | 0xffff << 48,
            P::TooManyTensors { tensors: 0x1fffe },
        ),
        (1, ARENA_BYTES - 255, outside(Place::Text, ARENA_BYTES - 255, 256)),
        (1, max, outside(Place::Text, max, 256)),
        (2, 4097, P::TextTooLarge { got: 4097 }),
        (2, 256 | 1 << 32, P::Reserved { what: Place::Frame }),
        (3, 1 << 63, P::Reserved { what: Place::Frame }),
        // offsets and lengths
        (
            INPUT,
            65537,
            P::Unaligned {
                what: input,
                offset: 65537,
            },
        ),
        (
            INPUT,
            65536 + 32,
            P::Unaligned {
                what: input,
                offset: 65568,
            },
        ),
        (INPUT, ARENA_BYTES, outside(input, ARENA_BYTES, 24)),
        (INPUT, max - 63, outside(input, max - 63, 24)),
        (INPUT + 1, ARENA_BYTES, outside(input, 65536, ARENA_BYTES)),
        (INPUT + 1, max, outside(input, 65536, max)),
        (
            UNKNOWN + 1,
            max - 131_072,
            outside(unknown, 131_136, max - 131_072),
        ),
        (
            INPUT + 1,
            23,
            P::ShapeBytes {
                what: input,
                needed: 24,
                got: 23,
            },
        ),
        (
            INPUT + 1,
            25,
            P::ShapeBytes {
                what: input,
                needed: 24,
                got: 25,
            },
        ),
        (
            STRINGS + 1,
            39,
            P::ShapeBytes {
                what: strings,
                needed: 40,
                got: 39,
            },
        ),
        (
            OUTPUT + 1,
            63,
            P::ShapeBytes {
                what: output,
                needed: 64,
                got: 63,
            },
        ),
        // kinds
        (
            INPUT + KIND,
            kind(14, 2, 1),
            P::DType {
                what: input,
                number: 14,
            },
        ),
        (
            INPUT + KIND,
            kind(255, 2, 1),
            P::DType {
                what: input,
                number: 255,
            },
        ),
        (INPUT + KIND, kind(f32, 9, 1), P::Rank { what: input, rank: 9 }),
        (
            INPUT + KIND,
            kind(f32, 255, 1),
            P::Rank {
                what: input,
                rank: 255,
            },
        ),
        (
            OUTPUT + KIND,
            kind(f32, 254, 1),
            P::Rank {
                what: output,
                rank: 254,
            },
        ),
        (INPUT + KIND, kind(f32, 2, 2), P::Reserved { what: input }),
        (
            INPUT + KIND,
            kind(f32, 2, 1) | 1 << 24,
            P::Reserved { what: input },
        ),
        (INPUT + 11, 1, P::Reserved { what: input }),
        // shapes
        (INPUT + DIMS, max, P::ShapeOverflow { what: input }),
        (INPUT + DIMS, 1 << 62, P::ShapeOverflow { what: input }),
        (
            OUTPUT + DIMS,
            9,
            P::ShapeBytes {
                what: output,
                needed: 72,
                got: 64,
            },
        ),
        (OUTPUT + DIMS, 1 << 46, P::ShapeOverflow { what: output }),
        (
            STRINGS + DIMS,
            11,
            P::ShapeBytes {
                what: strings,
                needed: 44,
                got: 40,
            },
        ),
        (
            INPUT + DIMS,
            0,
            P::ShapeBytes {
                what: input,
                needed: 0,
                got: 24,
            },
        ),
        // overlaps
        (
            OUTPUT,
            65536,
            P::Overlap {
                what: output,
                other: input,
            },
        ),
        (
            OUTPUT,
            FRAME_AT,
            P::Overlap {
                what: output,
                other: Place::Frame,
            },
        ),
        (
            OUTPUT,
            FRAME_AT + 384,
            P::Overlap {
                what: output,
                other: Place::Frame,
            },
        ),
        (
            OUTPUT,
            8192 + 192,
            P::Overlap {
                what: output,
                other: Place::Text,
            },
        ),
        (
            OUTPUT,
            131_072 + 64 + 4032,
            P::Overlap {
                what: output,
                other: unknown,
            },
        ),
        (
            UNKNOWN,
            131_072,
            P::Overlap {
                what: unknown,
                other: output,
            },
        ),
        (
            1,
            FRAME_AT + 415,
            P::Overlap {
                what: Place::Text,
                other: Place::Frame,
            },
        ),
        (
            1,
            65536,
            P::Overlap {
                what: Place::Text,
                other: input,
            },
        ),
    ];
    for (at, value, expected) in cases {
        let mut words = words();
        words[*at] = *value;
        let bad = check(&words).unwrap_err();
        assert_eq!(bad.problem, *expected, "word {at} = {value:#x}");
        assert!(!bad.to_string().is_empty());
    }
}

#[test]
fn what_only_looks_wrong_is_right() {
    let cases: &[(&str, &[(usize, u64)])] = &[
        ("inputs may share memory", &[(STRINGS, 65536)]),
        ("an input may be empty", &[(INPUT + 1, 0), (INPUT + DIMS, 0)]),
        (
            "an empty one may lie in an output",
            &[(INPUT, 131_072), (INPUT + 1, 0), (INPUT + DIMS, 0)],
        ),
        (
            "an empty one may lie at the end",
            &[(INPUT, ARENA_BYTES), (INPUT + 1, 0), (INPUT + DIMS, 0)],
        ),
        ("an output may have more room", &[(OUTPUT + DIMS, 1)]),
        (
            "the end of the arena is in it",
            &[(INPUT, ARENA_BYTES - 64), (INPUT + 1, 24)],
        ),
        ("no text", &[(1, u64::MAX), (2, 0)]),
        ("text may touch a tensor", &[(1, 65536 - 256)]),
    ];
    for (what, changes) in cases {
        let mut words = words();
        for (at, value) in *changes {
            words[*at] = *value;
        }
        assert!(check(&words).is_ok(), "{what}: {:?}", check(&words));
    }
    let mut absent = words();
    absent[INPUT] = 1;
    absent[INPUT + KIND] = 0xff;
    assert_eq!(check(&absent).unwrap().inputs[0], None);
}

#[test]
fn a_frame_must_lie_in_the_arena_and_have_its_length() {
    use FrameProblem as P;
    let Pair { daemon, .. } = pair(2);
    let arena_bytes = ARENA_BYTES;
    let outside = |offset, bytes| P::OutsideArena {
        offset,
        bytes,
        arena_bytes,
    };
    let length = |got| P::Length {
        tensors: 0,
        expected: 32,
        got,
    };
    let most = layout::frame_bytes(limits::FRAME_TENSORS_MAX as usize) as u32;
    for (offset, bytes, expected) in [
        (ARENA_BYTES, 32, outside(ARENA_BYTES, 32)),
        (ARENA_BYTES - 64, 96, outside(ARENA_BYTES - 64, 96)),
        (u64::MAX - 63, 32, outside(u64::MAX - 63, 32)),
        (0, u32::MAX, outside(0, u32::MAX.into())),
        (
            1,
            32,
            P::Unaligned {
                what: Place::Frame,
                offset: 1,
            },
        ),
        (
            32,
            32,
            P::Unaligned {
                what: Place::Frame,
                offset: 32,
            },
        ),
        (0, 0, length(0)),
        (0, 31, length(31)),
        (0, most + 1, length(u64::from(most) + 1)),
        (0, 32, P::Handle { frame: 0, request: 7 }),
        (0, 33, length(33)),
        (0, 39, length(39)),
    ] {
        let bad = Frame::read(&daemon.arena, offset, bytes, HANDLE).unwrap_err();
        assert_eq!((bad.problem, bad.text), (expected, None), "{bytes} at {offset}");
    }
}

/// Why a frame is refused can be said in the frame's own text area, if that is where it should be.
#[test]
fn a_refusal_is_written_where_it_may_be() {
    let Pair { daemon, client, .. } = pair(2);
    let mut good = words();
    good[INPUT] = 1;
    assert_eq!(
        check(&good).unwrap_err().text,
        Some(TextArea {
            offset: 8192,
            capacity: 256
        })
    );
    for (offset, capacity) in [(8192, 0), (ARENA_BYTES, 1), (8192, 5000), (FRAME_AT, 64)] {
        let mut bad = good.clone();
        (bad[1], bad[2]) = (offset, capacity);
        assert_eq!(check(&bad).unwrap_err().text, None);
    }
    let area = TextArea {
        offset: 8192,
        capacity: 10,
    };
    for (text, expect) in [
        ("", ""),
        ("short", "short"),
        ("exactly 10", "exactly 10"),
        ("longer than 10", "longer tha"),
        ("123456789\u{e4}", "123456789"),
        ("\u{1f600}\u{1f600}\u{1f600}", "\u{1f600}\u{1f600}"),
    ] {
        let bytes = area.write(&daemon.arena, text);
        assert_eq!(bytes as usize, expect.len());
        assert_eq!(area.read(client.arena.segment(), bytes), expect);
    }
    assert_eq!(
        area.read(client.arena.segment(), u32::MAX).len(),
        10,
        "no more than the area"
    );
}

#[test]
fn a_client_writes_what_the_daemon_reads() {
    let Pair {
        daemon,
        client,
        arena: vandal,
        ..
    } = pair(2);
    let input = client.arena.loan(24).unwrap();
    let output = client.arena.loan(4096).unwrap();
    let unknown = TensorPlace {
        offset: output.offset(),
        bytes: 4096,
        dtype: DType::F32,
        shape: None,
    };
    let inputs = vec![place(input.offset(), 24, DType::F32, &[6]), None];
    let mut frame = Frame::new(HANDLE, inputs, vec![None, Some(unknown)]);
    let loan = client.arena.loan(frame.bytes() as usize + 100).unwrap();
    frame.write(&loan).unwrap();
    assert_eq!(frame.text.map(|text| text.capacity), Some(100));
    let read = Frame::read(&daemon.arena, frame.offset(), frame.bytes(), HANDLE).unwrap();
    assert_eq!(read, frame);

    // The shape of an output comes back the same way.
    let shape = Shape::new(&[3, 5, 7]).unwrap();
    read.write_shape(&daemon.arena, 1, &shape);
    assert_eq!(frame.read_shape(client.arena.segment(), 1), Ok(shape));
    assert!(Frame::read(&daemon.arena, frame.offset(), frame.bytes(), HANDLE).is_ok());
    let rank = frame.offset() as usize + FRAME_HEADER_BYTES + 3 * FRAME_RECORD_BYTES + 16;
    vandal.write(rank, 9 << 8);
    let what = Place::Output(1);
    assert_eq!(
        frame.read_shape(client.arena.segment(), 1),
        Err(FrameProblem::Rank { what, rank: 9 })
    );
}

#[test]
fn a_client_is_told_before_the_daemon_has_to() {
    let Pair { client, .. } = pair(2);
    let loan = client.arena.loan(24_704).unwrap();
    let wrong = |inputs, outputs| match Frame::new(HANDLE, inputs, outputs).write(&loan) {
        Err(Error::Frame(problem)) => problem,
        other => panic!("{other:?}"),
    };
    let overlap = wrong(vec![], vec![place(loan.offset(), 64, DType::U8, &[64])]);
    let what = Place::Output(0);
    assert_eq!(
        overlap,
        FrameProblem::Overlap {
            what,
            other: Place::Frame
        }
    );
    assert_eq!(
        wrong(vec![None; 200], vec![None; 57]),
        FrameProblem::TooManyTensors { tensors: 257 }
    );
    let short = client.arena.loan(127).unwrap();
    let length = Frame::new(HANDLE, vec![None], vec![]).write(&short).unwrap_err();
    assert_eq!(length.to_string(), "a frame of 1 tensors has 128 bytes, not 127");
}
