//! Requests: laying out, filling, reading.

use std::ffi::{c_char, c_int};
use std::task::Waker;

use mlos_client::{Bound, Model, Pending, Request, Timing};

use crate::abi::{self, Versioned};
use crate::error::{Failure, answer, quietly};
use crate::model::{ModelHandle, Side};
use crate::pointers;

/// `mlos_request`.
pub struct RequestHandle {
    model: Model,
    pub(crate) waker: Waker,
    pub(crate) state: State,
}

/// What may be done with a request now.
pub(crate) enum State {
    Open(Request),
    Bound(Bound),
    InFlight(Pending),
    /// Answered, and found so by a poll.
    Answered(Bound, Result<Timing, Failure>),
    /// Only within a call.
    Moving,
}

impl State {
    fn name(&self) -> &'static str {
        match self {
            Self::Open(_) => "not bound yet: mlos_request_bind it",
            Self::Bound(_) => "not in flight: mlos_submit it",
            Self::InFlight(_) | Self::Answered(..) => "in flight: mlos_wait for it",
            Self::Moving => "lost by a mistake in libmlos",
        }
    }

    pub(crate) fn wrong(&self) -> Failure {
        Failure::conflict(format!("the request is {}", self.name()))
    }
}

impl RequestHandle {
    fn change(&mut self, with: impl FnOnce(Request) -> Request) -> Result<(), Failure> {
        let State::Open(request) = &self.state else {
            return Err(Failure::conflict("the request is bound already; lay out another"));
        };
        self.state = State::Open(with(request.clone()));
        Ok(())
    }

    pub(crate) fn bound(&self) -> Result<&Bound, Failure> {
        match &self.state {
            State::Bound(bound) => Ok(bound),
            other => Err(other.wrong()),
        }
    }

    pub(crate) fn bound_mut(&mut self) -> Result<&mut Bound, Failure> {
        match &mut self.state {
            State::Bound(bound) => Ok(bound),
            other => Err(other.wrong()),
        }
    }

    pub(crate) fn pending(&self) -> Result<&Pending, Failure> {
        match &self.state {
            State::InFlight(pending) => Ok(pending),
            State::Answered(..) => Err(Failure::conflict(
                "a request is answered already, as mlos_poll said: mlos_wait for it",
            )),
            other => Err(other.wrong()),
        }
    }
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_request_new(
    model: *const ModelHandle,
    request: *mut *mut RequestHandle,
) -> i32 {
    answer(|| {
        // SAFETY: as promised to this function.
        let ModelHandle { model, waker, .. } = unsafe { pointers::shared(model, "model") }?;
        let new = || {
            Ok(RequestHandle {
                model: model.clone(),
                waker: waker.clone(),
                state: State::Open(model.request()),
            })
        };
        // SAFETY: as promised to this function.
        unsafe { pointers::give(request, new, "request") }
    })
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_request_free(request: *mut RequestHandle) {
    // SAFETY: as promised to this function.
    quietly(|| unsafe { pointers::free(request) });
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_request_rows(request: *mut RequestHandle, rows: u64) -> i32 {
    answer(|| {
        // SAFETY: as promised to this function.
        let handle = unsafe { pointers::exclusive(request, "request") }?;
        handle.change(|request| request.rows(rows))
    })
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_request_dims(
    request: *mut RequestHandle,
    name: *const c_char,
    dims: *const u64,
    rank: usize,
) -> i32 {
    answer(|| {
        // SAFETY: as promised to this function.
        let handle = unsafe { pointers::exclusive(request, "request") }?;
        // SAFETY: as promised to this function.
        let name = unsafe { pointers::text(name, "name") }?;
        if rank > abi::RANK_MAX {
            return Err(Failure::invalid(format!("rank is {rank}; at most 8 is possible")));
        }
        // SAFETY: as promised to this function.
        let dims = unsafe { pointers::list(dims, rank, "dims") }?;
        let dims: Vec<usize> = dims.iter().map(|dim| *dim as usize).collect();
        handle.change(|request| request.dims(name, &dims))
    })
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_request_capacity(
    request: *mut RequestHandle,
    name: *const c_char,
    bytes: usize,
) -> i32 {
    answer(|| {
        // SAFETY: as promised to this function.
        let handle = unsafe { pointers::exclusive(request, "request") }?;
        // SAFETY: as promised to this function.
        let name = unsafe { pointers::text(name, "name") }?;
        handle.change(|request| request.capacity(name, bytes))
    })
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_request_without(request: *mut RequestHandle, name: *const c_char) -> i32 {
    answer(|| {
        // SAFETY: as promised to this function.
        let handle = unsafe { pointers::exclusive(request, "request") }?;
        // SAFETY: as promised to this function.
        let name = unsafe { pointers::text(name, "name") }?;
        handle.change(|request| request.without(name))
    })
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_request_bind(request: *mut RequestHandle) -> i32 {
    answer(|| {
        // SAFETY: as promised to this function.
        let handle = unsafe { pointers::exclusive(request, "request") }?;
        let State::Open(request) = &handle.state else {
            return Err(Failure::conflict("the request is bound already"));
        };
        handle.state = State::Bound(request.bind()?);
        Ok(())
    })
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_request_tensor(
    request: *const RequestHandle,
    direction: c_int,
    index: usize,
    tensor: *mut abi::Tensor,
) -> i32 {
    answer(|| {
        // SAFETY: as promised to this function.
        let handle = unsafe { pointers::shared(request, "request") }?;
        let side = Side::read(direction)?;
        let infos = side.infos(&handle.model);
        let info = infos.get(index).ok_or_else(|| {
            Failure::invalid(format!("there is no tensor {index}: there are {}", infos.len()))
        })?;
        let bound = handle.bound()?;
        let (data, bytes, shape) = match side {
            Side::Input => bound.input_place(index),
            Side::Output => bound.output_place(index),
        }?;
        let (rank, dims) = abi::dims(&shape);
        let found = abi::Tensor {
            data: data.as_ptr().cast(),
            bytes,
            dtype: info.dtype as u32,
            rank,
            dims,
            ..abi::Tensor::DEFAULT
        };
        // SAFETY: as promised to this function.
        unsafe { pointers::write(tensor, &found, "tensor") }
    })
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_request_set_strings(
    request: *mut RequestHandle,
    name: *const c_char,
    strings: *const *const c_char,
    lengths: *const usize,
    count: usize,
) -> i32 {
    answer(|| {
        // SAFETY: as promised to this function.
        let handle = unsafe { pointers::exclusive(request, "request") }?;
        // SAFETY: as promised to this function.
        let name = unsafe { pointers::text(name, "name") }?;
        // SAFETY: as promised to this function.
        let strings = unsafe { pointers::list(strings, count, "strings") }?;
        let given: Result<Vec<&[u8]>, Failure> = if lengths.is_null() {
            // SAFETY: as promised to this function.
            strings
                .iter()
                .map(|string| unsafe { pointers::text(*string, "a string") }.map(str::as_bytes))
                .collect()
        } else {
            // SAFETY: as promised to this function.
            let lengths = unsafe { pointers::list(lengths, count, "lengths") }?;
            let pairs = strings.iter().zip(lengths);
            // SAFETY: as promised to this function.
            pairs
                .map(|(string, len)| unsafe { pointers::list(string.cast(), *len, "a string") })
                .collect()
        };
        Ok(handle.bound_mut()?.set_strings(name, &given?)?)
    })
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_request_string(
    request: *const RequestHandle,
    name: *const c_char,
    element: usize,
    string: *mut *const c_char,
    length: *mut usize,
) -> i32 {
    answer(|| {
        // SAFETY: as promised to this function.
        let handle = unsafe { pointers::shared(request, "request") }?;
        // SAFETY: as promised to this function.
        let name = unsafe { pointers::text(name, "name") }?;
        let strings = handle.bound()?.outputs()?.strings(name)?;
        let found = strings.get(element);
        let found = found.ok_or_else(|| {
            Failure::invalid(format!(
                "there is no element {element}: there are {}",
                strings.len()
            ))
        })?;
        // SAFETY: as promised to this function.
        unsafe { pointers::put(length, found.len(), "length") }?;
        // SAFETY: as promised to this function.
        unsafe { pointers::put(string, found.as_ptr().cast(), "string") }
    })
}
