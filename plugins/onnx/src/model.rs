//! A loaded model: one session, shared by all threads.

use std::cell::Cell;
use std::ffi::c_void;
use std::ops::ControlFlow;

use mlos_smi::{Call, DType, Description, Dim, Failure, SliceProfile, TensorRef, TensorSpec};
use ort::session::Session;
use smallvec::SmallVec;

use crate::contiguous;
use crate::dtype;
use crate::error::{Error, Result};
use crate::limits::PORTS_INLINE;
use crate::shapes::{self, OutputShape};
use crate::strings;
use crate::sys::{Names, Ports, Shape, Value};
use crate::threads::Lease;
use crate::yield_op::{Checkpoint, with_checkpoint};

/// What a model is made of.
pub(crate) struct Parts {
    pub session: Session,
    pub description: Description,
    pub profile: Vec<SliceProfile>,
    /// Outputs whose declared shape is known to be wrong.
    pub surprising_outputs: Vec<usize>,
    pub lease: Lease,
}

/// A loaded ONNX model.
pub struct OnnxModel {
    session: Session,
    description: Description,
    profile: Vec<SliceProfile>,
    input_names: Names,
    output_names: Names,
    output_shapes: Vec<OutputShape>,
    _lease: Lease,
}

impl OnnxModel {
    pub(crate) fn new(parts: Parts) -> Result<Self> {
        let names = |specs: &[TensorSpec]| Names::new(specs.iter().map(|spec| spec.name.as_str()));
        let description = parts.description;
        let shapes = description
            .outputs
            .iter()
            .map(|spec| OutputShape::of(spec, &description));
        let model = Self {
            input_names: names(&description.inputs)?,
            output_names: names(&description.outputs)?,
            output_shapes: shapes.collect(),
            session: parts.session,
            description,
            profile: parts.profile,
            _lease: parts.lease,
        };
        for output in parts.surprising_outputs {
            if let Some(shape) = model.output_shapes.get(output) {
                shape.distrust();
            }
        }
        Ok(model)
    }

    fn run(&self, call: &Call<'_>) -> Result<(), Stop> {
        let inputs = self.inputs(call)?;
        let mut ports = Ports::default();
        for (index, input) in inputs.iter().enumerate() {
            if let Some(input) = input {
                ports.input(&self.input_names, index, &input.value);
            }
        }
        let places = self.places(call)?;
        for place in &places {
            ports.output(&self.output_names, place.index, place.value.as_ref());
        }
        if places.is_empty() {
            return Ok(());
        }
        let asked = AskHost {
            call,
            cancelled: Cell::new(false),
        };
        let made = with_checkpoint(&asked, || ports.run(&self.session));
        if asked.cancelled.get() {
            return Err(Error::Cancelled.into());
        }
        let made = made.map_err(|error| self.explain(error, &places, call))?;
        for (place, value) in places.iter().zip(made) {
            if let Some(value) = value {
                self.hand_over(call, place.index, &value)?;
            }
        }
        Ok(())
    }

    /// The inputs as they lie in the host's memory.
    fn inputs<'c>(&self, call: &'c Call<'_>) -> Result<SmallVec<[Option<Input<'c>>; PORTS_INLINE]>> {
        let (given, specs) = (call.inputs(), &self.description.inputs);
        if given.len() != specs.len() {
            return Err(Error::BadInput(format!(
                "the model takes {} inputs, {} were given",
                specs.len(),
                given.len()
            )));
        }
        specs
            .iter()
            .zip(given)
            .map(|(spec, tensor)| Input::of(spec, tensor))
            .collect()
    }

    /// Where the wanted outputs are to be written: the host's memory, or nowhere yet.
    fn places(&self, call: &Call<'_>) -> Result<SmallVec<[Place; PORTS_INLINE]>, Stop> {
        let given = call.inputs();
        let shape_of = |index: usize| {
            given
                .get(index)
                .filter(|tensor| tensor.is_present())
                .map(TensorRef::shape)
        };
        let wanted = (0..self.description.outputs.len()).filter(|index| call.wants(*index));
        wanted
            .map(|index| {
                let dtype = self.description.outputs[index].dtype;
                let told = self.output_shapes[index].tell(shape_of);
                let value = match (dtype.size_bytes(), told) {
                    (Some(element_bytes), Some(shape)) => {
                        Some(place(call, index, dtype, &shape, element_bytes)?)
                    }
                    _ => None,
                };
                Ok(Place { index, value })
            })
            .collect()
    }

    /// After a failed run: whose fault was it? Asked only then, as exporters give one name to different sizes and many of
    /// their models run all the same.
    fn explain(&self, error: Error, places: &[Place], call: &Call<'_>) -> Error {
        let shapes = call
            .inputs()
            .iter()
            .map(|tensor| tensor.is_present().then(|| tensor.shape()));
        if let Some(reason) = shapes::contradiction(&self.description.inputs, &shapes.collect::<Vec<_>>()) {
            return Error::BadInput(reason);
        }
        // It may have failed because a shape was told wrongly. The next run does without.
        let declared = |place: &Place| &self.description.outputs[place.index].dims;
        let told = places.iter().filter(|place| place.value.is_some());
        for place in told.filter(|place| declared(place).iter().any(|dim| matches!(dim, Dim::Dynamic(_)))) {
            self.output_shapes[place.index].distrust();
        }
        error
    }

    /// Copies an output that ONNX Runtime allocated into the host's memory.
    fn hand_over(&self, call: &Call<'_>, index: usize, value: &Value) -> Result<(), Stop> {
        let (_, shape) = value.description()?;
        let dtype = self.description.outputs[index].dtype;
        let packed;
        let bytes = if dtype == DType::String {
            let (text, starts) = value.texts(shape.iter().product::<i64>() as usize)?;
            packed = strings::pack(&text, &starts).map_err(Error::Runtime)?;
            packed.as_slice()
        } else {
            value.bytes()?
        };
        let mut memory = call.alloc_output(index, dtype, &sizes(shape), bytes.len())?;
        Ok(memory.copy_from(bytes)?)
    }
}

impl mlos_smi::Model for OnnxModel {
    fn description(&self) -> &Description {
        &self.description
    }

    fn infer(&self, call: &Call<'_>) -> Result<(), Failure> {
        self.run(call).map_err(|stop| match stop {
            Stop::Ours(error) => error.into(),
            Stop::Host(failure) => failure,
        })
    }

    fn slice_profile(&self) -> Vec<SliceProfile> {
        self.profile.clone()
    }

    fn resident_bytes(&self) -> u64 {
        self.description.resources.memory_bytes
    }
}

/// Why a run ended early: our reason, or what the host answered.
enum Stop {
    Ours(Error),
    Host(Failure),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Host(failure)
    }
}

/// A wanted output.
struct Place {
    index: usize,
    /// Over the host's memory, if the shape could be told before.
    value: Option<Value>,
}

fn sizes(shape: &[i64]) -> SmallVec<[usize; 8]> {
    shape.iter().map(|size| *size as usize).collect()
}

fn place(
    call: &Call<'_>,
    index: usize,
    dtype: DType,
    shape: &Shape,
    element_bytes: usize,
) -> Result<Value, Stop> {
    let sizes = sizes(shape);
    let len = sizes.iter().product::<usize>() * element_bytes;
    let mut memory = call.alloc_output(index, dtype, &sizes, len)?;
    let data: *mut c_void = memory.as_mut_ptr().cast();
    // SAFETY: the host lends the memory to this call, until `infer` returns; the value and the run end before. Another
    // process that may write it too is told apart by the host: it excludes the types that kernels find their way by, so
    // that whatever a kernel reads back keeps it within its memory. The host aligns it to the element's size.
    Ok(unsafe { Value::over(data, len, shape, dtype::to_onnx(dtype)) }?)
}

/// An input, and the memory of its copy if it needed one.
struct Input<'c> {
    // Declared first, so dropped first.
    value: Value,
    _copy: Option<Vec<u64>>,
    _host: std::marker::PhantomData<&'c TensorRef>,
}

impl<'c> Input<'c> {
    fn of(spec: &TensorSpec, tensor: &'c TensorRef) -> Result<Option<Self>> {
        let refuse = |what: String| Error::BadInput(format!("input {:?}: {what}", spec.name));
        if !tensor.is_present() {
            return if spec.optional {
                Ok(None)
            } else {
                Err(refuse("is missing".to_owned()))
            };
        }
        if tensor.dtype() != Some(spec.dtype) {
            return Err(refuse(format!(
                "has elements of {:?}, the model takes {:?}",
                tensor.dtype(),
                spec.dtype
            )));
        }
        let shape = tensor.shape();
        if !fits(shape, &spec.dims) {
            return Err(refuse(format!(
                "has the shape {shape:?}, the model takes {}",
                dims_text(&spec.dims)
            )));
        }
        let count = shape.iter().product::<i64>() as usize;
        let Some(element_bytes) = spec.dtype.size_bytes() else {
            let data = tensor.data().map_err(|e| refuse(e.message))?;
            let texts = strings::unpack(data, count).map_err(refuse)?;
            return Ok(Some(Self {
                value: Value::of_strings(shape, &texts)?,
                _copy: None,
                _host: std::marker::PhantomData,
            }));
        };
        let len = count * element_bytes;
        let copy = contiguous::copy(tensor, element_bytes).map_err(refuse)?;
        let start = match &copy {
            Some(copy) => copy.as_ptr().cast_mut().cast::<c_void>(),
            None if tensor.byte_len() == len => tensor.as_ptr().cast_mut().cast(),
            None => {
                return Err(refuse(format!(
                    "has {} bytes, its shape {shape:?} needs {len}",
                    tensor.byte_len()
                )));
            }
        };
        // SAFETY: `start` has `len` bytes: checked for the host's memory, which lives until `infer` returns and is not written
        // (or by another process, and then is of a type that kernels only compute with), or made so for the copy,
        // which lives as long as the value. Both are aligned to the element.
        let value = unsafe { Value::over(start, len, shape, dtype::to_onnx(spec.dtype)) }?;
        Ok(Some(Self {
            value,
            _copy: copy,
            _host: std::marker::PhantomData,
        }))
    }
}

/// No declared dimensions are a scalar's, or not declared at all; ONNX Runtime knows which.
fn fits(shape: &[i64], dims: &[Dim]) -> bool {
    if dims.is_empty() {
        return true;
    }
    let fits = |(size, dim): (&i64, &Dim)| !matches!(dim, Dim::Fixed(fixed) if *fixed as i64 != *size);
    shape.len() == dims.len() && shape.iter().zip(dims).all(fits)
}

fn dims_text(dims: &[Dim]) -> String {
    let text = |dim: &Dim| match dim {
        Dim::Fixed(size) => size.to_string(),
        Dim::Dynamic(name) => name.as_deref().unwrap_or("any").to_owned(),
    };
    format!("[{}]", dims.iter().map(text).collect::<Vec<_>>().join(", "))
}

/// Passes `Yield` on to the host.
struct AskHost<'c> {
    call: &'c Call<'c>,
    cancelled: Cell<bool>,
}

impl Checkpoint for AskHost<'_> {
    fn checkpoint(&self) -> ControlFlow<()> {
        match self.call.checkpoint() {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => {
                self.cancelled.set(true);
                ControlFlow::Break(())
            }
        }
    }
}
