//! Frames: which tensors a binding is made of, and where in the arena they lie.
//!
//! A client [writes](Frame::write) a frame into the arena and binds it; the daemon [reads](Frame::read) it once: it
//! copies the words out and checks the copy, so that what it goes by cannot change any more.

mod check;
mod wire;

use mlos_tensor_mem::{DType, Segment, Shape};

use crate::arena::Loan;
use crate::layout::{self, FRAME_RECORD_BYTES};
use crate::{Error, FrameProblem, Place, limits, words};

/// Where a tensor lies in the arena, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorPlace {
    /// Its first byte; a multiple of 64.
    pub offset: u64,
    /// Its length; for an output, the room for it.
    pub bytes: u64,
    /// Its elements.
    pub dtype: DType,
    /// Its shape; for an output, the one expected, or `None` when only the model knows.
    pub shape: Option<Shape>,
}

/// Where the daemon may write the text of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextArea {
    /// Its first byte.
    pub offset: u64,
    /// Its length in bytes; never 0.
    pub capacity: u32,
}

/// A frame: from [`read`](Self::read), one whose every number was checked against the arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The model, as `Opened` named it.
    pub handle: u32,
    /// The model's inputs in their order; `None` for one that is left out.
    pub inputs: Vec<Option<TensorPlace>>,
    /// The model's outputs in their order; `None` for one that is not wanted.
    pub outputs: Vec<Option<TensorPlace>>,
    /// Room for text, if there is any.
    pub text: Option<TextArea>,
    /// Where the frame itself lies.
    offset: u64,
}

/// A frame that is refused, and where the daemon may say why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct BadFrame {
    /// Why.
    pub problem: FrameProblem,
    /// The frame's text area, if that much of it was right.
    pub text: Option<TextArea>,
}

impl Frame {
    /// A frame that is not in an arena yet.
    #[must_use]
    pub fn new(handle: u32, inputs: Vec<Option<TensorPlace>>, outputs: Vec<Option<TensorPlace>>) -> Self {
        Self {
            handle,
            inputs,
            outputs,
            text: None,
            offset: 0,
        }
    }

    /// Client: writes the frame to the start of a loan; what the loan has beyond [`bytes`](Self::bytes), up to
    /// [`TEXT_BYTES_MAX`](limits::TEXT_BYTES_MAX), becomes the text area. It is checked as the daemon will check it.
    pub fn write(&mut self, loan: &Loan) -> Result<(), Error> {
        let bytes = self.bytes();
        let room = (loan.len() as u64).checked_sub(u64::from(bytes));
        let room = room.ok_or(FrameProblem::Length {
            tensors: self.tensors(),
            expected: bytes.into(),
            got: loan.len() as u64,
        })?;
        self.offset = loan.offset();
        self.text = u32::try_from(room.min(limits::TEXT_BYTES_MAX.into()))
            .ok()
            .filter(|capacity| *capacity > 0)
            .map(|capacity| TextArea {
                offset: self.offset + u64::from(bytes),
                capacity,
            });
        let words = wire::write(self)?;
        let segment = loan.segment();
        check::check(&words, self.offset, self.handle, segment.len() as u64).map_err(|bad| bad.problem)?;
        words::store(segment, self.offset as usize, &words);
        Ok(())
    }

    /// Daemon: copies a frame out of the arena and checks it. `handle` is the request's.
    pub fn read(arena: &Segment, offset: u64, bytes: u32, handle: u32) -> Result<Self, BadFrame> {
        let arena_bytes = arena.len() as u64;
        check::bounds(offset, bytes, arena_bytes).map_err(|problem| BadFrame { problem, text: None })?;
        let words = words::load(arena, offset as usize, bytes as usize / size_of::<u64>());
        check::check(&words, offset, handle, arena_bytes)
    }

    /// The checks of [`read`](Self::read) on words that were copied out already: for fuzzing and tests.
    pub fn check(words: &[u64], offset: u64, handle: u32, arena_bytes: u64) -> Result<Self, BadFrame> {
        let bytes = u32::try_from(size_of_val(words)).unwrap_or(u32::MAX);
        check::bounds(offset, bytes, arena_bytes).map_err(|problem| BadFrame { problem, text: None })?;
        check::check(words, offset, handle, arena_bytes)
    }

    /// Where it lies in the arena.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Its length in the arena, without the text area: what `Bind` says.
    #[must_use]
    pub fn bytes(&self) -> u32 {
        layout::frame_bytes(self.inputs.len() + self.outputs.len()) as u32
    }

    /// Inputs and outputs together.
    fn tensors(&self) -> u32 {
        (self.inputs.len() + self.outputs.len()) as u32
    }

    /// Daemon: says an output's true shape in its record. Publish the response after it, with
    /// [`FLAG_SHAPES_WRITTEN`](layout::FLAG_SHAPES_WRITTEN).
    ///
    /// # Panics
    /// When the frame has no such output.
    pub fn write_shape(&self, arena: &Segment, output: usize, shape: &Shape) {
        wire::write_shape(arena, self.record_offset(output), shape);
    }

    /// Client: the shape of an output that the daemon has written.
    ///
    /// # Panics
    /// When the frame has no such output.
    pub fn read_shape(&self, arena: &Segment, output: usize) -> Result<Shape, FrameProblem> {
        wire::read_shape(arena, self.record_offset(output), Place::Output(output as u32))
    }

    fn record_offset(&self, output: usize) -> usize {
        assert!(output < self.outputs.len(), "the frame has no output {output}");
        let record = self.inputs.len() + output;
        self.offset as usize + layout::FRAME_HEADER_BYTES + record * FRAME_RECORD_BYTES
    }
}

impl TextArea {
    /// Daemon: writes as much of a text as there is room for, cut between characters. Returns the bytes written.
    pub fn write(&self, arena: &Segment, text: &str) -> u32 {
        let cut = text.floor_char_boundary(self.capacity as usize);
        words::store_bytes(arena, self.offset as usize, &text.as_bytes()[..cut]);
        cut as u32
    }

    /// Client: the text that the daemon says is there. Whatever is not UTF-8 is replaced.
    #[must_use]
    pub fn read(&self, arena: &Segment, bytes: u32) -> String {
        let bytes = bytes.min(self.capacity) as usize;
        String::from_utf8_lossy(&words::load_bytes(arena, self.offset as usize, bytes)).into_owned()
    }
}
