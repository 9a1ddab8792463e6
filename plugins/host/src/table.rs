//! The host's table: what plugins call. Its callbacks find their call in a thread-local variable, so one for a call
//! that is not running on this thread (finished, suspended, or another thread's) is refused without touching it.

use crate::error::Error;
use crate::limits::{ERROR_TEXT_BYTES_MAX, LOG_TEXT_BYTES_MAX};
use crate::plugins::HostConfig;
use crate::state::State;
use mlos_smi::{Status, abi};
use std::cell::{Cell, RefCell};
use std::ffi::{CString, c_char, c_void};
use std::ptr;

thread_local! {
    /// The call that runs on this thread, or null.
    static RUNNING: Cell<*const State> = const { Cell::new(ptr::null()) };
    /// What a plugin said about the function outside of calls that it is in.
    static ERROR_TEXT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// One plugin's table of the host: the address of `abi` is given to the plugin.
pub(crate) struct HostTable(*mut Inner);

struct Inner {
    abi: abi::Host,
    plugin: String,
    _name: CString,
    _version: CString,
}

impl HostTable {
    pub(crate) fn new(config: &HostConfig, plugin: &str) -> Result<Self, Error> {
        let name = CString::new(config.name.as_str()).map_err(|_| Error::Nul { what: "host's name" })?;
        let version = CString::new(config.version.as_str()).map_err(|_| Error::Nul {
            what: "host's version",
        })?;
        let abi = abi::Host {
            abi_major: abi::ABI_MAJOR,
            abi_minor: abi::ABI_MINOR,
            name: name.as_ptr(),
            version: version.as_ptr(),
            host_data: ptr::null_mut(),
            log,
            set_error,
            alloc_output,
            checkpoint,
            wants_checkpoint,
            get_extension,
        };
        let inner = Inner {
            abi,
            plugin: plugin.into(),
            _name: name,
            _version: version,
        };
        let inner = Box::into_raw(Box::new(inner));
        // SAFETY: just allocated, and nobody else's yet.
        unsafe { (*inner).abi.host_data = inner.cast() };
        Ok(Self(inner))
    }

    pub(crate) fn as_ptr(&self) -> *const abi::Host {
        // SAFETY: allocated by `new` and freed in `drop` only.
        unsafe { &raw const (*self.0).abi }
    }
}

impl Drop for HostTable {
    fn drop(&mut self) {
        // SAFETY: allocated by `new`; the plugin, its only other user, is terminated.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

/// Makes `state` the running call of this thread while `body` runs.
pub(crate) fn while_running<T>(state: *const State, body: impl FnOnce() -> T) -> T {
    /// Restores the call around this one, also when a panic passes.
    struct Restore(*const State);
    impl Drop for Restore {
        fn drop(&mut self) {
            RUNNING.set(self.0);
        }
    }
    let _restore = Restore(RUNNING.replace(state));
    body()
}

/// What a function of the plugin returned, and what it said.
pub(crate) struct Reply {
    code: i32,
    text: Option<String>,
}

/// Calls a plugin outside of infer.
pub(crate) fn with_error_text(body: impl FnOnce() -> i32) -> Reply {
    ERROR_TEXT.set(None);
    let code = body();
    Reply {
        code,
        text: ERROR_TEXT.take(),
    }
}

impl Reply {
    pub(crate) fn into_result(self, plugin: &str, during: &'static str) -> Result<(), Error> {
        let Some(status) = Status::from_code(self.code) else {
            return Ok(());
        };
        let message = self.text.unwrap_or_else(|| status.to_string());
        Err(Error::Plugin {
            plugin: plugin.into(),
            during,
            status,
            message,
        })
    }
}

/// Reads a status for which there is no text.
pub(crate) fn check(code: i32, plugin: &str, during: &'static str) -> Result<(), Error> {
    Reply { code, text: None }.into_result(plugin, during)
}

/// Runs `body` with the running call, if that is the call that the plugin names.
fn with_running(call: *mut abi::Call, body: impl FnOnce(&State) -> i32) -> i32 {
    let state = RUNNING.get();
    if state.is_null() {
        return Status::InvalidArgument.code();
    }
    // SAFETY: while_running's caller keeps the state alive until it sets the variable back.
    let state = unsafe { &*state };
    if state.abi_call() != call {
        return Status::InvalidArgument.code();
    }
    body(state)
}

/// A text of the plugin, cut at `max` bytes.
///
/// # Safety
/// `text` is null or leads to `length` bytes.
unsafe fn text_of(text: *const c_char, length: u64, max: usize) -> String {
    let length = usize::try_from(length).unwrap_or(max).min(max);
    if text.is_null() || length == 0 {
        return String::new();
    }
    // SAFETY: not null, and the caller's promise.
    let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length) };
    String::from_utf8_lossy(bytes).into_owned()
}

unsafe extern "C" fn log(host: *const abi::Host, level: i32, text: *const c_char, length: u64) {
    // SAFETY: the plugin passes the table that it was given, whose host_data is the Inner around it.
    let inner = unsafe { (*host).host_data }.cast::<Inner>();
    // SAFETY: as above; the table lives until terminate returns.
    let plugin = unsafe { (*inner).plugin.as_str() };
    // SAFETY: the plugin promises `length` bytes.
    let text = unsafe { text_of(text, length, LOG_TEXT_BYTES_MAX) };
    match level {
        ..=1 => tracing::error!(target: "plugin", plugin, "{text}"),
        2 => tracing::warn!(target: "plugin", plugin, "{text}"),
        3 => tracing::info!(target: "plugin", plugin, "{text}"),
        4 => tracing::debug!(target: "plugin", plugin, "{text}"),
        _ => tracing::trace!(target: "plugin", plugin, "{text}"),
    }
}

unsafe extern "C" fn set_error(_: *const abi::Host, call: *mut abi::Call, text: *const c_char, length: u64) {
    // SAFETY: the plugin promises `length` bytes.
    let text = unsafe { text_of(text, length, ERROR_TEXT_BYTES_MAX) };
    if call.is_null() {
        ERROR_TEXT.set(Some(text));
        return;
    }
    with_running(call, |state| {
        state.set_error_text(text);
        abi::OK
    });
}

unsafe extern "C" fn alloc_output(
    call: *mut abi::Call,
    index: u32,
    dtype: i32,
    rank: u32,
    shape: *const i64,
    size_bytes: u64,
    data: *mut *mut c_void,
) -> i32 {
    if data.is_null() || rank as usize > abi::RANK_MAX || (shape.is_null() && rank > 0) {
        return Status::InvalidArgument.code();
    }
    let shape = if rank == 0 {
        &[][..]
    } else {
        // SAFETY: not null, and the plugin promises `rank` sizes.
        unsafe { std::slice::from_raw_parts(shape, rank as usize) }
    };
    with_running(call, |state| {
        match state.alloc_output(index, dtype, shape, size_bytes) {
            Ok(memory) => {
                // SAFETY: not null, and the plugin's place for the pointer.
                unsafe { *data = memory.cast() };
                abi::OK
            }
            Err(status) => status.code(),
        }
    })
}

unsafe extern "C" fn checkpoint(call: *mut abi::Call) -> i32 {
    with_running(call, |state| {
        if state.checkpoint() {
            abi::OK
        } else {
            Status::Cancelled.code()
        }
    })
}

unsafe extern "C" fn wants_checkpoint(call: *mut abi::Call) -> i32 {
    with_running(call, |state| i32::from(state.wants_checkpoint()))
}

unsafe extern "C" fn get_extension(_: *const abi::Host, _: *const c_char) -> *const c_void {
    ptr::null()
}
