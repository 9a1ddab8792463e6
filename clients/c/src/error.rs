//! Errors as numbers, with words kept by thread.

use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mlos_client::{Error, Status};

/// Why a call failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub status: Status,
    pub text: String,
}

impl Failure {
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        let (status, text) = (Status::InvalidArgument, text.into());
        Self { status, text }
    }

    pub(crate) fn conflict(text: impl Into<String>) -> Self {
        let (status, text) = (Status::Conflict, text.into());
        Self { status, text }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            status: error.kind(),
            text: error.to_string(),
        }
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Runs what a function does, and makes a number of how it ends.
pub(crate) fn answer(run: impl FnOnce() -> Result<(), Failure>) -> i32 {
    // What a panic leaves behind is a handle of the caller's, in whichever state: every state can be freed.
    let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        Err(Failure {
            status: Status::Internal,
            text: "a mistake in libmlos; its message is on stderr".to_owned(),
        })
    });
    let Err(failure) = result else {
        return Status::Ok as i32;
    };
    let text = CString::new(failure.text.replace('\0', " ")).unwrap_or_default();
    // Gone only while the thread ends.
    let _ = LAST.try_with(|last| *last.borrow_mut() = text);
    failure.status as i32
}

/// The same for what cannot fail but by a mistake of ours.
pub(crate) fn quietly(run: impl FnOnce()) {
    answer(|| {
        run();
        Ok(())
    });
}

/// See `mlos.h`.
#[unsafe(no_mangle)]
pub extern "C" fn mlos_last_error() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ptr())
        .unwrap_or(c"".as_ptr())
}

/// See `mlos.h`.
#[unsafe(no_mangle)]
pub extern "C" fn mlos_status_name(status: i32) -> *const c_char {
    const NAMES: [&std::ffi::CStr; Status::ALL.len()] = [
        c"ok",
        c"invalid_argument",
        c"not_found",
        c"conflict",
        c"too_large",
        c"unsupported",
        c"overloaded",
        c"deadline_miss",
        c"unavailable",
        c"cancelled",
        c"model_failed",
        c"internal",
    ];
    let name = usize::try_from(status).ok().and_then(|status| NAMES.get(status));
    name.map_or(c"unknown".as_ptr(), |name| name.as_ptr())
}
