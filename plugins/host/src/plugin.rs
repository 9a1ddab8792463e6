use crate::describe;
use crate::error::Error;
use crate::library::Library;
use crate::limits::FORMATS_MAX;
use crate::model::Model;
use crate::plugins::HostConfig;
use crate::table::{self, HostTable};
use mlos_smi::{LoadRequest, abi};
use std::ffi::{CStr, CString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;

/// Where a plugin came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Linked into this program.
    BuiltIn,
    /// A shared object.
    Library(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("(built in)"),
            Self::Library(path) => path.display().fmt(f),
        }
    }
}

/// Who a plugin is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginInfo {
    /// Its stable id.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// Who made it; may be empty.
    pub vendor: String,
    /// Its version.
    pub version: String,
    /// One line; may be empty.
    pub description: String,
    /// The formats that it loads.
    pub formats: Vec<String>,
    /// Where it came from.
    pub source: Source,
}

/// A plugin, ready to load models. Terminated when it and its last model are dropped.
pub struct Plugin {
    info: PluginInfo,
    table: *const abi::Plugin,
    functions: Functions,
    host: HostTable,
    /// Dropped after `drop` has terminated the plugin.
    _library: Arc<Library>,
}

/// The functions of a plugin, known not to be NULL.
#[derive(Clone, Copy)]
pub(crate) struct Functions {
    initialize: unsafe extern "C" fn(*const abi::Plugin, *const abi::Host, *const std::ffi::c_char) -> i32,
    load: unsafe extern "C" fn(*const abi::Plugin, *const abi::LoadRequest, *mut *mut abi::Model) -> i32,
    pub(crate) describe:
        unsafe extern "C" fn(*const abi::Plugin, *const abi::Model, *mut abi::ModelInfo) -> i32,
    pub(crate) infer: abi::InferFn,
    pub(crate) unload: unsafe extern "C" fn(*const abi::Plugin, *mut abi::Model),
    terminate: unsafe extern "C" fn(*const abi::Plugin),
    pub(crate) get_extension: abi::PluginExtensionFn,
}

// SAFETY: the table is immutable, and every function that is called through a shared Plugin is tagged [any thread];
// initialize and terminate are called by its only owner.
unsafe impl Send for Plugin {}
// SAFETY: as above.
unsafe impl Sync for Plugin {}

impl Plugin {
    /// Creates plugin `index` of a library, not yet initialised.
    pub(crate) fn create(
        library: &Arc<Library>,
        index: u32,
        source: &Source,
        config: &HostConfig,
    ) -> Result<Self, Error> {
        let bad = |what: String| Error::BadPlugin {
            plugin: source.to_string(),
            what,
        };
        // SAFETY: [between init and deinit].
        let descriptor = unsafe { (library.functions().descriptor)(index) };
        if descriptor.is_null() || !descriptor.is_aligned() {
            return Err(bad(format!("plugin {index} has no descriptor")));
        }
        // SAFETY: not null, aligned, static memory of the plugin.
        let descriptor = unsafe { &*descriptor };
        // SAFETY: the plugin promises texts.
        let info = unsafe { PluginInfo::read(descriptor, source) }.map_err(bad)?;
        let mut table: *const abi::Plugin = ptr::null();
        // SAFETY: [between init and deinit], index in range; `table` is ours to write.
        let code = unsafe { (library.functions().create)(index, &raw mut table) };
        table::check(code, &info.id, "create")?;
        if table.is_null() || !table.is_aligned() {
            return Err(bad(format!("create gave no table for plugin `{}`", info.id)));
        }
        // SAFETY: not null, aligned, alive until terminate.
        let functions = Functions::read(unsafe { &*table }).map_err(bad)?;
        let host = HostTable::new(config, &info.id)?;
        Ok(Self {
            info,
            table,
            functions,
            host,
            _library: library.clone(),
        })
    }

    /// Makes it ready; after a failure it may only be dropped.
    pub(crate) fn initialize(&self, config_json: &CStr) -> Result<(), Error> {
        // SAFETY: once, after create, before it is shared; the host's table lives in `self`, until terminate.
        let code = table::with_error_text(|| unsafe {
            (self.functions.initialize)(self.table, self.host.as_ptr(), config_json.as_ptr())
        });
        code.into_result(&self.info.id, "initialize")
    }

    /// Who it is.
    pub fn info(&self) -> &PluginInfo {
        &self.info
    }

    /// Loads a model; may take long, so not on a shard's front.
    ///
    /// # Errors
    /// What the plugin says, or it described the model in a way that breaks the interface.
    pub fn load(self: &Arc<Self>, request: &LoadRequest<'_>) -> Result<Model, Error> {
        let path = c_path(request.path, "model path")?;
        let component = c_text(request.component, "component name")?;
        let cache_dir = request
            .cache_dir
            .map(|dir| c_path(dir, "cache directory"))
            .transpose()?;
        let options_json = c_text(request.options_json, "options text")?;
        let raw = abi::LoadRequest {
            path: path.as_ptr(),
            component: component.as_ptr(),
            cache_dir: cache_dir.as_ref().map_or(ptr::null(), |dir| dir.as_ptr()),
            options_json: options_json.as_ptr(),
            threads: request.threads.max(1),
            reserved: 0,
        };
        let mut handle: *mut abi::Model = ptr::null_mut();
        // SAFETY: [after initialize]; the request's texts live across the call, and `handle` is ours to write.
        let code = table::with_error_text(|| unsafe {
            (self.functions.load)(self.table, &raw const raw, &raw mut handle)
        });
        code.into_result(&self.info.id, "load")?;
        // SAFETY: load succeeded, so the handle is a model of this plugin, and nobody else's yet.
        unsafe { Model::from_handle(self.clone(), handle) }
    }

    pub(crate) fn table(&self) -> *const abi::Plugin {
        self.table
    }

    pub(crate) fn functions(&self) -> Functions {
        self.functions
    }

    pub(crate) fn host_table(&self) -> *const abi::Host {
        self.host.as_ptr()
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        // SAFETY: the last owner; models hold the plugin, so all are unloaded. Also right after a failed initialize.
        unsafe { (self.functions.terminate)(self.table) };
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Plugin").field(&self.info.id).finish()
    }
}

impl Functions {
    fn read(table: &abi::Plugin) -> Result<Self, String> {
        let null = |name: &str| format!("smi_plugin.{name} is NULL");
        Ok(Self {
            initialize: table.initialize.ok_or_else(|| null("initialize"))?,
            load: table.load.ok_or_else(|| null("load"))?,
            describe: table.describe.ok_or_else(|| null("describe"))?,
            infer: table.infer.ok_or_else(|| null("infer"))?,
            unload: table.unload.ok_or_else(|| null("unload"))?,
            terminate: table.terminate.ok_or_else(|| null("terminate"))?,
            get_extension: table.get_extension.ok_or_else(|| null("get_extension"))?,
        })
    }
}

impl PluginInfo {
    /// # Safety
    /// Pointers of `raw` that are not null lead to what `smi_descriptor_t` promises.
    unsafe fn read(raw: &abi::Descriptor, source: &Source) -> Result<Self, String> {
        // SAFETY: the caller's promise.
        let text =
            |text, what| unsafe { describe::text(text) }.map_err(|e| format!("the plugin's {what} is {e}"));
        let id = text(raw.id, "id")?;
        if id.is_empty() {
            return Err("the plugin's id is empty".into());
        }
        if raw.formats.is_null() {
            return Err("the plugin's list of formats is NULL".into());
        }
        let mut formats = Vec::new();
        loop {
            // SAFETY: the list ends with NULL, which was not reached.
            let format = unsafe { raw.formats.add(formats.len()) };
            // SAFETY: as above.
            let format = unsafe { *format };
            if format.is_null() {
                break;
            }
            if formats.len() == FORMATS_MAX {
                return Err(format!("the plugin names more than {FORMATS_MAX} formats"));
            }
            formats.push(text(format, "format")?);
        }
        Ok(Self {
            id,
            name: text(raw.name, "name")?,
            vendor: text(raw.vendor, "vendor")?,
            version: text(raw.version, "version")?,
            description: text(raw.description, "description")?,
            formats,
            source: source.clone(),
        })
    }
}

fn c_text(text: &str, what: &'static str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::Nul { what })
}

fn c_path(path: &Path, what: &'static str) -> Result<CString, Error> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::Nul { what })
}
