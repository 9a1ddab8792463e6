use crate::{DType, Failure, OutputMemory, Status, TensorRef, abi};
use std::ffi::c_void;
use std::marker::PhantomData;

/// The host cancelled the call at a checkpoint. Release what the call holds and return it: `?` makes it a [`Failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the call was cancelled at a checkpoint")]
pub struct Cancelled;

impl From<Cancelled> for Failure {
    fn from(_: Cancelled) -> Self {
        Self::new(Status::Cancelled, "cancelled at a checkpoint")
    }
}

/// One inference: its inputs, memory for its outputs, and the host's checkpoint.
///
/// It belongs to the thread and the stack that `infer` was called on: neither `Send` nor `Sync`.
pub struct Call<'a> {
    raw: *mut abi::Call,
    _infer: PhantomData<&'a abi::Call>,
}

impl<'a> Call<'a> {
    /// Takes up a call again whose pointer came from [`Call::as_ptr`], say in an operator that an engine calls back.
    ///
    /// # Safety
    /// `call` is the call of an `infer` that has not returned and is running (not suspended) on this thread, for `'a`.
    pub unsafe fn from_ptr(call: *mut abi::Call) -> Self {
        Self {
            raw: call,
            _infer: PhantomData,
        }
    }

    /// The call's address, for a thread-local variable of the plugin; see [`Call::checkpoint`].
    pub fn as_ptr(&self) -> *mut abi::Call {
        self.raw
    }

    fn fields(&self) -> &abi::Call {
        // SAFETY: the host's smi_call_t lives until infer returns, and 'a ends before (from_ptr).
        unsafe { &*self.raw }
    }

    fn host(&self) -> &abi::Host {
        // SAFETY: a call's host table is valid while the plugin lives.
        unsafe { &*self.fields().host }
    }

    /// The inputs, in the order of the model's description; optional ones may be absent.
    pub fn inputs(&self) -> &[TensorRef] {
        let call = self.fields();
        // SAFETY: smi_call_t promises input_count tensors that live until infer returns.
        unsafe { TensorRef::slice_from_raw(call.inputs, call.input_count) }
    }

    /// Whether output `index` must be produced.
    pub fn wants(&self, index: usize) -> bool {
        let call = self.fields();
        if index >= call.output_count as usize {
            return false;
        }
        // SAFETY: smi_call_t promises output_count flags, and index is below.
        let flag = unsafe { call.outputs_wanted.add(index) };
        // SAFETY: as above.
        unsafe { *flag != 0 }
    }

    /// Memory for output `index`: all of it must be written before `infer` returns `Ok`. The host hands out each
    /// output once per call.
    ///
    /// # Errors
    /// The host refuses what does not fit the model's description, and may be out of memory.
    pub fn alloc_output(
        &self,
        index: usize,
        dtype: DType,
        shape: &[usize],
        byte_len: usize,
    ) -> Result<OutputMemory<'a>, Failure> {
        let refuse = |what: &str| Failure::invalid(format!("output {index}: {what}"));
        let mut dims = [0i64; abi::RANK_MAX];
        let dims = dims
            .get_mut(..shape.len())
            .ok_or_else(|| refuse("too many dimensions"))?;
        for (dim, &size) in dims.iter_mut().zip(shape) {
            *dim = i64::try_from(size).map_err(|_| refuse("a dimension is too large"))?;
        }
        let number = u32::try_from(index).map_err(|_| refuse("no such output"))?;
        let mut data: *mut c_void = std::ptr::null_mut();
        // SAFETY: inside infer on its thread (from_ptr); `dims` has the rank given; `data` is ours to write.
        let code = unsafe {
            (self.host().alloc_output)(
                self.raw,
                number,
                dtype.code(),
                dims.len() as u32,
                dims.as_ptr(),
                byte_len as u64,
                &raw mut data,
            )
        };
        match Status::from_code(code) {
            Some(status) => Err(Failure::new(
                status,
                format!("the host refused memory for output {index}"),
            )),
            // SAFETY: on success the host lends `byte_len` writable bytes until infer returns.
            None => Ok(unsafe { OutputMemory::from_raw(data.cast(), byte_len) }),
        }
    }

    /// A layer boundary: the host may suspend this stack here and run other calls on the same thread, of the same
    /// plugin too, before it returns.
    ///
    /// **Thread-local variables of the plugin may hold another call's values afterwards**: whoever keeps
    /// [`Call::as_ptr`] in one must set it again after this returns. No lock may be held across it.
    ///
    /// # Errors
    /// [`Cancelled`]: return it from `infer`.
    pub fn checkpoint(&self) -> Result<(), Cancelled> {
        // SAFETY: inside infer on its thread (from_ptr).
        match unsafe { (self.host().checkpoint)(self.raw) } {
            abi::OK => Ok(()),
            _ => Err(Cancelled),
        }
    }

    /// Whether the host has a reason to be asked by a [`checkpoint`](Call::checkpoint) soon. Never suspends.
    pub fn wants_checkpoint(&self) -> bool {
        // SAFETY: inside infer on its thread (from_ptr).
        (unsafe { (self.host().wants_checkpoint)(self.raw) }) != 0
    }
}
