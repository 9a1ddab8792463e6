//! The memory of one binding. It is the client's or the daemon's, and is moved between them whole.

use mlos_shm::{Arena, Frame, Loan, Response, Shape, TensorPlace, layout};

use crate::model::Signature;
use crate::{Direction, Error, limits};

/// Loans for all tensors of a request, and the frame that names them.
#[derive(Debug)]
pub(crate) struct Tensors {
    pub binding: u32,
    pub inputs: Vec<Option<Part>>,
    pub outputs: Vec<Option<Part>>,
    pub frame: Frame,
    frame_loan: Loan,
    /// The frame has changed since it was bound.
    pub is_stale: bool,
    /// The daemon has written shapes into the frame.
    has_shapes: bool,
}

/// One tensor.
#[derive(Debug)]
pub(crate) struct Part {
    pub loan: Loan,
    /// Bytes of the loan that are the tensor's; all of it but for inputs of strings.
    pub used: usize,
    /// As it is now; for an output of unknown shape, `None` until the daemon has said it.
    pub shape: Option<Shape>,
}

impl Tensors {
    /// Writes the frame for tensors that were laid out.
    pub(crate) fn new(
        arena: &Arena,
        signature: &Signature,
        binding: u32,
        inputs: Vec<Option<Part>>,
        outputs: Vec<Option<Part>>,
    ) -> Result<Self, Error> {
        let places = |parts: &[Option<Part>], direction| -> Vec<Option<TensorPlace>> {
            let infos = signature.tensors(direction);
            let parts = parts.iter().zip(infos);
            let place = |part: &Part, dtype| TensorPlace {
                offset: part.loan.offset(),
                bytes: part.used as u64,
                dtype,
                shape: part.shape,
            };
            parts
                .map(|(part, info)| part.as_ref().map(|part| place(part, info.dtype)))
                .collect()
        };
        let frame = Frame::new(
            signature.handle,
            places(&inputs, Direction::Input),
            places(&outputs, Direction::Output),
        );
        let frame_loan = arena.loan(frame.bytes() as usize + limits::TEXT_BYTES)?;
        let mut tensors = Self {
            binding,
            inputs,
            outputs,
            frame,
            frame_loan,
            is_stale: true,
            has_shapes: false,
        };
        tensors.write_frame()?;
        Ok(tensors)
    }

    /// Lays the frame down again.
    pub(crate) fn write_frame(&mut self) -> Result<(), Error> {
        self.frame.write(&self.frame_loan)?;
        self.has_shapes = false;
        Ok(())
    }

    /// Undoes what the daemon wrote into the frame, so that what stands there after the next run is of that run.
    pub(crate) fn prepare(&mut self) -> Result<(), Error> {
        if !self.has_shapes {
            return Ok(());
        }
        for (part, place) in self.outputs.iter_mut().zip(&self.frame.outputs) {
            if let (Some(part), Some(place)) = (part, place) {
                part.shape = place.shape;
            }
        }
        self.write_frame()
    }

    /// Reads what the daemon says of the outputs.
    pub(crate) fn read_shapes(&mut self, response: &Response) -> Result<(), Error> {
        if response.flags & layout::FLAG_SHAPES_WRITTEN == 0 {
            return Ok(());
        }
        self.has_shapes = true;
        let segment = self.frame_loan.segment();
        for (at, part) in self.outputs.iter_mut().enumerate() {
            if let Some(part) = part {
                let shape = self
                    .frame
                    .read_shape(segment, at)
                    .map_err(mlos_shm::Error::from)?;
                part.shape = Some(shape);
            }
        }
        Ok(())
    }

    /// The error that a response stands for.
    pub(crate) fn refusal(&self, response: &Response) -> Error {
        let text = self.frame.text.filter(|_| response.text_bytes > 0);
        let text = text.map(|area| area.read(self.frame_loan.segment(), response.text_bytes));
        Error::Refused {
            status: response.status,
            text: text.unwrap_or_else(|| format!("the daemon answered {}", response.status.name())),
        }
    }
}
