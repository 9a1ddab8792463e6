//! The C API of ONNX Runtime where the safe crate has no equal: tensors in memory that is not ours, runs of a shared
//! session, and the pass-through of `Yield`.

use std::ffi::{CString, c_char, c_void};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use ort::operator::ComputeContext;
use ort::session::Session;
use ort::sys::{ONNXTensorElementDataType as ElementType, OrtMemoryInfo, OrtStatusPtr, OrtValue};
use ort::{AsPointer, api};
use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::limits::PORTS_INLINE;

/// Dimensions of a tensor.
pub(crate) type Shape = SmallVec<[i64; 8]>;

fn check(status: OrtStatusPtr) -> ort::Result<()> {
    // SAFETY: every caller passes the status that a call of the API just returned, once.
    unsafe { ort::Error::result_from_status(status) }
}

/// Of a failed run, ONNX Runtime says whether the inputs were at fault: their shapes, or indices beyond a table.
fn blame(error: ort::Error) -> Error {
    match error.code() {
        ort::ErrorCode::InvalidArgument => Error::BadInput(error.message().to_owned()),
        _ => error.into(),
    }
}

/// "CPU memory", as ONNX Runtime wants it said with each tensor.
fn cpu_memory() -> *const OrtMemoryInfo {
    struct MemoryInfo(NonNull<OrtMemoryInfo>);
    // SAFETY: it is never written after its creation.
    unsafe impl Send for MemoryInfo {}
    // SAFETY: as above.
    unsafe impl Sync for MemoryInfo {}
    static CPU: OnceLock<MemoryInfo> = OnceLock::new();
    let info = CPU.get_or_init(|| {
        let mut info = ptr::null_mut();
        // SAFETY: `info` is a valid place for the result.
        let status = unsafe {
            (api().CreateCpuMemoryInfo)(
                ort::sys::OrtAllocatorType::OrtDeviceAllocator,
                ort::sys::OrtMemType::OrtMemTypeDefault,
                &mut info,
            )
        };
        check(status).expect("naming cpu memory needs a few bytes only");
        MemoryInfo(NonNull::new(info).expect("a successful call fills its result"))
    });
    info.0.as_ptr()
}

/// A tensor of ONNX Runtime.
pub(crate) struct Value(NonNull<OrtValue>);

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: the value is ours and is not used again.
        unsafe { (api().ReleaseValue)(self.0.as_ptr()) }
    }
}

impl Value {
    /// A tensor in memory of somebody else.
    ///
    /// # Safety
    /// `data` must be valid for `len_bytes` until the value and every run that uses it are gone: for reads if it is an
    /// input, for reads and writes that nobody else makes if it is an output. Its alignment must fit the element type.
    pub unsafe fn over(
        data: *mut c_void,
        len_bytes: usize,
        shape: &[i64],
        element: ElementType,
    ) -> Result<Self> {
        let mut value = ptr::null_mut();
        // SAFETY: the memory is valid by this function's contract; shape and result are borrowed for the call.
        let status = unsafe {
            (api().CreateTensorWithDataAsOrtValue)(
                cpu_memory(),
                data,
                len_bytes,
                shape.as_ptr(),
                shape.len(),
                element,
                &mut value,
            )
        };
        Self::created(status, value)
    }

    /// A tensor of texts in memory of ONNX Runtime.
    pub fn of_strings(shape: &[i64], texts: &[&[u8]]) -> Result<Self> {
        let mut allocator = ptr::null_mut();
        // SAFETY: `allocator` is a valid place for the result, which is process-wide and never released.
        check(unsafe { (api().GetAllocatorWithDefaultOptions)(&mut allocator) })?;
        let mut value = ptr::null_mut();
        // SAFETY: shape and result are borrowed for the call.
        let status = unsafe {
            (api().CreateTensorAsOrtValue)(
                allocator,
                shape.as_ptr(),
                shape.len(),
                ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
                &mut value,
            )
        };
        let value = Self::created(status, value)?;
        for (index, text) in texts.iter().enumerate() {
            value.set_text(index, text)?;
        }
        Ok(value)
    }

    /// By length and not by NUL, as ONNX strings may hold any byte.
    fn set_text(&self, index: usize, text: &[u8]) -> Result<()> {
        let mut buffer = ptr::null_mut();
        // SAFETY: the value is a string tensor; an index beyond its end is refused by the call.
        let status = unsafe {
            (api().GetResizedStringTensorElementBuffer)(self.0.as_ptr(), index, text.len(), &mut buffer)
        };
        check(status)?;
        // SAFETY: the call gave room for `text.len()` bytes, which nobody else knows yet.
        unsafe { ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast::<u8>(), text.len()) };
        Ok(())
    }

    fn created(status: OrtStatusPtr, value: *mut OrtValue) -> Result<Self> {
        check(status)?;
        Ok(Self(
            NonNull::new(value).expect("a successful call fills its result"),
        ))
    }

    pub fn as_ptr(&self) -> *const OrtValue {
        self.0.as_ptr()
    }

    /// Element type and shape.
    pub fn description(&self) -> Result<(ElementType, &[i64])> {
        // SAFETY: the value lives as long as the borrow.
        Ok(unsafe { description(self.as_ptr()) }?)
    }

    /// The elements as they lie in memory; not for strings.
    pub fn bytes(&self) -> Result<&[u8]> {
        let mut len = 0;
        // SAFETY: the value is a live tensor.
        check(unsafe { (api().GetTensorSizeInBytes)(self.as_ptr(), &mut len) })?;
        let data = data_of(self.0.as_ptr())?;
        if len == 0 {
            return Ok(&[]);
        }
        // SAFETY: a tensor's data are `len` initialised bytes, which live as long as the value does.
        Ok(unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len) })
    }

    /// The texts of a string tensor, one after the other, and where each begins.
    pub fn texts(&self, count: usize) -> Result<(Vec<u8>, Vec<usize>)> {
        let mut len = 0;
        // SAFETY: the value is a live tensor.
        check(unsafe { (api().GetStringTensorDataLength)(self.as_ptr(), &mut len) })?;
        let mut text = vec![0_u8; len];
        let mut starts = vec![0_usize; count];
        // SAFETY: both buffers have the length that is passed with them.
        check(unsafe {
            (api().GetStringTensorContent)(
                self.as_ptr(),
                text.as_mut_ptr().cast(),
                len,
                starts.as_mut_ptr(),
                count,
            )
        })?;
        Ok((text, starts))
    }
}

fn data_of(value: *mut OrtValue) -> ort::Result<*mut c_void> {
    let mut data = ptr::null_mut();
    // SAFETY: callers pass a live tensor.
    check(unsafe { (api().GetTensorMutableData)(value, &mut data) })?;
    Ok(data)
}

/// Element type and shape, as they lie in the tensor.
///
/// # Safety
/// `value` must be a live tensor for all of `'v`.
unsafe fn description<'v>(value: *const OrtValue) -> ort::Result<(ElementType, &'v [i64])> {
    let mut element = ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    let (mut shape, mut rank) = (ptr::null(), 0);
    // SAFETY: a live tensor, and valid places for the results.
    check(unsafe {
        (api().GetTensorElementTypeAndShapeDataReference)(value, &mut element, &mut shape, &mut rank)
    })?;
    if rank == 0 {
        return Ok((element, &[]));
    }
    // SAFETY: the tensor holds `rank` sizes there as long as it lives.
    Ok((element, unsafe { std::slice::from_raw_parts(shape, rank) }))
}

/// Names of inputs or outputs, as the C API takes them.
pub(crate) struct Names(Vec<CString>);

impl Names {
    pub fn new<'a>(names: impl Iterator<Item = &'a str>) -> Result<Self> {
        let names: Result<_, _> = names.map(CString::new).collect();
        Ok(Self(names.map_err(|_| {
            Error::Runtime("a name in the model holds a NUL".to_owned())
        })?))
    }
}

/// One run of a session: which inputs are given and which outputs are asked for.
#[derive(Default)]
pub(crate) struct Ports<'v> {
    input_names: SmallVec<[*const c_char; PORTS_INLINE]>,
    inputs: SmallVec<[*const OrtValue; PORTS_INLINE]>,
    output_names: SmallVec<[*const c_char; PORTS_INLINE]>,
    outputs: SmallVec<[*mut OrtValue; PORTS_INLINE]>,
    /// Which of `outputs` were given, not made by the run.
    given: SmallVec<[bool; PORTS_INLINE]>,
    borrowed: std::marker::PhantomData<&'v Value>,
}

impl<'v> Ports<'v> {
    pub fn input(&mut self, names: &'v Names, index: usize, value: &'v Value) {
        self.input_names.push(names.0[index].as_ptr());
        self.inputs.push(value.as_ptr());
    }

    /// Asks for an output, in `place` or, with `None`, in memory of ONNX Runtime.
    pub fn output(&mut self, names: &'v Names, index: usize, place: Option<&'v Value>) {
        self.output_names.push(names.0[index].as_ptr());
        self.outputs
            .push(place.map_or(ptr::null_mut(), |value| value.0.as_ptr()));
        self.given.push(place.is_some());
    }

    /// Runs the session. The result has one entry per asked output: the value that the run made, `None` if it wrote
    /// to the given place.
    pub fn run(mut self, session: &Session) -> Result<SmallVec<[Option<Value>; PORTS_INLINE]>> {
        // SAFETY: names and values are borrowed for 'v, the arrays have the given lengths, and OrtApi::Run may be
        // called by several threads at once for one session; it does not write to the session despite its type.
        let status = unsafe {
            (api().Run)(
                session.ptr().cast_mut(),
                ptr::null(),
                self.input_names.as_ptr(),
                self.inputs.as_ptr(),
                self.inputs.len(),
                self.output_names.as_ptr(),
                self.outputs.len(),
                self.outputs.as_mut_ptr(),
            )
        };
        // Values that the run made are ours whether it failed or not.
        let made = self.outputs.iter().zip(&self.given).map(|(value, given)| {
            if *given {
                None
            } else {
                NonNull::new(*value).map(Value)
            }
        });
        let made = made.collect();
        check(status).map_err(blame)?;
        Ok(made)
    }
}

/// A tensor of floats that an operator reads.
pub(crate) struct Floats<'c> {
    pub shape: &'c [i64],
    pub data: &'c [f32],
}

/// The output of an operator, before it is made.
pub(crate) struct Output<'c>(&'c ComputeContext);

impl<'c> Output<'c> {
    /// Makes it, a tensor of floats. Its content is anything.
    pub fn make(self, shape: &[i64]) -> ort::Result<&'c mut [f32]> {
        let context = self.0.ptr().cast_mut();
        let mut output = ptr::null_mut();
        // SAFETY: the context is live during compute; `shape` is borrowed for the call.
        check(unsafe {
            (api().KernelContext_GetOutput)(context, 0, shape.as_ptr(), shape.len(), &mut output)
        })?;
        // SAFETY: outputs live as long as the context.
        let (_, len) = unsafe { floats(output) }?;
        if len == 0 {
            return Ok(&mut []);
        }
        let data = data_of(output)?.cast::<f32>();
        // SAFETY: a tensor of floats has its data there, aligned and as long as the context. Only `compute_floats` makes an
        // `Output`, one for each computation, and `make` consumes it, so nobody else has them.
        Ok(unsafe { std::slice::from_raw_parts_mut(data, len) })
    }
}

/// Computes an operator of floats, all inputs and its one output: by the plain calls, as an operator that only moves a
/// few thousand of them takes no longer than a more careful description of its inputs.
pub(crate) fn compute_floats<'c>(
    context: &'c ComputeContext,
    compute: impl FnOnce(&[Floats<'c>], Output<'c>) -> ort::Result<()>,
) -> ort::Result<()> {
    let mut inputs: SmallVec<[Floats<'c>; 4]> = SmallVec::new();
    for index in 0..context.num_inputs()? {
        let mut input = ptr::null();
        // SAFETY: the context is live during compute, and has so many inputs.
        check(unsafe { (api().KernelContext_GetInput)(context.ptr().cast_mut(), index, &mut input) })?;
        // SAFETY: inputs live as long as the context.
        let (shape, len) = unsafe { floats(input) }?;
        let data = match len {
            0 => &[],
            // SAFETY: a tensor of floats has its data there, aligned and as long as the context; nobody writes to an input.
            len => unsafe { std::slice::from_raw_parts(data_of(input.cast_mut())?.cast(), len) },
        };
        inputs.push(Floats { shape, data });
    }
    if inputs.is_empty() {
        return Err(ort::Error::new("the operator needs an input"));
    }
    compute(&inputs, Output(context))
}

/// Shape of a tensor of floats, and how many it holds; an error for other tensors and for none.
///
/// # Safety
/// `value` must be null or a live tensor for all of `'v`.
unsafe fn floats<'v>(value: *const OrtValue) -> ort::Result<(&'v [i64], usize)> {
    if value.is_null() {
        return Err(ort::Error::new("the operator lacks a tensor"));
    }
    // SAFETY: by this function's contract.
    match unsafe { description(value) }? {
        (ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, shape) => {
            Ok((shape, shape.iter().map(|size| *size as usize).product()))
        }
        _ => Err(ort::Error::new("the operator takes floats only")),
    }
}

/// Passes the first input of an operator through as its output; copies only if ONNX Runtime gave other memory.
pub(crate) fn pass_through(context: &ComputeContext) -> ort::Result<()> {
    let context = context.ptr().cast_mut();
    let mut input = ptr::null();
    // SAFETY: the context is live during compute; an operator of at least one input has number 0.
    check(unsafe { (api().KernelContext_GetInput)(context, 0, &mut input) })?;
    if input.is_null() {
        return Err(ort::Error::new("Yield needs an input"));
    }
    // SAFETY: inputs live as long as the context.
    let (element, shape) = unsafe { description(input) }?;
    let mut output = ptr::null_mut();
    // SAFETY: as above; `shape` is borrowed for the call.
    check(unsafe { (api().KernelContext_GetOutput)(context, 0, shape.as_ptr(), shape.len(), &mut output) })?;
    let from = data_of(input.cast_mut())?;
    let to = data_of(output)?;
    if from == to {
        return Ok(());
    }
    if element == ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING {
        return Err(ort::Error::new("Yield cannot copy strings"));
    }
    let mut len = 0;
    // SAFETY: the input is a live tensor.
    check(unsafe { (api().GetTensorSizeInBytes)(input, &mut len) })?;
    // SAFETY: both are tensors of one type and shape, so of `len` bytes each, and they are different memory.
    unsafe { ptr::copy_nonoverlapping(from.cast::<u8>(), to.cast::<u8>(), len) };
    Ok(())
}
