//! Writing a tensor one element at a time.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use crate::element::Element;
use crate::tensor::Tensor;
use crate::tensor_mut::TensorMut;
use crate::uninit::TensorUninit;
use crate::{DType, Error, racy};

/// More elements were pushed than the shape has. Becomes [`Error::Full`]; a type of its own because `push` returns it in a
/// register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more elements than the tensor's shape has")]
pub struct Full;

impl From<Full> for Error {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

/// Fills a loan element by element: a bounds check and a store each, so that numbers can be parsed straight into it.
pub struct Writer<T: Element> {
    loan: TensorUninit,
    next: *mut T,
    end: *mut T,
    element: PhantomData<T>,
}

// SAFETY: the two pointers point into the loan that it owns, which may move between threads.
unsafe impl<T: Element> Send for Writer<T> {}
// SAFETY: through `&Writer` the pointers are compared only.
unsafe impl<T: Element> Sync for Writer<T> {}

impl<T: Element> Writer<T> {
    pub(crate) fn new(loan: TensorUninit) -> Result<Self, Error> {
        if loan.dtype != T::DTYPE {
            return Err(Error::DTypeMismatch {
                expected: loan.dtype,
                got: T::DTYPE,
            });
        }
        Ok(Self::over(loan))
    }

    /// `byte_len` of the loan must be a multiple of T's size: the types agree, or T is a byte.
    fn over(mut loan: TensorUninit) -> Self {
        debug_assert!(loan.byte_len.is_multiple_of(size_of::<T>()));
        let next = loan.as_mut_ptr().cast::<T>();
        // SAFETY: `byte_len` lies within the block.
        let end = unsafe { next.byte_add(loan.byte_len) };
        Self {
            loan,
            next,
            end,
            element: PhantomData,
        }
    }

    /// Writes the next element.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), Full> {
        if self.next == self.end {
            return Err(Full);
        }
        // SAFETY: `next` is before `end`, so it points to an element of the loan, aligned as blocks are.
        unsafe { self.next.write(value) };
        // SAFETY: at most one past the last element.
        self.next = unsafe { self.next.add(1) };
        Ok(())
    }

    /// Writes the next elements, all or none of them.
    pub fn extend_from_slice(&mut self, values: &[T]) -> Result<(), Full> {
        if values.len() > self.remaining() {
            return Err(Full);
        }
        // SAFETY: there is room for all of them, and a loan that is ours cannot overlap a slice of the caller's.
        unsafe { self.next.copy_from_nonoverlapping(values.as_ptr(), values.len()) };
        // SAFETY: at most one past the last element.
        self.next = unsafe { self.next.add(values.len()) };
        Ok(())
    }

    /// Elements still to be written.
    #[inline]
    pub fn remaining(&self) -> usize {
        (self.end.addr() - self.next.addr()) / size_of::<T>()
    }

    /// Elements written.
    pub fn written(&self) -> usize {
        self.loan.byte_len / size_of::<T>() - self.remaining()
    }

    /// The type of what is pushed.
    pub fn dtype(&self) -> DType {
        T::DTYPE
    }

    /// The tensor, if every element has been written.
    pub fn finish(self) -> Result<TensorMut, Error> {
        if self.next != self.end {
            let got = self.written() * size_of::<T>();
            return Err(Error::SizeMismatch {
                expected: self.loan.byte_len,
                got,
            });
        }
        // SAFETY: `next` only moves over elements that have been written, and it has reached the end.
        Ok(unsafe { self.loan.assume_init() })
    }
}

impl Writer<u8> {
    /// Over the bytes of a tensor of any type.
    pub(crate) fn of_bytes(loan: TensorUninit) -> Self {
        Self::over(loan)
    }

    /// Writes the bytes of a tensor, shared ones too, all or none of them.
    pub fn extend_from_tensor(&mut self, tensor: &Tensor) -> Result<(), Full> {
        if let Ok(bytes) = tensor.bytes() {
            return self.extend_from_slice(bytes);
        }
        let len = tensor.byte_len();
        if len > self.remaining() {
            return Err(Full);
        }
        // SAFETY: the loan has room for `len` bytes from `next` on and is ours alone.
        let to = unsafe { std::slice::from_raw_parts_mut(self.next.cast::<MaybeUninit<u8>>(), len) };
        // SAFETY: a shared tensor's bytes are mapped while it lives, and no reference leads to them.
        unsafe { racy::read(tensor.start(), to) };
        // SAFETY: at most one past the last element.
        self.next = unsafe { self.next.add(len) };
        Ok(())
    }
}
