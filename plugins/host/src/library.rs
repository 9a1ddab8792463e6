use crate::error::Error;
use libloading::os::unix::{Library as Shared, RTLD_LOCAL, RTLD_NOW};
use mlos_smi::{Status, abi};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// An entry between its `init` and its `deinit`. Dropped after every plugin that it created.
pub(crate) struct Library {
    entry: Functions,
}

/// The functions of an entry, known not to be NULL.
#[derive(Clone, Copy)]
pub(crate) struct Functions {
    pub(crate) plugin_count: unsafe extern "C" fn() -> u32,
    pub(crate) descriptor: unsafe extern "C" fn(u32) -> *const abi::Descriptor,
    pub(crate) create: unsafe extern "C" fn(u32, *mut *const abi::Plugin) -> i32,
    deinit: unsafe extern "C" fn(),
}

impl Library {
    /// Opens a shared object and initialises it. This executes its code.
    ///
    /// It stays mapped for the life of the process, also after a failure: threads and thread-local destructors of
    /// an engine may outlive `deinit`, and would run into a hole.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        // SAFETY: runs the object's initialisers; that the operator trusts it is the documented condition.
        let shared = unsafe { Shared::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
        let shared = shared.map_err(|e| Error::Open {
            path: path.into(),
            reason: e.to_string(),
        })?;
        // SAFETY: the symbol is the address of static data, taken as a pointer and not read here.
        let symbol = unsafe { shared.get::<*const abi::Entry>(abi::ENTRY_SYMBOL.as_bytes()) };
        let entry = symbol
            .map(|symbol| *symbol)
            .map_err(|_| Error::MissingSymbol { path: path.into() });
        std::mem::forget(shared);
        let name =
            CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::Nul { what: "plugin path" })?;
        // SAFETY: a symbol of this name is a smi_plugin_entry_t, of a version that from_entry looks at first.
        unsafe { Self::from_entry(entry?, &name, &path.display().to_string()) }
    }

    /// Initialises an entry that is built into this program.
    pub(crate) fn built_in(entry: &'static abi::Entry) -> Result<Self, Error> {
        // SAFETY: a reference to a whole entry.
        unsafe { Self::from_entry(entry, c"", "(built in)") }
    }

    /// # Safety
    /// `entry` leads to static memory that starts with two version words and, if the major one is ours, is a whole
    /// entry.
    unsafe fn from_entry(
        entry: *const abi::Entry,
        path: &std::ffi::CStr,
        source: &str,
    ) -> Result<Self, Error> {
        let bad = |what: &str| Error::BadPlugin {
            plugin: source.into(),
            what: what.into(),
        };
        if entry.is_null() || !entry.is_aligned() {
            return Err(bad("smi_entry is not a table"));
        }
        // SAFETY: the version words are there in every version, and nothing behind them is read yet.
        let major = unsafe { (*entry).abi_major };
        if major != abi::ABI_MAJOR {
            let plugin = source.into();
            return Err(Error::AbiMismatch {
                plugin,
                found: major,
                expected: abi::ABI_MAJOR,
            });
        }
        // SAFETY: of our version, so it is whole.
        let entry = unsafe { *entry };
        let null = |name: &str| bad(&format!("smi_entry.{name} is NULL"));
        let init = entry.init.ok_or_else(|| null("init"))?;
        let functions = Functions {
            plugin_count: entry.get_plugin_count.ok_or_else(|| null("get_plugin_count"))?,
            descriptor: entry.get_descriptor.ok_or_else(|| null("get_descriptor"))?,
            create: entry.create.ok_or_else(|| null("create"))?,
            deinit: entry.deinit.ok_or_else(|| null("deinit"))?,
        };
        // SAFETY: [one thread & first]; the path lives across the call.
        match Status::from_code(unsafe { init(path.as_ptr()) }) {
            None => Ok(Self { entry: functions }),
            Some(status) => Err(Error::Plugin {
                plugin: source.into(),
                during: "init",
                status,
                message: status.to_string(),
            }),
        }
    }

    pub(crate) fn functions(&self) -> Functions {
        self.entry
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: [one thread & last]: the plugins hold the library, so they are terminated by now.
        unsafe { (self.entry.deinit)() };
    }
}
