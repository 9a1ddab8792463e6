use crate::foreign;
use crate::{Failure, TensorRef};
use std::marker::PhantomData;

/// Memory of the host for one output of a call, not yet written.
///
/// It may be memory that another process can read and write meanwhile, so there is no slice of it: what is written may be
/// seen at once, and what is read back is anything.
#[derive(Debug)]
pub struct OutputMemory<'a> {
    data: *mut u8,
    len: usize,
    _infer: PhantomData<&'a mut [u8]>,
}

impl OutputMemory<'_> {
    /// Wraps what the host has lent.
    ///
    /// # Safety
    /// `data` is mapped for reads and writes of `len` bytes for `'a`, and no Rust reference leads there.
    pub(crate) unsafe fn from_raw(data: *mut u8, len: usize) -> Self {
        Self {
            data,
            len,
            _infer: PhantomData,
        }
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first byte, aligned to the element's size at least, for an engine to write to.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.data
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// `bytes` has another length.
    pub fn copy_from(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.expect_len(bytes.len())?;
        // SAFETY: it has `len` bytes (from_raw), and gives no reference to them.
        unsafe { foreign::write(bytes, self.data) };
        Ok(())
    }

    /// Writes all of it with the data of an input, wherever either lies.
    ///
    /// # Errors
    /// The input has another length or is not C-contiguous.
    pub fn copy_from_tensor(&mut self, tensor: &TensorRef) -> Result<(), Failure> {
        if tensor.strides().is_some() {
            return Err(Failure::invalid("cannot copy an input with strides as it lies"));
        }
        self.expect_len(tensor.byte_len())?;
        if !tensor.is_shared() {
            return self.copy_from(tensor.data()?);
        }
        if !self.is_empty() {
            // SAFETY: both have `len` bytes; shared data are mapped for writes too, and there are no references to either.
            // Should the two overlap, in memory of the other process, then what arrives there is its own affair.
            unsafe { foreign::copy(tensor.as_ptr().cast_mut(), self.data, self.len) };
        }
        Ok(())
    }

    /// Writes zeros.
    pub fn zero(&mut self) {
        const ZEROS: [u8; 4096] = [0; 4096];
        for at in (0..self.len).step_by(ZEROS.len()) {
            let len = ZEROS.len().min(self.len - at);
            // SAFETY: the range lies in the memory (from_raw), and there are no references to it.
            unsafe { foreign::write(&ZEROS[..len], self.data.wrapping_add(at)) };
        }
    }

    fn expect_len(&self, got: usize) -> Result<(), Failure> {
        if got == self.len {
            return Ok(());
        }
        Err(Failure::invalid(format!(
            "{got} bytes for an output of {} bytes",
            self.len
        )))
    }
}
