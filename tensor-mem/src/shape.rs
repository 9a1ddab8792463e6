//! Shapes: a few dimensions, held inline.

use std::fmt;

use crate::limits::{RANK_MAX, TENSOR_BYTES_MAX};
use crate::{DType, Error};

/// The dimensions of a tensor, outermost first. No dimensions is a scalar; a dimension of 0 is an empty tensor.
#[derive(Clone, Copy)]
pub struct Shape {
    dims: [usize; RANK_MAX],
    rank: u8,
}

impl Shape {
    /// The shape of a single value.
    pub const SCALAR: Self = Self {
        dims: [0; RANK_MAX],
        rank: 0,
    };

    /// A shape of these dimensions, at most [`RANK_MAX`]. Sizes are checked by [`elements`](Self::elements).
    pub const fn new(dims: &[usize]) -> Result<Self, Error> {
        if dims.len() > RANK_MAX {
            return Err(Error::TooManyDims { rank: dims.len() });
        }
        let mut inline = [0; RANK_MAX];
        let mut axis = 0;
        while axis < dims.len() {
            inline[axis] = dims[axis];
            axis += 1;
        }
        Ok(Self {
            dims: inline,
            rank: dims.len() as u8,
        })
    }

    /// The dimensions, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims[..usize::from(self.rank)]
    }

    /// How many dimensions there are.
    pub fn rank(&self) -> usize {
        usize::from(self.rank)
    }

    /// How many elements a tensor of this shape has: the product of its dimensions, 1 for a scalar.
    pub fn elements(&self) -> Result<usize, Error> {
        self.elements_of(DType::U8)
    }

    /// How many bytes a tensor of this shape and fixed-size element type has.
    pub fn byte_len(&self, dtype: DType) -> Result<usize, Error> {
        let size = dtype.size_bytes().ok_or(Error::StringsNeedByteLen)?;
        let bytes = self.elements_of(dtype)?.checked_mul(size);
        bytes
            .filter(|&bytes| bytes <= TENSOR_BYTES_MAX)
            .ok_or_else(|| self.overflow(dtype))
    }

    /// This shape with another outermost dimension, the one along which tensors are batched. A scalar becomes `[n]`.
    #[must_use]
    pub const fn with_dim0(mut self, n: usize) -> Self {
        self.dims[0] = n;
        if self.rank == 0 {
            self.rank = 1;
        }
        self
    }

    fn elements_of(&self, dtype: DType) -> Result<usize, Error> {
        // An empty tensor is empty however large its other dimensions are, so zero is looked for first.
        if self.dims().contains(&0) {
            return Ok(0);
        }
        let product = self
            .dims()
            .iter()
            .try_fold(1_usize, |product, &dim| product.checked_mul(dim));
        product
            .filter(|&elements| elements <= TENSOR_BYTES_MAX)
            .ok_or_else(|| self.overflow(dtype))
    }

    fn overflow(&self, dtype: DType) -> Error {
        Error::ShapeOverflow {
            dims: self.dims().into(),
            dtype,
        }
    }
}

impl PartialEq for Shape {
    fn eq(&self, other: &Self) -> bool {
        self.dims() == other.dims()
    }
}

impl Eq for Shape {}

impl std::hash::Hash for Shape {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.dims().hash(state);
    }
}

impl TryFrom<&[usize]> for Shape {
    type Error = Error;

    fn try_from(dims: &[usize]) -> Result<Self, Error> {
        Self::new(dims)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Dims(self.dims()), f)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Dims(self.dims()), f)
    }
}

/// Dimensions as people write them: `[1, 3, 224, 224]`.
pub(crate) struct Dims<'a>(pub(crate) &'a [usize]);

impl fmt::Display for Dims<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The same on one line in `{:#}`, unlike a slice's Debug.
        f.write_str("[")?;
        for (axis, dim) in self.0.iter().enumerate() {
            let comma = if axis == 0 { "" } else { ", " };
            write!(f, "{comma}{dim}")?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_at_boundaries() {
        let max = usize::MAX;
        for (dims, elements) in [
            (&[][..], Some(1)),
            (&[0], Some(0)),
            (&[0, 3], Some(0)),
            (&[max, max, 0], Some(0)),
            (&[1, 3, 224, 224], Some(150_528)),
            (&[TENSOR_BYTES_MAX], Some(TENSOR_BYTES_MAX)),
            (&[TENSOR_BYTES_MAX + 1], None),
            (&[1 << 32, 1 << 32], None),
            (&[max, 2], None),
            (&[1, 1, 1, 1, 1, 1, 1, 7], Some(7)),
        ] {
            let got = Shape::new(dims).unwrap().elements();
            match elements {
                Some(n) => assert_eq!(got.unwrap(), n, "{dims:?}"),
                None => assert!(matches!(got, Err(Error::ShapeOverflow { .. })), "{dims:?}"),
            }
        }
        assert!(matches!(Shape::new(&[1; 9]), Err(Error::TooManyDims { rank: 9 })));
    }

    #[test]
    fn bytes_overflow_where_elements_do_not() {
        let shape = Shape::new(&[TENSOR_BYTES_MAX / 4]).unwrap();
        assert_eq!(shape.byte_len(DType::F32).unwrap(), TENSOR_BYTES_MAX);
        let error = shape.byte_len(DType::F64).unwrap_err();
        assert_eq!(
            error.to_string(),
            "shape [17592186044416] of float64 is too large to address"
        );
        assert!(matches!(
            shape.byte_len(DType::String),
            Err(Error::StringsNeedByteLen)
        ));
    }

    #[test]
    fn display_and_batch_dimension() {
        let shape = Shape::new(&[1, 3, 224, 224]).unwrap();
        assert_eq!(shape.to_string(), "[1, 3, 224, 224]");
        assert_eq!(format!("{shape:#?}"), "[1, 3, 224, 224]");
        assert_eq!(shape.with_dim0(8).dims(), [8, 3, 224, 224]);
        assert_eq!(Shape::SCALAR.to_string(), "[]");
        assert_eq!(Shape::SCALAR.with_dim0(4), Shape::new(&[4]).unwrap());
    }
}
