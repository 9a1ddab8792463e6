//! A frame in words, as the layout says.

use mlos_tensor_mem::{Segment, Shape};

use super::{Frame, TensorPlace};
use crate::layout::{FRAME_HEADER_BYTES, FRAME_RECORD_BYTES, RANK_UNKNOWN};
use crate::{FrameProblem, Place, limits, words};

/// Words of a frame's header.
pub(super) const HEADER_WORDS: usize = FRAME_HEADER_BYTES / size_of::<u64>();
/// Words of a record.
pub(super) const RECORD_WORDS: usize = FRAME_RECORD_BYTES / size_of::<u64>();
/// The word of a record that holds element type, rank and presence; the dimensions follow it.
const KIND_WORD: usize = 2;
/// Dimensions in a record.
const DIMS: usize = 8;

/// The header, taken apart.
pub(super) struct Header {
    pub handle: u32,
    pub inputs: u16,
    pub outputs: u16,
    pub text_offset: u64,
    pub text_capacity: u32,
    pub reserved: u64,
}

impl Header {
    pub(super) fn read(words: &[u64; HEADER_WORDS]) -> Self {
        Self {
            handle: words[0] as u32,
            inputs: (words[0] >> 32) as u16,
            outputs: (words[0] >> 48) as u16,
            text_offset: words[1],
            text_capacity: words[2] as u32,
            reserved: words[2] >> 32 | words[3],
        }
    }
}

/// A record, taken apart.
pub(super) struct Record {
    pub offset: u64,
    pub bytes: u64,
    pub dtype: u8,
    pub rank: u8,
    pub present: u8,
    pub reserved: u64,
    pub dims: [u64; DIMS],
}

impl Record {
    pub(super) fn read(words: &[u64; RECORD_WORDS]) -> Self {
        let kind = words[KIND_WORD];
        Self {
            offset: words[0],
            bytes: words[1],
            dtype: kind as u8,
            rank: (kind >> 8) as u8,
            present: (kind >> 16) as u8,
            reserved: kind >> 24 | words[RECORD_WORDS - 1],
            dims: std::array::from_fn(|at| words[KIND_WORD + 1 + at]),
        }
    }

    /// The shape that the record says, if it says one.
    pub(super) fn shape(&self, what: Place) -> Result<Option<Shape>, FrameProblem> {
        if self.rank == RANK_UNKNOWN && matches!(what, Place::Output(_)) {
            return Ok(None);
        }
        shape(self.rank, &self.dims, what).map(Some)
    }
}

fn shape(rank: u8, dims: &[u64; DIMS], what: Place) -> Result<Shape, FrameProblem> {
    let dims = dims
        .get(..usize::from(rank))
        .ok_or(FrameProblem::Rank { what, rank })?;
    let mut wide = [0_usize; DIMS];
    for (wide, dim) in wide.iter_mut().zip(dims) {
        *wide = usize::try_from(*dim).map_err(|_| FrameProblem::ShapeOverflow { what })?;
    }
    Shape::new(&wide[..dims.len()]).map_err(|_| FrameProblem::Rank { what, rank })
}

/// The frame's words, header first.
pub(super) fn write(frame: &Frame) -> Result<Vec<u64>, FrameProblem> {
    let tensors = frame.tensors();
    if tensors > limits::FRAME_TENSORS_MAX {
        return Err(FrameProblem::TooManyTensors { tensors });
    }
    // Both fit: together they are at most FRAME_TENSORS_MAX.
    let (inputs, outputs) = (frame.inputs.len() as u64, frame.outputs.len() as u64);
    let (text_offset, text_capacity) = frame.text.map_or((0, 0), |text| (text.offset, text.capacity));
    let mut words = vec![
        u64::from(frame.handle) | inputs << 32 | outputs << 48,
        text_offset,
        text_capacity.into(),
        0,
    ];
    for place in frame.inputs.iter().chain(&frame.outputs) {
        words.extend(place.as_ref().map_or([0; RECORD_WORDS], record));
    }
    Ok(words)
}

fn record(place: &TensorPlace) -> [u64; RECORD_WORDS] {
    let mut words = [0; RECORD_WORDS];
    let rank = place.shape.map_or(RANK_UNKNOWN, |shape| shape.rank() as u8);
    words[0] = place.offset;
    words[1] = place.bytes;
    words[KIND_WORD] = u64::from(place.dtype as u8) | u64::from(rank) << 8 | 1 << 16;
    if let Some(shape) = place.shape {
        write_dims(&mut words[KIND_WORD + 1..], &shape);
    }
    words
}

fn write_dims(words: &mut [u64], shape: &Shape) {
    for (word, dim) in words.iter_mut().zip(shape.dims()) {
        *word = *dim as u64;
    }
}

/// Puts rank and dimensions into a record that lies in the arena.
pub(super) fn write_shape(arena: &Segment, record_offset: usize, shape: &Shape) {
    let mut dims = [0; DIMS];
    write_dims(&mut dims, shape);
    let at = record_offset + KIND_WORD * size_of::<u64>();
    words::store_bytes(arena, at + 1, &[shape.rank() as u8]);
    words::store(arena, at + size_of::<u64>(), &dims);
}

/// Rank and dimensions of a record that lies in the arena.
pub(super) fn read_shape(arena: &Segment, record_offset: usize, what: Place) -> Result<Shape, FrameProblem> {
    let words = words::load(arena, record_offset, RECORD_WORDS);
    let rank = (words[KIND_WORD] >> 8) as u8;
    shape(rank, &std::array::from_fn(|at| words[KIND_WORD + 1 + at]), what)
}
