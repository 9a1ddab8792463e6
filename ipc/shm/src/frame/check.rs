//! The checks that a frame must pass. They see words that nobody else can write, and numbers that may be anything.

use mlos_tensor_mem::{DType, Shape};

use super::wire::{HEADER_WORDS, Header, RECORD_WORDS, Record};
use super::{BadFrame, Frame, TensorPlace, TextArea};
use crate::layout::{self, LINE_BYTES};
use crate::{FrameProblem, Place, limits};

/// Bytes before each element of a string tensor.
const STRING_LEN_BYTES: u64 = 4;

/// Whether a frame can lie there, before anything of it is read.
pub(super) fn bounds(offset: u64, bytes: u32, arena_bytes: u64) -> Result<(), FrameProblem> {
    let bytes = u64::from(bytes);
    if !offset.is_multiple_of(LINE_BYTES as u64) {
        let what = Place::Frame;
        return Err(FrameProblem::Unaligned { what, offset });
    }
    if !fits(offset, bytes, arena_bytes) {
        return Err(FrameProblem::OutsideArena {
            offset,
            bytes,
            arena_bytes,
        });
    }
    // The least and the most, before so much is copied out; the exact length is held against the header.
    let most = layout::frame_bytes(limits::FRAME_TENSORS_MAX as usize) as u64;
    let is_whole = bytes.is_multiple_of(size_of::<u64>() as u64);
    if bytes < layout::FRAME_HEADER_BYTES as u64 || bytes > most || !is_whole {
        return Err(FrameProblem::Length {
            tensors: 0,
            expected: layout::FRAME_HEADER_BYTES as u64,
            got: bytes,
        });
    }
    Ok(())
}

/// Everything else.
pub(super) fn check(words: &[u64], offset: u64, handle: u32, arena_bytes: u64) -> Result<Frame, BadFrame> {
    let bad = |text| move |problem| BadFrame { problem, text };
    let (header, records) = split(words).map_err(bad(None))?;
    let text = text(&header, arena_bytes).map_err(bad(None))?;
    let frame = Frame {
        handle,
        inputs: Vec::with_capacity(header.inputs.into()),
        outputs: Vec::with_capacity(header.outputs.into()),
        text,
        offset,
    };
    // An area that lies in the frame's own way is not used, even to say so.
    let usable = text.filter(|text| !meets(text, offset, size_of_val(words) as u64));
    fill(frame, &header, records, arena_bytes).map_err(bad(usable))
}

fn split(words: &[u64]) -> Result<(Header, &[u64]), FrameProblem> {
    let short = FrameProblem::Length {
        tensors: 0,
        expected: layout::FRAME_HEADER_BYTES as u64,
        got: size_of_val(words) as u64,
    };
    let (header, records) = words.split_first_chunk::<HEADER_WORDS>().ok_or(short)?;
    Ok((Header::read(header), records))
}

fn text(header: &Header, arena_bytes: u64) -> Result<Option<TextArea>, FrameProblem> {
    let (offset, capacity) = (header.text_offset, header.text_capacity);
    if capacity == 0 {
        return Ok(None);
    }
    if capacity > limits::TEXT_BYTES_MAX {
        return Err(FrameProblem::TextTooLarge { got: capacity });
    }
    if !fits(offset, capacity.into(), arena_bytes) {
        return Err(FrameProblem::TensorOutsideArena {
            what: Place::Text,
            offset,
            bytes: capacity.into(),
            arena_bytes,
        });
    }
    Ok(Some(TextArea { offset, capacity }))
}

fn meets(text: &TextArea, offset: u64, bytes: u64) -> bool {
    // Neither sum overflows: both ranges lie in the arena.
    text.offset < offset + bytes && offset < text.offset + u64::from(text.capacity)
}

fn fill(mut frame: Frame, header: &Header, records: &[u64], arena_bytes: u64) -> Result<Frame, FrameProblem> {
    if header.reserved != 0 {
        return Err(FrameProblem::Reserved { what: Place::Frame });
    }
    if header.handle != frame.handle {
        return Err(FrameProblem::Handle {
            frame: header.handle,
            request: frame.handle,
        });
    }
    let tensors = u32::from(header.inputs) + u32::from(header.outputs);
    if tensors > limits::FRAME_TENSORS_MAX {
        return Err(FrameProblem::TooManyTensors { tensors });
    }
    let expected = layout::frame_bytes(tensors as usize);
    let got = layout::FRAME_HEADER_BYTES + size_of_val(records);
    if got != expected {
        let (expected, got) = (expected as u64, got as u64);
        return Err(FrameProblem::Length {
            tensors,
            expected,
            got,
        });
    }
    let (records, _) = records.as_chunks::<RECORD_WORDS>();
    let (inputs, outputs) = records.split_at(header.inputs.into());
    for (at, record) in (0..).zip(inputs) {
        frame.inputs.push(tensor(record, Place::Input(at), arena_bytes)?);
    }
    for (at, record) in (0..).zip(outputs) {
        frame
            .outputs
            .push(tensor(record, Place::Output(at), arena_bytes)?);
    }
    no_overlap(&frame)?;
    Ok(frame)
}

fn tensor(
    words: &[u64; RECORD_WORDS],
    what: Place,
    arena_bytes: u64,
) -> Result<Option<TensorPlace>, FrameProblem> {
    let record = Record::read(words);
    match record.present {
        0 => return Ok(None),
        1 => {}
        _ => return Err(FrameProblem::Reserved { what }),
    }
    if record.reserved != 0 {
        return Err(FrameProblem::Reserved { what });
    }
    let (offset, bytes) = (record.offset, record.bytes);
    if !offset.is_multiple_of(LINE_BYTES as u64) {
        return Err(FrameProblem::Unaligned { what, offset });
    }
    if !fits(offset, bytes, arena_bytes) {
        return Err(FrameProblem::TensorOutsideArena {
            what,
            offset,
            bytes,
            arena_bytes,
        });
    }
    let number = record.dtype;
    let dtype = DType::from_u8(number).ok_or(FrameProblem::DType { what, number })?;
    let shape = record.shape(what)?;
    if let Some(shape) = &shape {
        shape_fits(shape, dtype, bytes, what)?;
    }
    Ok(Some(TensorPlace {
        offset,
        bytes,
        dtype,
        shape,
    }))
}

/// An input has the bytes of its shape, an output at least; strings at least their lengths.
fn shape_fits(shape: &Shape, dtype: DType, got: u64, what: Place) -> Result<(), FrameProblem> {
    let overflow = || FrameProblem::ShapeOverflow { what };
    let needed = match dtype {
        DType::String => {
            let elements = shape.elements().map_err(|_| overflow())? as u64;
            elements.checked_mul(STRING_LEN_BYTES).ok_or_else(overflow)?
        }
        _ => shape.byte_len(dtype).map_err(|_| overflow())? as u64,
    };
    let exactly = matches!(what, Place::Input(_)) && dtype != DType::String;
    if needed > got || (exactly && needed != got) {
        return Err(FrameProblem::ShapeBytes { what, needed, got });
    }
    Ok(())
}

/// Nothing that is written shares memory with anything else of the frame. Inputs may share: they are only read.
fn no_overlap(frame: &Frame) -> Result<(), FrameProblem> {
    let mut spans = spans(frame);
    spans.sort_unstable_by_key(|span| span.start);
    // In order of their starts, a span meets an earlier one just if it starts before the farthest end so far.
    let (mut read, mut written) = ((0, Place::Frame), (0, Place::Frame));
    for span in spans {
        let (reach, other) = if span.is_written && read.0 > written.0 {
            read
        } else {
            written
        };
        if span.start < reach {
            return Err(overlap(span.what, other));
        }
        let farthest = if span.is_written { &mut written } else { &mut read };
        if span.end > farthest.0 {
            *farthest = (span.end, span.what);
        }
    }
    Ok(())
}

/// The output is named first: it is the one that may not.
fn overlap(a: Place, b: Place) -> FrameProblem {
    match (a, b) {
        (Place::Output(_), _) => FrameProblem::Overlap { what: a, other: b },
        (_, Place::Output(_)) | (_, Place::Text) => FrameProblem::Overlap { what: b, other: a },
        _ => FrameProblem::Overlap { what: a, other: b },
    }
}

struct Span {
    start: u64,
    end: u64,
    what: Place,
    is_written: bool,
}

/// Every range that has any bytes.
fn spans(frame: &Frame) -> Vec<Span> {
    // No sum overflows: every range was found to lie in the arena.
    let span = |offset: u64, bytes: u64, what: Place| Span {
        start: offset,
        end: offset + bytes,
        what,
        is_written: matches!(what, Place::Output(_) | Place::Text),
    };
    let tensor = |place: fn(u32) -> Place| {
        move |(at, tensor): (u32, &Option<TensorPlace>)| tensor.map(|it| span(it.offset, it.bytes, place(at)))
    };
    let text = frame
        .text
        .map(|text| span(text.offset, text.capacity.into(), Place::Text));
    let inputs = (0..).zip(&frame.inputs).filter_map(tensor(Place::Input));
    let outputs = (0..).zip(&frame.outputs).filter_map(tensor(Place::Output));
    std::iter::once(span(frame.offset, frame.bytes().into(), Place::Frame))
        .chain(text)
        .chain(inputs)
        .chain(outputs)
        .filter(|span| span.start < span.end)
        .collect()
}

fn fits(offset: u64, bytes: u64, arena_bytes: u64) -> bool {
    offset.checked_add(bytes).is_some_and(|end| end <= arena_bytes)
}
