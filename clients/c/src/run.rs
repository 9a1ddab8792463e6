//! Requests: running.

use std::ffi::c_int;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use mlos_client::{Bound, Timing};

use crate::abi::{CTerms, CTiming};
use crate::error::{Failure, answer};
use crate::pointers;
use crate::request::{RequestHandle, State};

impl RequestHandle {
    /// Takes the request out of the air.
    fn back(&mut self, bound: Bound, result: Result<Timing, Failure>) -> Result<Timing, Failure> {
        self.state = State::Bound(bound);
        result
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Result<Timing, Failure> {
        match std::mem::replace(&mut self.state, State::Moving) {
            State::InFlight(pending) => {
                let (bound, result) = match timeout {
                    Some(timeout) => pending.wait_for(timeout),
                    None => pending.wait(),
                };
                self.back(bound, result.map_err(Failure::from))
            }
            State::Answered(bound, result) => self.back(bound, result),
            other => {
                let wrong = other.wrong();
                self.state = other;
                Err(wrong)
            }
        }
    }

    /// Whether it is answered. If not, the descriptor is rung when it may be.
    fn poll(&mut self) -> Result<bool, Failure> {
        let pending = match &mut self.state {
            State::InFlight(pending) => pending,
            State::Answered(..) => return Ok(true),
            other => return Err(other.wrong()),
        };
        let mut context = Context::from_waker(&self.waker);
        match Pin::new(pending).poll(&mut context) {
            Poll::Pending => Ok(false),
            Poll::Ready((bound, result)) => {
                self.state = State::Answered(bound, result.map_err(Failure::from));
                Ok(true)
            }
        }
    }
}

/// # Safety
/// NULL, or a struct that begins with its size and has as many bytes.
unsafe fn put_timing(to: *mut CTiming, timing: &Timing) -> Result<(), Failure> {
    if to.is_null() {
        return Ok(());
    }
    // SAFETY: as promised to this function.
    unsafe { pointers::write(to, &CTiming::of(timing), "timing") }
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_infer(
    request: *mut RequestHandle,
    terms: *const CTerms,
    timing: *mut CTiming,
) -> i32 {
    answer(|| {
        // SAFETY: as promised to this function.
        let handle = unsafe { pointers::exclusive(request, "request") }?;
        // SAFETY: as promised to this function.
        let terms = unsafe { pointers::read(terms, "terms") }?.read()?;
        let took = handle.bound_mut()?.infer(&terms)?.timing();
        // SAFETY: as promised to this function.
        unsafe { put_timing(timing, &took) }
    })
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_submit(request: *mut RequestHandle, terms: *const CTerms) -> i32 {
    answer(|| {
        // SAFETY: as promised to this function.
        let handle = unsafe { pointers::exclusive(request, "request") }?;
        // SAFETY: as promised to this function.
        let terms = unsafe { pointers::read(terms, "terms") }?.read()?;
        handle.bound()?;
        if let State::Bound(bound) = std::mem::replace(&mut handle.state, State::Moving) {
            handle.state = State::InFlight(bound.submit(&terms));
        }
        Ok(())
    })
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_wait(
    request: *mut RequestHandle,
    timeout_ms: i64,
    timing: *mut CTiming,
) -> i32 {
    answer(|| {
        // SAFETY: as promised to this function.
        let handle = unsafe { pointers::exclusive(request, "request") }?;
        let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
        let took = handle.wait(timeout)?;
        // SAFETY: as promised to this function.
        unsafe { put_timing(timing, &took) }
    })
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_poll(request: *mut RequestHandle, is_done: *mut c_int) -> i32 {
    answer(|| {
        // SAFETY: as promised to this function.
        let handle = unsafe { pointers::exclusive(request, "request") }?;
        let done = handle.poll()?;
        // SAFETY: as promised to this function.
        unsafe { pointers::put(is_done, c_int::from(done), "is_done") }
    })
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_cancel(request: *mut RequestHandle) -> i32 {
    answer(|| {
        // SAFETY: as promised to this function.
        let handle = unsafe { pointers::shared(request, "request") }?;
        match &handle.state {
            State::InFlight(pending) => pending.cancel(),
            State::Answered(..) => {}
            other => return Err(other.wrong()),
        }
        Ok(())
    })
}
