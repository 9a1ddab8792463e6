//! Typestate 1: a loan that nobody has written yet.

use std::fmt;
use std::mem::MaybeUninit;

use crate::block::Block;
use crate::element::Element;
use crate::tensor_mut::TensorMut;
use crate::writer::Writer;
use crate::{DType, Error, Shape};

/// A loan whose bytes are not yet a tensor's: they may hold what an earlier tensor left there, perhaps another
/// client's, so they cannot be read until they have been written.
///
/// ```compile_fail,E0599
/// # use mlos_tensor_mem::{DType, Pool, PoolConfig, Shape};
/// # let pool = Pool::new(PoolConfig::default()).unwrap();
/// let loan = pool.loan(DType::F32, Shape::new(&[2]).unwrap()).unwrap();
/// loan.bytes(); // no such method before the tensor is written
/// ```
///
/// ```compile_fail,E0599
/// # use mlos_tensor_mem::{DType, Pool, PoolConfig, Shape};
/// # let pool = Pool::new(PoolConfig::default()).unwrap();
/// let loan = pool.loan(DType::F32, Shape::new(&[2]).unwrap()).unwrap();
/// loan.freeze(); // only a written tensor can be frozen
/// ```
#[must_use]
pub struct TensorUninit {
    pub(crate) block: Block,
    pub(crate) byte_len: usize,
    pub(crate) shape: Shape,
    pub(crate) dtype: DType,
}

impl TensorUninit {
    pub(crate) fn new(block: Block, dtype: DType, shape: Shape, byte_len: usize) -> Self {
        debug_assert!(
            block
                .base()
                .as_ptr()
                .addr()
                .is_multiple_of(crate::limits::ALIGN_BYTES)
        );
        Self {
            block,
            byte_len,
            shape,
            dtype,
        }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Its length in bytes.
    pub fn byte_len(&self) -> usize {
        self.byte_len
    }

    /// The first byte, for a foreign producer to write to. Valid for writes of [`byte_len`](Self::byte_len) bytes.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.block.base().as_ptr()
    }

    /// The bytes to be written.
    pub fn uninit_bytes(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: the block has at least `byte_len` bytes and is ours alone; MaybeUninit makes no claim about them.
        unsafe { std::slice::from_raw_parts_mut(self.block.base().as_ptr().cast(), self.byte_len) }
    }

    /// Writes the tensor from bytes of exactly its length.
    pub fn copy_from(mut self, bytes: &[u8]) -> Result<TensorMut, Error> {
        if bytes.len() != self.byte_len {
            return Err(Error::SizeMismatch {
                expected: self.byte_len,
                got: bytes.len(),
            });
        }
        // SAFETY: both are valid for that many bytes, and a loan that is ours cannot overlap a slice of the caller's.
        unsafe {
            self.as_mut_ptr()
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len())
        };
        // SAFETY: all bytes have just been written.
        Ok(unsafe { self.assume_init() })
    }

    /// Writes zeros. They are valid for every element type: 0, false, or as many empty strings as there is room for.
    pub fn zeroed(mut self) -> TensorMut {
        self.uninit_bytes().fill(MaybeUninit::new(0));
        // SAFETY: all bytes have just been written.
        unsafe { self.assume_init() }
    }

    /// A writer that takes one element after the other.
    pub fn writer<T: Element>(self) -> Result<Writer<T>, Error> {
        Writer::new(self)
    }

    /// A writer of its bytes, for a tensor that comes as it lies in memory, piece by piece.
    pub fn byte_writer(self) -> Writer<u8> {
        Writer::of_bytes(self)
    }

    /// Declares the bytes written.
    ///
    /// # Safety
    /// All [`byte_len`](Self::byte_len) bytes must have been written, by whatever means. (What they mean is checked
    /// where it matters: bools and strings are validated when they are read as such.)
    pub unsafe fn assume_init(self) -> TensorMut {
        TensorMut::new(self)
    }
}

impl fmt::Debug for TensorUninit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TensorUninit({} {})", self.dtype, self.shape)
    }
}
