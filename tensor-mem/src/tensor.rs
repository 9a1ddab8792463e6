//! Typestate 3: a frozen tensor, shared.

use std::fmt;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::block::Block;
use crate::element::Element;
use crate::region::{Region, uninit};
use crate::segment::Segment;
use crate::strings::{self, Strings};
use crate::tensor_mut::{TensorMut, check_reshape, elements};
use crate::uninit::TensorUninit;
use crate::{DType, Error, Pool, Shape, racy};

/// An immutable tensor, or a view of one. Clones and views share the memory, which goes back to its pool when the last
/// of them is dropped, on whichever thread that happens.
///
/// A tensor starts 64-byte aligned; a view of rows starts where its first row does, aligned for its elements.
///
/// **Shared with another process.** A tensor made by [`over`](Self::over) lies in memory that another process may write at any
/// time, so it is immutable for us only. It passes through the same hands as every other, but no reference is made
/// to its bytes: [`bytes`](Self::bytes), [`as_slice`](Self::as_slice) and [`strings`](Self::strings) refuse with
/// [`Error::Shared`]. Its contents are copied ([`copy_to`](Self::copy_to), [`to_private`](Self::to_private)) or
/// given to foreign code by address.
///
/// ```compile_fail,E0599
/// # use mlos_tensor_mem::{DType, Pool, PoolConfig, Shape};
/// # let pool = Pool::new(PoolConfig::default()).unwrap();
/// let tensor = pool.loan(DType::F32, Shape::new(&[2]).unwrap()).unwrap().zeroed().freeze();
/// tensor.bytes_mut(); // no such method: others may be reading
/// ```
pub struct Tensor {
    memory: Memory,
    start: NonNull<u8>,
    byte_len: usize,
    shape: Shape,
    dtype: DType,
}

/// What keeps the bytes of a tensor.
enum Memory {
    /// Ours: nobody writes it once it is frozen.
    Pool(Block),
    /// Mapped, and written by others: no reference may lead there.
    Shared(Arc<Segment>),
}

impl Memory {
    fn share(&self) -> Self {
        match self {
            Self::Pool(block) => Self::Pool(block.share()),
            Self::Shared(segment) => Self::Shared(Arc::clone(segment)),
        }
    }
}

// SAFETY: the bytes behind `start` are kept by `memory`. They are immutable since the tensor was frozen, or shared, and
// then accessed atomically only.
unsafe impl Send for Tensor {}
// SAFETY: as above; readers on several threads are what it is for.
unsafe impl Sync for Tensor {}

impl Tensor {
    pub(crate) fn new(loan: TensorUninit) -> Self {
        let TensorUninit {
            block,
            byte_len,
            shape,
            dtype,
        } = loan;
        Self {
            start: block.base(),
            memory: Memory::Pool(block),
            byte_len,
            shape,
            dtype,
        }
    }

    /// A tensor in memory that another process may write at any time; see the type. It takes the first bytes of the
    /// region, or, when its elements are strings, all of them.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`] when the region is too short; [`Error::ShapeOverflow`].
    pub fn over(region: Region, dtype: DType, shape: Shape) -> Result<Self, Error> {
        let byte_len = match dtype.size_bytes() {
            Some(_) => shape.byte_len(dtype)?,
            None => region
                .len()
                .max(shape.elements()?.saturating_mul(size_of::<u32>())),
        };
        if byte_len > region.len() {
            return Err(Error::SizeMismatch {
                expected: byte_len,
                got: region.len(),
            });
        }
        let (segment, start, _) = region.into_parts();
        Ok(Self {
            memory: Memory::Shared(segment),
            start,
            byte_len,
            shape,
            dtype,
        })
    }

    /// A string tensor, its elements taken from an iterator that is walked twice: to count and to copy.
    pub fn from_strings<'a, I>(pool: &Pool, shape: Shape, elements: I) -> Result<Self, Error>
    where
        I: IntoIterator<Item = &'a [u8]>,
        I::IntoIter: Clone,
    {
        strings::write(pool, shape, elements.into_iter())
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

    /// Whether another process may write it; see the type.
    pub fn is_shared(&self) -> bool {
        matches!(self.memory, Memory::Shared(_))
    }

    /// The first byte. Valid for reads of [`byte_len`](Self::byte_len) bytes while this tensor or a clone lives. Of a shared
    /// tensor no reference may be made of it, and what is read twice may differ.
    pub fn as_ptr(&self) -> *const u8 {
        self.start.as_ptr()
    }

    /// The bytes.
    ///
    /// # Errors
    /// [`Error::Shared`] when another process may write them: use [`copy_to`](Self::copy_to).
    pub fn bytes(&self) -> Result<&[u8], Error> {
        match self.memory {
            // SAFETY: `start` and `byte_len` lie in the block; its bytes were written before the tensor was frozen, and
            // nobody writes a frozen one.
            Memory::Pool(_) => Ok(unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.byte_len) }),
            Memory::Shared(_) => Err(Error::Shared),
        }
    }

    /// Copies the bytes. Of a shared tensor: some value that each of them had meanwhile.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`] when `to` has another length.
    pub fn copy_to(&self, to: &mut [u8]) -> Result<(), Error> {
        if to.len() != self.byte_len {
            return Err(Error::SizeMismatch {
                expected: self.byte_len,
                got: to.len(),
            });
        }
        match self.bytes() {
            Ok(bytes) => to.copy_from_slice(bytes),
            // SAFETY: `start` and `byte_len` lie in a region, mapped while the tensor keeps its segment; a shared tensor
            // gives no reference to its bytes.
            Err(_) => unsafe { racy::read(self.start, uninit(to)) },
        }
        Ok(())
    }

    /// A tensor that nobody else writes: a copy in `pool` of a shared one, else a clone.
    ///
    /// # Errors
    /// [`Error::Exhausted`], and those of system calls when the pool has to grow.
    pub fn to_private(&self, pool: &Pool) -> Result<Self, Error> {
        if !self.is_shared() {
            return Ok(self.clone());
        }
        let mut copy = pool
            .loan_bytes(self.dtype, self.shape, self.byte_len)?
            .byte_writer();
        copy.extend_from_tensor(self)?;
        Ok(copy.finish()?.freeze())
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// The elements.
    ///
    /// # Errors
    /// [`Error::DTypeMismatch`], [`Error::InvalidBool`]; [`Error::Shared`] as for [`bytes`](Self::bytes).
    pub fn as_slice<T: Element>(&self) -> Result<&[T], Error> {
        let len = elements::<T>(self.dtype, self.bytes()?)?;
        debug_assert!(self.start.cast::<T>().is_aligned());
        // SAFETY: the bytes are values of T (type agreed and `check`ed), `len` of them. A view starts a whole number
        // of elements after a 64-byte boundary, so it is aligned for T.
        Ok(unsafe { std::slice::from_raw_parts(self.start.cast().as_ptr(), len) })
    }

    /// The elements of a string tensor. All lengths are checked before the first is returned.
    ///
    /// # Errors
    /// [`Error::DTypeMismatch`], [`Error::Strings`]; [`Error::Shared`] as for [`bytes`](Self::bytes).
    pub fn strings(&self) -> Result<Strings<'_>, Error> {
        if self.dtype != DType::String {
            return Err(Error::DTypeMismatch {
                expected: self.dtype,
                got: DType::String,
            });
        }
        Strings::parse(self.bytes()?, self.shape.elements()?)
    }

    /// A view of some rows, along the first dimension. No bytes are copied.
    ///
    /// # Errors
    /// [`Error::RowsOutOfRange`]; for strings also those of [`strings`](Self::strings).
    pub fn rows(&self, rows: Range<usize>) -> Result<Self, Error> {
        let count = if self.shape.rank() == 0 {
            0
        } else {
            self.shape.dims()[0]
        };
        if self.shape.rank() == 0 || rows.start > rows.end || rows.end > count {
            return Err(Error::RowsOutOfRange {
                start: rows.start,
                end: rows.end,
                rows: count,
            });
        }
        let shape = self.shape.with_dim0(rows.len());
        let bytes = self.row_bytes(&rows, count)?;
        debug_assert!(bytes.end <= self.byte_len);
        // SAFETY: `bytes` lies within the tensor, so the start does within its memory, or one past its end.
        let start = unsafe { self.start.add(bytes.start) };
        Ok(Self {
            memory: self.memory.share(),
            start,
            byte_len: bytes.len(),
            shape,
            dtype: self.dtype,
        })
    }

    /// Where some of `count` rows lie in the tensor.
    fn row_bytes(&self, rows: &Range<usize>, count: usize) -> Result<Range<usize>, Error> {
        if self.dtype == DType::String {
            let per_row = self.shape.elements()?.checked_div(count).unwrap_or(0);
            return Ok(self
                .strings()?
                .byte_range(rows.start * per_row..rows.end * per_row));
        }
        let stride = self.byte_len.checked_div(count).unwrap_or(0);
        Ok(rows.start * stride..rows.end * stride)
    }

    /// The same elements under another shape. No bytes are copied.
    pub fn reshape(&self, shape: Shape) -> Result<Self, Error> {
        check_reshape(&self.shape, &shape)?;
        Ok(Self {
            shape,
            ..self.clone()
        })
    }

    /// The right to write again, if nobody else shares the memory and this is all of it. Never of a shared tensor.
    pub fn into_mut(self) -> Result<TensorMut, Self> {
        let is_ours = |block: &Block| self.start == block.base() && block.is_unique();
        if !matches!(&self.memory, Memory::Pool(block) if is_ours(block)) {
            return Err(self);
        }
        let Self {
            memory: Memory::Pool(block),
            byte_len,
            shape,
            dtype,
            ..
        } = self
        else {
            unreachable!("a block, as just seen");
        };
        Ok(TensorMut::new(TensorUninit::new(block, dtype, shape, byte_len)))
    }

    /// Where it lies, for a process that shares the segment.
    pub fn location(&self) -> Location {
        let segment = match &self.memory {
            Memory::Pool(block) => block.store().segment(block.name()),
            Memory::Shared(segment) => Arc::clone(segment),
        };
        let offset = self.start.as_ptr().addr() - segment.base().as_ptr().addr();
        Location {
            segment,
            offset,
            len: self.byte_len,
        }
    }
}

impl Clone for Tensor {
    fn clone(&self) -> Self {
        let &Self {
            start,
            byte_len,
            shape,
            dtype,
            ..
        } = self;
        Self {
            memory: self.memory.share(),
            start,
            byte_len,
            shape,
            dtype,
        }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = if self.is_shared() { " shared" } else { "" };
        write!(f, "Tensor({} {}{shared})", self.dtype, self.shape)
    }
}

/// A tensor's place in its segment.
#[derive(Clone, Debug)]
pub struct Location {
    segment: Arc<Segment>,
    /// Where it starts in the segment, in bytes.
    pub offset: usize,
    /// How long it is, in bytes.
    pub len: usize,
}

impl Location {
    /// The segment, kept mapped while this lives. That the bytes there stay the tensor's is up to the tensor.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// The segment's descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.segment.as_fd()
    }
}
