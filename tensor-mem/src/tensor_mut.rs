//! Typestate 2: a tensor that is written and still ours alone.

use std::fmt;

use crate::element::Element;
use crate::tensor::Tensor;
use crate::uninit::TensorUninit;
use crate::{DType, Error, Shape};

/// A tensor with one owner, who may change it. [`freeze`](Self::freeze) makes it shareable, and consumes it:
///
/// ```compile_fail,E0382
/// # use mlos_tensor_mem::{DType, Pool, PoolConfig, Shape};
/// # let pool = Pool::new(PoolConfig::default()).unwrap();
/// let mut tensor = pool.loan(DType::F32, Shape::new(&[2]).unwrap()).unwrap().zeroed();
/// let frozen = tensor.freeze();
/// tensor.bytes_mut()[0] = 1; // moved: nobody writes what others read
/// ```
///
/// ```compile_fail,E0599
/// # use mlos_tensor_mem::{DType, Pool, PoolConfig, Shape};
/// # let pool = Pool::new(PoolConfig::default()).unwrap();
/// let tensor = pool.loan(DType::F32, Shape::new(&[2]).unwrap()).unwrap().zeroed();
/// let other = tensor.clone(); // not Clone: two writers
/// ```
pub struct TensorMut {
    loan: TensorUninit,
}

impl TensorMut {
    pub(crate) fn new(loan: TensorUninit) -> Self {
        Self { loan }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.loan.dtype
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.loan.shape
    }

    /// Its length in bytes.
    pub fn byte_len(&self) -> usize {
        self.loan.byte_len
    }

    /// The first byte.
    pub fn as_ptr(&self) -> *const u8 {
        self.loan.block.base().as_ptr()
    }

    /// The first byte, for writing.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.loan.as_mut_ptr()
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the block has `byte_len` bytes, all written before this type was made, and only `&mut self` writes.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.loan.byte_len) }
    }

    /// The bytes, for writing.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `bytes`, and the block is ours alone.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr(), self.loan.byte_len) }
    }

    /// The elements.
    pub fn as_slice<T: Element>(&self) -> Result<&[T], Error> {
        let len = elements::<T>(self.dtype(), self.bytes())?;
        // SAFETY: the bytes are values of T (type agreed and `check`ed), `len` of them, and blocks are aligned.
        Ok(unsafe { std::slice::from_raw_parts(self.as_ptr().cast(), len) })
    }

    /// The elements, for writing.
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T], Error> {
        let len = elements::<T>(self.dtype(), self.bytes())?;
        // SAFETY: as for `as_slice`, and the block is ours alone. Every T is valid bytes.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr().cast(), len) })
    }

    /// The same elements under another shape.
    pub fn reshape(mut self, shape: Shape) -> Result<Self, Error> {
        check_reshape(self.shape(), &shape)?;
        self.loan.shape = shape;
        Ok(self)
    }

    /// Makes it immutable, to be shared by clones and views.
    pub fn freeze(self) -> Tensor {
        Tensor::new(self.loan)
    }
}

impl fmt::Debug for TensorMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TensorMut({} {})", self.dtype(), self.shape())
    }
}

/// How many elements of type T these bytes are, if they are of type T.
pub(crate) fn elements<T: Element>(dtype: DType, bytes: &[u8]) -> Result<usize, Error> {
    if dtype != T::DTYPE {
        return Err(Error::DTypeMismatch {
            expected: dtype,
            got: T::DTYPE,
        });
    }
    T::check(bytes)?;
    Ok(bytes.len() / size_of::<T>())
}

pub(crate) fn check_reshape(from: &Shape, to: &Shape) -> Result<(), Error> {
    let (from, to) = (from.elements()?, to.elements()?);
    if from == to {
        Ok(())
    } else {
        Err(Error::ElementsMismatch { from, to })
    }
}
