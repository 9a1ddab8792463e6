//! Outputs: memory on request of the plugin, checked against the model and against the part that is being run.

use crate::describe::{TensorSpec, dtype_of};
use mlos_smi::Status;
use mlos_tensor_mem::{DType, Pool, Shape, Tensor, TensorUninit};
use std::ops::Range;

/// One output of a work, over all its parts.
#[derive(Default)]
pub(crate) struct Output {
    pub(crate) wanted: bool,
    /// For all rows; allocated by the first part that asks.
    memory: Option<TensorUninit>,
    /// The run that is under way has asked.
    asked: bool,
}

/// What the plugin asks for.
pub(crate) struct Demand<'a> {
    pub(crate) dtype: i32,
    pub(crate) shape: &'a [i64],
    pub(crate) size_bytes: u64,
}

/// What is being run of a batch that may be split: these of so many rows, all or some.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) rows: Range<usize>,
    pub(crate) total: usize,
}

/// Why a demand is refused.
pub(crate) enum Refusal {
    /// It does not fit.
    Wrong(String),
    /// The pool is empty.
    Memory(mlos_tensor_mem::Error),
}

impl Refusal {
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Wrong(_) => Status::InvalidArgument,
            Self::Memory(_) => Status::NoMemory,
        }
    }
}

impl Output {
    pub(crate) fn new(wanted: bool) -> Self {
        Self {
            wanted,
            memory: None,
            asked: false,
        }
    }

    /// A run begins.
    pub(crate) fn begin(&mut self) {
        self.asked = false;
    }

    /// Whether the run has asked for memory.
    pub(crate) fn was_asked(&self) -> bool {
        self.asked
    }

    /// Where the plugin writes: the part's rows within the whole.
    pub(crate) fn allocate(
        &mut self,
        spec: &TensorSpec,
        demand: &Demand<'_>,
        part: Option<&Part>,
        pool: &Pool,
    ) -> Result<*mut u8, Refusal> {
        if self.asked {
            return Err(Refusal::Wrong("was asked for twice".into()));
        }
        let (shape, bytes) = checked(spec, demand).map_err(Refusal::Wrong)?;
        let pointer = match part {
            None => self.whole(spec.dtype, shape, bytes, pool)?,
            Some(part) => self.rows(spec.dtype, shape, part, pool)?,
        };
        self.asked = true;
        Ok(pointer)
    }

    fn whole(&mut self, dtype: DType, shape: Shape, bytes: usize, pool: &Pool) -> Result<*mut u8, Refusal> {
        // What an earlier, failed run left goes first: it may be just the memory that is missing.
        self.memory = None;
        let loan = pool.loan_bytes(dtype, shape, bytes).map_err(Refusal::Memory)?;
        Ok(self.memory.insert(loan).as_mut_ptr())
    }

    fn rows(&mut self, dtype: DType, shape: Shape, part: &Part, pool: &Pool) -> Result<*mut u8, Refusal> {
        let count = part.rows.len();
        if shape.dims().first() != Some(&count) {
            return Err(Refusal::Wrong(format!("has shape {shape} for {count} rows")));
        }
        let full = shape.with_dim0(part.total);
        if part.rows.start == 0 {
            // What an earlier, failed run left.
            self.memory = None;
        }
        let memory = match &mut self.memory {
            Some(memory) if *memory.shape() == full => memory,
            Some(memory) => {
                let earlier = memory.shape().with_dim0(count);
                return Err(Refusal::Wrong(format!(
                    "has shape {shape}, an earlier part had {earlier}"
                )));
            }
            empty => empty.insert(pool.loan(dtype, full).map_err(Refusal::Memory)?),
        };
        let row_bytes = memory.byte_len().checked_div(part.total).unwrap_or(0);
        // In bounds: part.rows.end <= part.total, so the offset is at most the length; a part of no rows may point
        // to the end, where nothing is written.
        Ok(memory.as_mut_ptr().wrapping_add(part.rows.start * row_bytes))
    }

    /// The finished tensor.
    ///
    /// # Safety
    /// The plugin has written all rows.
    pub(crate) unsafe fn finish(&mut self) -> Option<Tensor> {
        // SAFETY: the caller's promise.
        self.memory
            .take()
            .map(|memory| unsafe { memory.assume_init() }.freeze())
    }

    /// Throws away what was not wanted.
    pub(crate) fn discard_unwanted(&mut self) {
        if !self.wanted {
            self.memory = None;
        }
    }
}

/// The shape and length of a demand that fits the model and itself.
fn checked(spec: &TensorSpec, demand: &Demand<'_>) -> Result<(Shape, usize), String> {
    if dtype_of(demand.dtype) != Some(spec.dtype) {
        let got = dtype_of(demand.dtype).map_or_else(|| demand.dtype.to_string(), |dtype| dtype.to_string());
        return Err(format!("has type {got}, the model declares {}", spec.dtype));
    }
    let rank = demand.shape.len();
    if !spec.dims.is_empty() && rank != spec.dims.len() {
        return Err(format!(
            "has {rank} dimensions, the model declares {}",
            spec.dims.len()
        ));
    }
    let mut dims = [0; mlos_tensor_mem::limits::RANK_MAX];
    let dims = dims
        .get_mut(..rank)
        .ok_or_else(|| format!("has {rank} dimensions"))?;
    for (dim, &size) in dims.iter_mut().zip(demand.shape) {
        *dim = usize::try_from(size).map_err(|_| format!("has a dimension of {size}"))?;
    }
    let shape = Shape::new(dims).map_err(|e| e.to_string())?;
    let size = usize::try_from(demand.size_bytes).map_err(|_| "is too large".to_owned())?;
    if spec.dtype == DType::String {
        // The packed length is the plugin's to say; its contents are checked when the call ends.
        shape.elements().map_err(|e| e.to_string())?;
        return Ok((shape, size));
    }
    let bytes = shape.byte_len(spec.dtype).map_err(|e| e.to_string())?;
    if bytes != size {
        return Err(format!(
            "shape {shape} of {} takes {bytes} bytes, {size} were asked for",
            spec.dtype
        ));
    }
    Ok((shape, bytes))
}
