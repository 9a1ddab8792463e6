//! Outputs: memory on request of the plugin, checked against the model and against the part that is being run.

use crate::describe::{TensorSpec, dtype_of};
use crate::shared::stays_in_place;
use mlos_smi::Status;
use mlos_tensor_mem::{DType, Error as MemoryError, Pool, Region, Shape, Tensor, TensorUninit};
use std::ops::Range;

/// One output of a work, over all its parts.
#[derive(Default)]
pub(crate) struct Output {
    pub(crate) wanted: bool,
    /// Where it shall go, if the caller says so.
    given: Option<Region>,
    /// For all rows; taken by the first part that asks.
    memory: Option<Memory>,
    /// The memory is from before the work was made as if it had not been run: kept for what is known of it.
    is_old: bool,
    /// The run that is under way has asked.
    asked: bool,
}

/// What the plugin writes, or has written.
enum Memory {
    Loan(TensorUninit),
    /// The first bytes of what was given.
    Given {
        dtype: DType,
        shape: Shape,
        byte_len: usize,
    },
    Finished(Tensor),
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
    Memory(MemoryError),
    /// The memory that the caller gave is too small.
    Short {
        shape: Shape,
        needed: usize,
        given: usize,
    },
}

impl Refusal {
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Wrong(_) => Status::InvalidArgument,
            Self::Memory(_) | Self::Short { .. } => Status::NoMemory,
        }
    }
}

impl From<MemoryError> for Refusal {
    fn from(error: MemoryError) -> Self {
        Self::Memory(error)
    }
}

impl Memory {
    fn shape(&self) -> &Shape {
        match self {
            Self::Loan(loan) => loan.shape(),
            Self::Given { shape, .. } => shape,
            Self::Finished(tensor) => tensor.shape(),
        }
    }

    fn byte_len(&self) -> usize {
        match self {
            Self::Loan(loan) => loan.byte_len(),
            Self::Given { byte_len, .. } => *byte_len,
            Self::Finished(tensor) => tensor.byte_len(),
        }
    }
}

impl Output {
    pub(crate) fn wanted() -> Self {
        Self {
            wanted: true,
            ..Self::default()
        }
    }

    pub(crate) fn into_memory(given: Region) -> Self {
        Self {
            given: Some(given),
            ..Self::wanted()
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

    /// Forgets what was produced.
    pub(crate) fn forget(&mut self) {
        // Of the other types the plugin must not have the memory itself.
        self.is_old = matches!(&self.memory, Some(Memory::Given { dtype, .. }) if stays_in_place(*dtype));
        if !self.is_old {
            self.memory = None;
        }
    }

    /// The shape and the length of what was produced, or is being.
    pub(crate) fn extent(&self) -> Option<(&Shape, usize)> {
        let memory = self.memory.as_ref().filter(|_| !self.is_old);
        memory.map(|memory| (memory.shape(), memory.byte_len()))
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
        if self.is_as_before(demand, part) {
            self.is_old = false;
            self.asked = true;
            return Ok(self.start());
        }
        if self.is_old {
            (self.memory, self.is_old) = (None, false);
        }
        let (shape, bytes) = checked(spec, demand).map_err(Refusal::Wrong)?;
        let pointer = match part {
            None => self.whole(spec.dtype, shape, bytes, pool)?,
            Some(part) => self.rows(spec.dtype, shape, part, pool)?,
        };
        self.asked = true;
        Ok(pointer)
    }

    /// Whether this asks for all of what a run before asked for, in the same memory: it was found to fit then.
    fn is_as_before(&self, demand: &Demand<'_>, part: Option<&Part>) -> bool {
        let Some(Memory::Given {
            dtype,
            shape,
            byte_len,
        }) = &self.memory
        else {
            return false;
        };
        let dims = shape.dims();
        self.is_old
            && part.is_none_or(|part| part.rows.len() == part.total)
            && *dtype as i32 == demand.dtype
            && *byte_len as u64 == demand.size_bytes
            && dims.len() == demand.shape.len()
            && dims
                .iter()
                .zip(demand.shape)
                .all(|(&dim, &size)| dim as i64 == size)
    }

    fn whole(&mut self, dtype: DType, shape: Shape, bytes: usize, pool: &Pool) -> Result<*mut u8, Refusal> {
        // What an earlier, failed run left goes first: it may be just the memory that is missing.
        self.memory = None;
        self.take(dtype, shape, bytes, pool)
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
        let start = match &mut self.memory {
            Some(memory) if *memory.shape() == full => self.start(),
            Some(memory) => {
                let earlier = memory.shape().with_dim0(count);
                return Err(Refusal::Wrong(format!(
                    "has shape {shape}, an earlier part had {earlier}"
                )));
            }
            None => self.take(dtype, full, full.byte_len(dtype)?, pool)?,
        };
        let bytes = self.memory.as_ref().map_or(0, Memory::byte_len);
        let row_bytes = bytes.checked_div(part.total).unwrap_or(0);
        // In bounds: part.rows.end <= part.total, so the offset is at most the length; a part of no rows may point
        // to the end, where nothing is written.
        Ok(start.wrapping_add(part.rows.start * row_bytes))
    }

    /// Memory for all rows: what was given, or a loan.
    fn take(&mut self, dtype: DType, shape: Shape, byte_len: usize, pool: &Pool) -> Result<*mut u8, Refusal> {
        let given = self.given.as_ref().map(Region::len);
        if let Some(given) = given.filter(|&given| given < byte_len) {
            return Err(Refusal::Short {
                shape,
                needed: byte_len,
                given,
            });
        }
        self.memory = Some(if given.is_some() && stays_in_place(dtype) {
            Memory::Given {
                dtype,
                shape,
                byte_len,
            }
        } else {
            Memory::Loan(pool.loan_bytes(dtype, shape, byte_len)?)
        });
        Ok(self.start())
    }

    /// The first byte of what was taken.
    fn start(&mut self) -> *mut u8 {
        match (&mut self.memory, &self.given) {
            (Some(Memory::Loan(loan)), _) => loan.as_mut_ptr(),
            (Some(Memory::Given { .. }), Some(given)) => given.as_mut_ptr(),
            _ => unreachable!("memory is given, or taken and not finished, while a part runs"),
        }
    }

    /// Whether [`settle`](Self::settle) will copy it to where it shall be.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.given.is_some() && matches!(self.memory, Some(Memory::Loan(_)))
    }

    /// All rows are written: brings them to where they shall be. The error says what is wrong with them.
    ///
    /// # Safety
    /// The plugin has written all rows.
    pub(crate) unsafe fn settle(&mut self) -> Result<(), String> {
        if self.is_old || !self.wanted {
            (self.memory, self.is_old) = (None, false);
        }
        let is_loan = |memory: &mut Memory| matches!(memory, Memory::Loan(_));
        let Some(Memory::Loan(loan)) = self.memory.take_if(is_loan) else {
            return Ok(());
        };
        // SAFETY: the caller's promise.
        let tensor = unsafe { loan.assume_init() }.freeze();
        if tensor.dtype() == DType::String {
            tensor.strings().map_err(|e| e.to_string())?;
        }
        self.memory = Some(self.place(tensor).map_err(|e| e.to_string())?);
        Ok(())
    }

    /// Takes a tensor that was made elsewhere.
    pub(crate) fn accept(&mut self, tensor: &Tensor) -> Result<(), Refusal> {
        let given = self.given.as_ref().map(Region::len);
        if let Some(given) = given.filter(|&given| given < tensor.byte_len()) {
            return Err(Refusal::Short {
                shape: *tensor.shape(),
                needed: tensor.byte_len(),
                given,
            });
        }
        (self.memory, self.is_old) = (Some(self.place(tensor.clone())?), false);
        Ok(())
    }

    /// Copies a tensor to the memory that was given for it; without any it stays as it is.
    fn place(&self, tensor: Tensor) -> Result<Memory, MemoryError> {
        let Some(given) = &self.given else {
            return Ok(Memory::Finished(tensor));
        };
        given.copy_from(tensor.bytes()?)?;
        Ok(Memory::Given {
            dtype: tensor.dtype(),
            shape: *tensor.shape(),
            byte_len: tensor.byte_len(),
        })
    }

    /// The finished tensor, after `settle`.
    pub(crate) fn finish(&mut self) -> Result<Option<Tensor>, MemoryError> {
        debug_assert!(!self.is_old, "finished is only what has been run");
        match (self.memory.take(), &self.given) {
            (Some(Memory::Finished(tensor)), _) => Ok(Some(tensor)),
            (
                Some(Memory::Given {
                    dtype,
                    shape,
                    byte_len,
                }),
                Some(given),
            ) => {
                let exact = Region::new(given.segment(), given.offset(), byte_len)?;
                Tensor::over(exact, dtype, shape).map(Some)
            }
            _ => Ok(None),
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
