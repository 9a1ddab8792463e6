use crate::{DType, Failure, abi};
use std::ffi::CStr;

/// An input of a call, borrowed from the host until `infer` returns.
#[repr(transparent)]
pub struct TensorRef(abi::Tensor);

impl TensorRef {
    /// Views the tensors of a call.
    ///
    /// # Safety
    /// `tensors` points to `count` tensors (or `count` is 0) that keep the promises of `smi_tensor_t` for `'a`.
    pub(crate) unsafe fn slice_from_raw<'a>(tensors: *const abi::Tensor, count: u32) -> &'a [Self] {
        if count == 0 {
            return &[];
        }
        // SAFETY: the caller promises `count` valid tensors for 'a; TensorRef is a transparent wrapper of them.
        unsafe { std::slice::from_raw_parts(tensors.cast::<Self>(), count as usize) }
    }

    /// Whether the caller passed it; false only for optional inputs.
    pub fn is_present(&self) -> bool {
        self.0.dtype != abi::ABSENT
    }

    /// Name of the input.
    pub fn name(&self) -> &str {
        // SAFETY: smi_tensor_t.name is a NUL-terminated string that lives as long as the tensor.
        unsafe { CStr::from_ptr(self.0.name) }.to_str().unwrap_or("?")
    }

    /// Element type; `None` if absent or of a type that this version does not know.
    pub fn dtype(&self) -> Option<DType> {
        DType::from_code(self.0.dtype)
    }

    /// Sizes of the dimensions, none negative; empty for a scalar.
    pub fn shape(&self) -> &[i64] {
        if self.0.rank == 0 || !self.is_present() {
            return &[];
        }
        // SAFETY: smi_tensor_t.shape points to `rank` sizes that live as long as the tensor.
        unsafe { std::slice::from_raw_parts(self.0.shape, self.0.rank as usize) }
    }

    /// Strides in bytes, or `None` for C-contiguous.
    pub fn strides(&self) -> Option<&[i64]> {
        if self.0.strides.is_null() || !self.is_present() {
            return None;
        }
        // SAFETY: smi_tensor_t.strides, if not NULL, points to `rank` strides that live as long as the tensor.
        Some(unsafe { std::slice::from_raw_parts(self.0.strides, self.0.rank as usize) })
    }

    /// Whether another process may write the data while `infer` runs: see `SMI_OWNER_SHARED` in `smi.h`.
    pub fn is_shared(&self) -> bool {
        self.0.owner == abi::OWNER_SHARED
    }

    /// Length of the data in bytes; 0 if absent.
    pub fn byte_len(&self) -> usize {
        if self.is_present() {
            self.0.size_bytes as usize
        } else {
            0
        }
    }

    /// The data as bytes; empty if absent.
    ///
    /// # Errors
    /// They are [shared](Self::is_shared), so that no reference may be made of them: give
    /// [`as_ptr`](Self::as_ptr) to the engine, or use [`OutputMemory::copy_from_tensor`](crate::OutputMemory::copy_from_tensor).
    pub fn data(&self) -> Result<&[u8], Failure> {
        if self.byte_len() == 0 {
            return Ok(&[]);
        }
        if self.is_shared() {
            let name = self.name();
            return Err(Failure::runtime(format!(
                "input `{name}` lies in memory that another process may write, and cannot be borrowed"
            )));
        }
        // SAFETY: smi_tensor_t.data points to `size_bytes` readable bytes that nobody writes until infer returns, unless
        // the owner is SMI_OWNER_SHARED.
        Ok(unsafe { std::slice::from_raw_parts(self.0.data.cast::<u8>(), self.byte_len()) })
    }

    /// The first byte of the data, aligned to the element size at least. Of [shared](Self::is_shared) data no reference may be made.
    pub fn as_ptr(&self) -> *const u8 {
        self.0.data.cast()
    }
}
