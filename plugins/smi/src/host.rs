use crate::abi;

/// How important a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Level {
    /// Something failed.
    Error = 1,
    /// Something is not as it should be.
    Warn = 2,
    /// Worth knowing.
    Info = 3,
    /// For those who look for a fault.
    Debug = 4,
    /// Everything.
    Trace = 5,
}

/// The host that a plugin was initialised by. Valid as long as the plugin.
#[derive(Debug, Clone, Copy)]
pub struct Host(*const abi::Host);

// SAFETY: the table is immutable and its functions that this type calls are tagged [any thread].
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

impl Host {
    /// Wraps the host's table.
    ///
    /// # Safety
    /// `table` is a valid host table, and stays so for as long as the value or a copy of it is used.
    pub(crate) unsafe fn from_raw(table: *const abi::Host) -> Self {
        Self(table)
    }

    /// The table, for what the SDK does not wrap.
    pub fn as_ptr(self) -> *const abi::Host {
        self.0
    }

    /// Writes a line to the host's log.
    pub fn log(self, level: Level, text: &str) {
        // SAFETY: the table is valid while the plugin lives (from_raw).
        let log = unsafe { (*self.0).log };
        // SAFETY: [any thread], after initialize began; the text is copied before it returns.
        unsafe { log(self.0, level as i32, text.as_ptr().cast(), text.len() as u64) }
    }

    /// Leaves the text of a failure with the host.
    ///
    /// # Safety
    /// On the thread that the host called on, inside that function; `call` is the call inside infer, else null.
    pub(crate) unsafe fn set_error(self, call: *mut abi::Call, text: &str) {
        // SAFETY: the table is valid while the plugin lives (from_raw).
        let set_error = unsafe { (*self.0).set_error };
        // SAFETY: the caller upholds the tag; the text is copied before it returns.
        unsafe { set_error(self.0, call, text.as_ptr().cast(), text.len() as u64) }
    }
}
