//! What a run gave, where the model wrote it.

use mlos_shm::{DType, Element, Shape};

use crate::model::Signature;
use crate::tensors::{Part, Tensors};
use crate::terms::Timing;
use crate::{Direction, Error, strings};

/// The outputs of a run that succeeded. As long as they are looked at, the request cannot run again.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    signature: &'a Signature,
    tensors: &'a Tensors,
    timing: Timing,
}

impl<'a> Outputs<'a> {
    pub(crate) fn new(signature: &'a Signature, tensors: &'a Tensors, timing: Timing) -> Self {
        Self {
            signature,
            tensors,
            timing,
        }
    }

    /// How the run was served.
    #[must_use]
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// An output's elements.
    ///
    /// # Errors
    /// There is no such output, it was left out, or has another type.
    pub fn get<E: Element>(&self, name: &str) -> Result<&'a [E], Error> {
        self.at(self.signature.position(Direction::Output, name)?)
    }

    /// The same by position.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Panics
    /// When the model has no so many outputs.
    pub fn at<E: Element>(&self, at: usize) -> Result<&'a [E], Error> {
        let info = &self.signature.outputs[at];
        if info.dtype != E::DTYPE {
            return Err(Error::WrongType {
                direction: Direction::Output,
                name: info.name.clone(),
                expected: info.dtype,
                got: E::DTYPE,
            });
        }
        let (part, shape) = self.part(at)?;
        let elements = part.loan.elements::<E>()?;
        let count = shape.elements().ok();
        count
            .and_then(|count| elements.get(..count))
            .ok_or_else(|| self.bad(at, "its shape is larger than its memory"))
    }

    /// An output's bytes. Of strings, all of the room for them.
    ///
    /// # Errors
    /// There is no such output, or it was left out.
    pub fn bytes(&self, name: &str) -> Result<&'a [u8], Error> {
        let at = self.signature.position(Direction::Output, name)?;
        let (part, shape) = self.part(at)?;
        let dtype = self.signature.outputs[at].dtype;
        let bytes = part.loan.bytes();
        if dtype == DType::String {
            return Ok(bytes);
        }
        let len = shape.byte_len(dtype).ok();
        len.and_then(|len| bytes.get(..len))
            .ok_or_else(|| self.bad(at, "its shape is larger than its memory"))
    }

    /// The elements of a string output.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn strings(&self, name: &str) -> Result<Vec<&'a [u8]>, Error> {
        let at = self.signature.position(Direction::Output, name)?;
        let info = &self.signature.outputs[at];
        if info.dtype != DType::String {
            return Err(Error::WrongType {
                direction: Direction::Output,
                name: name.to_owned(),
                expected: info.dtype,
                got: DType::String,
            });
        }
        let (part, shape) = self.part(at)?;
        let elements = shape.elements().unwrap_or(usize::MAX);
        strings::unpack(part.loan.bytes(), elements).map_err(|problem| self.bad(at, problem))
    }

    /// An output's shape, as this run has it.
    ///
    /// # Errors
    /// There is no such output, or it was left out.
    pub fn shape(&self, name: &str) -> Result<Shape, Error> {
        let at = self.signature.position(Direction::Output, name)?;
        self.part(at).map(|(_, shape)| shape)
    }

    fn part(&self, at: usize) -> Result<(&'a Part, Shape), Error> {
        let part = self.tensors.outputs[at].as_ref().ok_or_else(|| Error::LeftOut {
            direction: Direction::Output,
            name: self.signature.outputs[at].name.clone(),
        })?;
        let shape = part
            .shape
            .ok_or_else(|| self.bad(at, "the daemon did not say its shape"))?;
        Ok((part, shape))
    }

    fn bad(&self, at: usize, problem: &'static str) -> Error {
        Error::BadOutput {
            name: self.signature.outputs[at].name.clone(),
            problem,
        }
    }
}
