//! The structs of `mlos.h`.

use std::ffi::{c_char, c_void};
use std::mem::offset_of;

use mlos_client::{Class, OnMiss, Shape, Terms, Timing};

use crate::error::Failure;

/// Tensors have no more dimensions.
pub(crate) const RANK_MAX: usize = 8;

/// A struct that begins with its size, as the caller knows it.
///
/// # Safety
/// `repr(C)`, with a `usize` first, and any bytes of the caller's compiler are valid for it.
pub(crate) unsafe trait Versioned: Copy {
    /// All defaults.
    const DEFAULT: Self;
}

macro_rules! sized {
    ($type:ty, $default:expr) => {
        // SAFETY: it is repr(C) with its size first, and holds numbers and raw pointers only.
        unsafe impl Versioned for $type {
            const DEFAULT: Self = $default;
        }
        const _: () = assert!(offset_of!($type, size) == 0);
    };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Options {
    pub size: usize,
    pub name: *const c_char,
    pub spin_us: i64,
    pub timeout_ms: i64,
    pub arena_bytes: u64,
    pub slots: u32,
    pub reserved: u32,
}
sized!(
    Options,
    Options {
        size: size_of::<Options>(),
        name: std::ptr::null(),
        spin_us: 0,
        timeout_ms: 0,
        arena_bytes: 0,
        slots: 0,
        reserved: 0,
    }
);

#[repr(C)]
#[derive(Clone, Copy)]
pub struct TensorInfo {
    pub size: usize,
    pub name: *const c_char,
    pub dtype: u32,
    pub rank: u32,
    pub dims: [i64; RANK_MAX],
}
sized!(
    TensorInfo,
    TensorInfo {
        size: size_of::<TensorInfo>(),
        name: std::ptr::null(),
        dtype: 0,
        rank: 0,
        dims: [0; RANK_MAX],
    }
);

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Tensor {
    pub size: usize,
    pub data: *mut c_void,
    pub bytes: usize,
    pub dtype: u32,
    pub rank: u32,
    pub dims: [u64; RANK_MAX],
}
sized!(
    Tensor,
    Tensor {
        size: size_of::<Tensor>(),
        data: std::ptr::null_mut(),
        bytes: 0,
        dtype: 0,
        rank: 0,
        dims: [0; RANK_MAX],
    }
);

#[repr(C)]
#[derive(Clone, Copy)]
pub struct CTerms {
    pub size: usize,
    pub job_class: u32,
    pub on_miss: u32,
    pub deadline_us: u64,
}
sized!(
    CTerms,
    CTerms {
        size: size_of::<CTerms>(),
        job_class: 0,
        on_miss: 0,
        deadline_us: 0,
    }
);

#[repr(C)]
#[derive(Clone, Copy)]
pub struct CTiming {
    pub size: usize,
    pub queue_ns: u64,
    pub compute_ns: u64,
    pub job_class: u32,
    pub preemptions: u32,
    pub parts: u32,
    pub reserved: u32,
}
sized!(
    CTiming,
    CTiming {
        size: size_of::<CTiming>(),
        queue_ns: 0,
        compute_ns: 0,
        job_class: 0,
        preemptions: 0,
        parts: 0,
        reserved: 0,
    }
);

// As a C compiler lays out the header on the 64-bit machines that the daemon runs on; `tests/calls.c` asserts the same.
const _: () = {
    assert!(size_of::<Options>() == 48 && offset_of!(Options, slots) == 40);
    assert!(size_of::<TensorInfo>() == 88 && offset_of!(TensorInfo, dims) == 24);
    assert!(size_of::<Tensor>() == 96 && offset_of!(Tensor, dims) == 32);
    assert!(size_of::<CTerms>() == 24 && offset_of!(CTerms, deadline_us) == 16);
    assert!(size_of::<CTiming>() == 40 && offset_of!(CTiming, parts) == 32);
};

impl CTerms {
    pub(crate) fn read(&self) -> Result<Terms, Failure> {
        let class = match self.job_class {
            0 => None,
            number => Some(
                u8::try_from(number)
                    .ok()
                    .and_then(Class::from_u8)
                    .ok_or_else(|| {
                        Failure::invalid(format!("there is no class {number}; classes are 0 to 4"))
                    })?,
            ),
        };
        let on_miss = match self.on_miss {
            0 => OnMiss::Reject,
            1 => OnMiss::Degrade,
            number => {
                return Err(Failure::invalid(format!(
                    "on_miss is {number}; it must be 0 or 1"
                )));
            }
        };
        let deadline = (self.deadline_us > 0).then(|| std::time::Duration::from_micros(self.deadline_us));
        Ok(Terms {
            class,
            deadline,
            on_miss,
        })
    }
}

impl CTiming {
    pub(crate) fn of(timing: &Timing) -> Self {
        Self {
            queue_ns: timing.queue.as_nanos() as u64,
            compute_ns: timing.compute.as_nanos() as u64,
            job_class: timing.class.map_or(0, |class| class as u32),
            preemptions: timing.preemptions,
            parts: timing.parts,
            ..Self::DEFAULT
        }
    }
}

/// Rank and dimensions.
pub(crate) fn dims(shape: &Shape) -> (u32, [u64; RANK_MAX]) {
    let mut dims = [0; RANK_MAX];
    for (to, from) in dims.iter_mut().zip(shape.dims()) {
        *to = *from as u64;
    }
    (shape.rank() as u32, dims)
}
