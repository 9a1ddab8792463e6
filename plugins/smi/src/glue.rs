//! From the Rust traits to the C table. Each `extern "C"` function turns its pointers into references in its first
//! lines, catches panics, and leaves the text of a failure with the host.

use crate::description::{Description, Dim, TensorSpec};
use crate::{Call, Failure, Host, Model, Plugin, Status, abi, plugin};
use std::ffi::{CStr, CString, OsStr, c_char, c_void};
use std::marker::PhantomData;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;

/// The table of a plugin, for [`export_plugin!`](crate::export_plugin) or for a host that it is built into.
pub const fn entry_of<P: Plugin>() -> &'static abi::Entry {
    Table::<P>::ENTRY
}

struct Table<P>(PhantomData<P>);

impl<P: Plugin> Table<P> {
    const ENTRY: &'static abi::Entry = &abi::Entry {
        abi_major: abi::ABI_MAJOR,
        abi_minor: abi::ABI_MINOR,
        init: Some(init),
        deinit: Some(deinit),
        get_plugin_count: Some(get_plugin_count),
        get_descriptor: Some(get_descriptor::<P>),
        create: Some(create::<P>),
    };

    const DESCRIPTOR: &'static abi::Descriptor = &abi::Descriptor {
        id: P::DESCRIPTOR.id.as_ptr(),
        name: P::DESCRIPTOR.name.as_ptr(),
        vendor: P::DESCRIPTOR.vendor.as_ptr(),
        version: P::DESCRIPTOR.version.as_ptr(),
        description: P::DESCRIPTOR.description.as_ptr(),
        formats: Self::FORMATS.as_ptr(),
    };

    const FORMATS: &'static [*const c_char; plugin::FORMATS_MAX + 1] = &{
        let formats = P::DESCRIPTOR.formats;
        assert!(
            formats.len() <= plugin::FORMATS_MAX,
            "a plugin names too many formats"
        );
        let mut list = [ptr::null(); plugin::FORMATS_MAX + 1];
        let mut index = 0;
        while index < formats.len() {
            list[index] = formats[index].as_ptr();
            index += 1;
        }
        list
    };

    const MEMORY: &'static abi::Memory = &abi::Memory {
        resident_bytes: Some(resident_bytes::<P>),
    };
}

/// What `plugin_data` points to.
struct Instance<P> {
    table: abi::Plugin,
    ready: OnceLock<Ready<P>>,
}

struct Ready<P> {
    host: Host,
    plugin: P,
}

/// What a model handle points to. Its lists are never changed, so pointers into them live as long as it.
struct Loaded<M> {
    model: M,
    info: abi::ModelInfo,
    profile: abi::SliceProfile,
    _inputs: Specs,
    _outputs: Specs,
    _profile_rows: Vec<abi::SliceProfileRow>,
}

/// C form of a list of [`TensorSpec`]s, with everything that its pointers lead to.
struct Specs {
    table: Vec<abi::TensorSpec>,
    _parts: Vec<SpecParts>,
}

struct SpecParts {
    name: CString,
    dims: Vec<i64>,
    dim_name_ptrs: Vec<*const c_char>,
    _dim_names: Vec<CString>,
}

impl SpecParts {
    fn new(spec: &TensorSpec) -> Result<Self, Failure> {
        if spec.dims.len() > abi::RANK_MAX {
            return Err(Failure::bad_model(format!(
                "`{}` has more than {} dimensions",
                spec.name,
                abi::RANK_MAX
            )));
        }
        let (mut dims, mut names, mut name_ptrs) = (Vec::new(), Vec::new(), Vec::new());
        for dim in &spec.dims {
            let (size, name) = match dim {
                Dim::Fixed(size) => (
                    i64::try_from(*size).map_err(|_| Failure::bad_model("a dimension is too large"))?,
                    None,
                ),
                Dim::Dynamic(name) => (-1, name.as_deref()),
            };
            dims.push(size);
            name_ptrs.push(match name {
                Some(name) => {
                    names.push(c_string(name)?);
                    names.last().map_or(ptr::null(), |name| name.as_ptr())
                }
                None => ptr::null(),
            });
        }
        Ok(Self {
            name: c_string(&spec.name)?,
            dims,
            dim_name_ptrs: name_ptrs,
            _dim_names: names,
        })
    }
}

impl Specs {
    fn new(specs: &[TensorSpec]) -> Result<Self, Failure> {
        if specs.len() > abi::TENSORS_MAX {
            return Err(Failure::bad_model(format!(
                "more than {} inputs or outputs",
                abi::TENSORS_MAX
            )));
        }
        let parts: Vec<SpecParts> = specs.iter().map(SpecParts::new).collect::<Result<_, _>>()?;
        let table = specs
            .iter()
            .zip(&parts)
            .map(|(spec, part)| abi::TensorSpec {
                name: part.name.as_ptr(),
                dtype: spec.dtype.code(),
                rank: part.dims.len() as u32,
                dims: part.dims.as_ptr(),
                dim_names: part.dim_name_ptrs.as_ptr(),
                flags: if spec.optional { abi::SPEC_OPTIONAL } else { 0 },
                reserved: 0,
            })
            .collect();
        Ok(Self { table, _parts: parts })
    }
}

fn c_string(text: &str) -> Result<CString, Failure> {
    CString::new(text).map_err(|_| Failure::bad_model(format!("the name {text:?} holds a NUL byte")))
}

impl<M: Model> Loaded<M> {
    fn new(model: M) -> Result<Self, Failure> {
        let Description {
            inputs,
            outputs,
            resources,
        } = model.description();
        let (inputs, outputs) = (Specs::new(inputs)?, Specs::new(outputs)?);
        let mut flags = 0;
        if resources.reentrant {
            flags |= abi::MODEL_REENTRANT;
        }
        if resources.rows_independent {
            flags |= abi::MODEL_ROWS_INDEPENDENT;
        }
        let info = abi::ModelInfo {
            inputs: inputs.table.as_ptr(),
            outputs: outputs.table.as_ptr(),
            input_count: inputs.table.len() as u32,
            output_count: outputs.table.len() as u32,
            resources: abi::Resources {
                memory_bytes: resources.memory_bytes,
                threads: resources.threads.max(1),
                flags,
            },
        };
        let rows: Vec<abi::SliceProfileRow> = model.slice_profile().into_iter().map(profile_row).collect();
        let profile = abi::SliceProfile {
            entries: rows.as_ptr(),
            count: rows.len() as u32,
            reserved: 0,
        };
        Ok(Self {
            model,
            info,
            profile,
            _inputs: inputs,
            _outputs: outputs,
            _profile_rows: rows,
        })
    }
}

fn profile_row(row: crate::SliceProfile) -> abi::SliceProfileRow {
    abi::SliceProfileRow {
        rows: row.rows,
        total_ns: row.total_ns,
        longest_slice_ns: row.longest_slice_ns,
        checkpoints: row.checkpoints,
    }
}

/// Runs `body` so that no panic crosses the ABI; `report` gets the text of a failure.
fn guarded(body: impl FnOnce() -> Result<(), Failure>, report: impl FnOnce(&str)) -> i32 {
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return abi::OK,
        Ok(Err(failure)) => failure,
        Err(panic) => Failure::new(
            Status::Runtime,
            format!("the plugin panicked: {}", panic_text(&*panic)),
        ),
    };
    report(&failure.message);
    failure.status.code()
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no text)")
}

/// # Safety
/// `text` is NUL-terminated and lives for `'a`.
unsafe fn text_of<'a>(text: *const c_char, what: &str) -> Result<&'a str, Failure> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { CStr::from_ptr(text) };
    bytes
        .to_str()
        .map_err(|_| Failure::invalid(format!("the {what} is not UTF-8")))
}

/// # Safety
/// `path` is NUL-terminated and lives for `'a`.
unsafe fn path_of<'a>(path: *const c_char) -> &'a Path {
    // SAFETY: the caller's promise.
    let bytes = unsafe { CStr::from_ptr(path) };
    Path::new(OsStr::from_bytes(bytes.to_bytes()))
}

/// # Safety
/// `plugin` came from `create::<P>` and was not terminated.
unsafe fn instance<'a, P: Plugin>(plugin: *const abi::Plugin) -> &'a Instance<P> {
    // SAFETY: the caller's promise: the table is alive.
    let data = unsafe { (*plugin).plugin_data };
    // SAFETY: create::<P> pointed plugin_data to the Instance<P> around the table.
    unsafe { &*data.cast::<Instance<P>>() }
}

/// # Safety
/// `model` came from `load::<P>` and was not unloaded.
unsafe fn loaded<'a, P: Plugin>(model: *const abi::Model) -> &'a Loaded<P::Model> {
    // SAFETY: load::<P> made the handle from a Box<Loaded<P::Model>>.
    unsafe { &*model.cast::<Loaded<P::Model>>() }
}

unsafe extern "C" fn init(_path: *const c_char) -> i32 {
    abi::OK
}

unsafe extern "C" fn deinit() {}

unsafe extern "C" fn get_plugin_count() -> u32 {
    1
}

unsafe extern "C" fn get_descriptor<P: Plugin>(index: u32) -> *const abi::Descriptor {
    if index == 0 {
        Table::<P>::DESCRIPTOR
    } else {
        ptr::null()
    }
}

unsafe extern "C" fn create<P: Plugin>(index: u32, plugin: *mut *const abi::Plugin) -> i32 {
    if index != 0 {
        return Status::NotFound.code();
    }
    let instance = Box::into_raw(Box::new(Instance::<P> {
        table: abi::Plugin {
            descriptor: Table::<P>::DESCRIPTOR,
            plugin_data: ptr::null_mut(),
            initialize: Some(initialize::<P>),
            load: Some(load::<P>),
            describe: Some(describe::<P>),
            infer: Some(infer::<P>),
            unload: Some(unload::<P>),
            terminate: Some(terminate::<P>),
            get_extension: Some(get_extension::<P>),
        },
        ready: OnceLock::new(),
    }));
    // SAFETY: `instance` was made above and is not shared yet.
    unsafe { (*instance).table.plugin_data = instance.cast::<c_void>() };
    // SAFETY: as above.
    let table = unsafe { &raw const (*instance).table };
    // SAFETY: the host passes a place for the plugin.
    unsafe { *plugin = table };
    abi::OK
}

unsafe extern "C" fn initialize<P: Plugin>(
    plugin: *const abi::Plugin,
    host: *const abi::Host,
    config_json: *const c_char,
) -> i32 {
    // SAFETY: [after create].
    let instance = unsafe { instance::<P>(plugin) };
    // SAFETY: the host's table lives until terminate returns, and the plugin with its copies is dropped there.
    let host = unsafe { Host::from_raw(host) };
    let body = || {
        // SAFETY: config_json is the host's NUL-terminated text until the return.
        let config = unsafe { text_of(config_json, "configuration") }?;
        let ready = Ready {
            host,
            plugin: P::initialize(host, config)?,
        };
        instance
            .ready
            .set(ready)
            .map_err(|_| Failure::invalid("initialized twice"))
    };
    // SAFETY: inside initialize, on its thread.
    guarded(body, |text| unsafe { host.set_error(ptr::null_mut(), text) })
}

unsafe extern "C" fn load<P: Plugin>(
    plugin: *const abi::Plugin,
    request: *const abi::LoadRequest,
    model: *mut *mut abi::Model,
) -> i32 {
    // SAFETY: [after initialize].
    let Some(ready) = (unsafe { instance::<P>(plugin) }).ready.get() else {
        return Status::InvalidArgument.code();
    };
    let body = || {
        // SAFETY: the request is the host's until load returns.
        let request = unsafe { &*request };
        // SAFETY: so is what it points to.
        let request = unsafe { load_request(request) }?;
        let loaded = Box::new(Loaded::new(ready.plugin.load(&request)?)?);
        // SAFETY: the host passes a place for the handle.
        unsafe { *model = Box::into_raw(loaded).cast::<abi::Model>() };
        Ok(())
    };
    // SAFETY: inside load, on its thread.
    guarded(body, |text| unsafe {
        ready.host.set_error(ptr::null_mut(), text)
    })
}

/// # Safety
/// The pointers of `raw` keep the promises of `smi_load_request_t` while it is borrowed.
unsafe fn load_request(raw: &abi::LoadRequest) -> Result<crate::LoadRequest<'_>, Failure> {
    // SAFETY: promised by the caller, NULL excluded here.
    let cache_dir = (!raw.cache_dir.is_null()).then(|| unsafe { path_of(raw.cache_dir) });
    Ok(crate::LoadRequest {
        // SAFETY: promised by the caller.
        path: unsafe { path_of(raw.path) },
        // SAFETY: promised by the caller.
        component: unsafe { text_of(raw.component, "component name") }?,
        cache_dir,
        // SAFETY: promised by the caller.
        options_json: unsafe { text_of(raw.options_json, "options text") }?,
        threads: raw.threads.max(1),
    })
}

unsafe extern "C" fn describe<P: Plugin>(
    _plugin: *const abi::Plugin,
    model: *const abi::Model,
    info: *mut abi::ModelInfo,
) -> i32 {
    // SAFETY: [between load and unload].
    let loaded = unsafe { loaded::<P>(model) };
    // SAFETY: the host passes a place for the description.
    unsafe { *info = loaded.info };
    abi::OK
}

unsafe extern "C" fn infer<P: Plugin>(
    plugin: *const abi::Plugin,
    model: *mut abi::Model,
    call: *mut abi::Call,
) -> i32 {
    // SAFETY: [after initialize].
    let Some(ready) = (unsafe { instance::<P>(plugin) }).ready.get() else {
        return Status::InvalidArgument.code();
    };
    // SAFETY: [between load and unload].
    let loaded = unsafe { loaded::<P>(model) };
    // SAFETY: the host runs this infer for `call` on this thread, and the Call ends before it returns.
    let body = || loaded.model.infer(&unsafe { Call::from_ptr(call) });
    // SAFETY: inside infer, on its thread, with its call.
    guarded(body, |text| unsafe { ready.host.set_error(call, text) })
}

unsafe extern "C" fn unload<P: Plugin>(_plugin: *const abi::Plugin, model: *mut abi::Model) {
    // SAFETY: load::<P> made the handle with Box::into_raw, and the host unloads it once.
    let loaded = unsafe { Box::from_raw(model.cast::<Loaded<P::Model>>()) };
    // A panic in the model's drop has nobody to report to; the hook has printed it.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(loaded)));
}

unsafe extern "C" fn terminate<P: Plugin>(plugin: *const abi::Plugin) {
    // SAFETY: the table is alive until here.
    let data = unsafe { (*plugin).plugin_data };
    // SAFETY: create::<P> made the instance with Box::into_raw, and the host terminates it once.
    let instance = unsafe { Box::from_raw(data.cast::<Instance<P>>()) };
    let _ = catch_unwind(AssertUnwindSafe(|| drop(instance)));
}

unsafe extern "C" fn get_extension<P: Plugin>(
    _plugin: *const abi::Plugin,
    model: *const abi::Model,
    id: *const c_char,
) -> *const c_void {
    if model.is_null() {
        return ptr::null();
    }
    // SAFETY: a model that is not NULL is loaded.
    let loaded = unsafe { loaded::<P>(model) };
    // SAFETY: the host passes a NUL-terminated name.
    let id = unsafe { CStr::from_ptr(id) };
    if id == abi::EXT_SLICE_PROFILE {
        (&raw const loaded.profile).cast()
    } else if id == abi::EXT_MEMORY {
        ptr::from_ref(Table::<P>::MEMORY).cast()
    } else {
        ptr::null()
    }
}

unsafe extern "C" fn resident_bytes<P: Plugin>(_plugin: *const abi::Plugin, model: *const abi::Model) -> u64 {
    // SAFETY: [between load and unload].
    let loaded = unsafe { loaded::<P>(model) };
    catch_unwind(AssertUnwindSafe(|| loaded.model.resident_bytes())).unwrap_or(0)
}
