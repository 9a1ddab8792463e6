//! A plugin of the SDK, looked at through the C table, by a host of a few lines.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use mlos_smi::{
    Call, DType, Description, Descriptor, Dim, Failure, Host, LoadRequest, Model, Plugin, Resources,
    SliceProfile, Status, TensorSpec, abi, entry_of,
};
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;

struct Sample;
struct Loaded(Description);

impl Plugin for Sample {
    type Model = Loaded;
    const DESCRIPTOR: Descriptor = Descriptor {
        id: c"test.sample",
        name: c"Sample",
        vendor: c"",
        version: c"1.0.0",
        description: c"",
        formats: &[c"one", c"two"],
    };

    fn initialize(_: Host, config_json: &str) -> Result<Self, Failure> {
        if config_json == "{}" {
            Ok(Self)
        } else {
            Err(Failure::invalid(format!("cannot use {config_json}")))
        }
    }

    /// Loads a model whose one input is named as the options say.
    fn load(&self, request: &LoadRequest<'_>) -> Result<Loaded, Failure> {
        assert_eq!(
            (request.path.to_str(), request.component),
            (Some("/models/m"), "encoder")
        );
        assert_eq!((request.cache_dir, request.threads), (None, 1));
        let dims = vec![
            Dim::Dynamic(Some("batch".into())),
            Dim::Fixed(3),
            Dim::Dynamic(None),
        ];
        let spec = TensorSpec {
            name: request.options_json.into(),
            dtype: DType::BF16,
            dims,
            optional: true,
        };
        let resources = Resources {
            memory_bytes: 5,
            threads: 2,
            reentrant: false,
            rows_independent: true,
        };
        Ok(Loaded(Description {
            inputs: vec![spec],
            outputs: vec![],
            resources,
        }))
    }
}

impl Model for Loaded {
    fn description(&self) -> &Description {
        &self.0
    }

    fn infer(&self, _: &Call<'_>) -> Result<(), Failure> {
        Err(Failure::new(Status::Unsupported, "not in this test"))
    }

    fn slice_profile(&self) -> Vec<SliceProfile> {
        (1..3)
            .map(|rows| SliceProfile {
                rows,
                total_ns: 30,
                longest_slice_ns: 20,
                checkpoints: 10,
            })
            .collect()
    }

    fn resident_bytes(&self) -> u64 {
        panic!("a panic here must not cross the ABI")
    }
}

thread_local! {
    static ERROR_TEXT: RefCell<String> = const { RefCell::new(String::new()) };
}

unsafe extern "C" fn log(_: *const abi::Host, _: i32, _: *const c_char, _: u64) {}

unsafe extern "C" fn set_error(_: *const abi::Host, _: *mut abi::Call, text: *const c_char, length: u64) {
    // SAFETY: the SDK passes a text with its length.
    let text = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length as usize) };
    ERROR_TEXT.set(String::from_utf8(text.to_vec()).unwrap());
}

unsafe extern "C" fn alloc_output(
    _: *mut abi::Call,
    _: u32,
    _: i32,
    _: u32,
    _: *const i64,
    _: u64,
    _: *mut *mut c_void,
) -> i32 {
    Status::NoMemory.code()
}

unsafe extern "C" fn checkpoint(_: *mut abi::Call) -> i32 {
    abi::OK
}

unsafe extern "C" fn get_extension(_: *const abi::Host, _: *const c_char) -> *const c_void {
    ptr::null()
}

fn host() -> abi::Host {
    abi::Host {
        abi_major: abi::ABI_MAJOR,
        abi_minor: abi::ABI_MINOR,
        name: c"test".as_ptr(),
        version: c"1".as_ptr(),
        host_data: ptr::null_mut(),
        log,
        set_error,
        alloc_output,
        checkpoint,
        wants_checkpoint: checkpoint,
        get_extension,
    }
}

/// A created plugin; the host's table lives longer.
struct Created<'a> {
    table: &'a abi::Plugin,
}

impl Created<'_> {
    fn new() -> Self {
        let mut table = ptr::null();
        // SAFETY: index 0 exists, `table` is ours to write.
        let code = unsafe { entry_of::<Sample>().create.unwrap()(0, &raw mut table) };
        assert_eq!(code, abi::OK);
        // SAFETY: create succeeded, and terminate is called in drop.
        let table = unsafe { &*table };
        Self { table }
    }

    fn initialize(&self, host: &abi::Host, config: &CStr) -> i32 {
        // SAFETY: after create, with texts and a host that live longer.
        unsafe { self.table.initialize.unwrap()(self.table, host, config.as_ptr()) }
    }

    fn load(&self, input_name: &CStr) -> Result<*mut abi::Model, (i32, String)> {
        let request = abi::LoadRequest {
            path: c"/models/m".as_ptr(),
            component: c"encoder".as_ptr(),
            cache_dir: ptr::null(),
            options_json: input_name.as_ptr(),
            threads: 0,
            reserved: 0,
        };
        let mut model = ptr::null_mut();
        // SAFETY: after initialize, with a whole request.
        match unsafe { self.table.load.unwrap()(self.table, &raw const request, &raw mut model) } {
            abi::OK => Ok(model),
            code => Err((code, ERROR_TEXT.take())),
        }
    }

    fn extension(&self, model: *const abi::Model, id: &CStr) -> *const c_void {
        // SAFETY: after initialize, model null or loaded.
        unsafe { self.table.get_extension.unwrap()(self.table, model, id.as_ptr()) }
    }
}

impl Drop for Created<'_> {
    fn drop(&mut self) {
        // SAFETY: once, models unloaded.
        unsafe { self.table.terminate.unwrap()(self.table) };
    }
}

#[test]
fn the_entry_lists_one_plugin() {
    let entry = entry_of::<Sample>();
    // SAFETY: any thread, any time for a static entry.
    assert_eq!(unsafe { entry.get_plugin_count.unwrap()() }, 1);
    // SAFETY: as above.
    assert!(unsafe { entry.get_descriptor.unwrap()(1) }.is_null());
    let mut none = ptr::null();
    // SAFETY: as above; `none` is ours to write.
    let code = unsafe { entry.create.unwrap()(1, &raw mut none) };
    assert_eq!(code, Status::NotFound.code());
    // SAFETY: index 0 exists.
    let descriptor = unsafe { entry.get_descriptor.unwrap()(0) };
    // SAFETY: index 0 exists, static memory.
    let descriptor = unsafe { descriptor.as_ref() }.unwrap();
    // SAFETY: two formats and the NULL that ends the list.
    let formats = unsafe { std::slice::from_raw_parts(descriptor.formats, 3) };
    // SAFETY: the first two are texts.
    let names = [0, 1].map(|index: usize| unsafe { CStr::from_ptr(formats[index]) });
    assert_eq!((names, formats[2]), ([c"one", c"two"], ptr::null()));
}

#[test]
fn a_plugin_that_does_not_initialise_says_why_and_can_be_terminated() {
    let host = host();
    let plugin = Created::new();
    assert_eq!(
        plugin.load(c"x").unwrap_err().0,
        Status::InvalidArgument.code(),
        "not initialised"
    );
    assert_eq!(plugin.initialize(&host, c"[1]"), Status::InvalidArgument.code());
    assert_eq!(ERROR_TEXT.take(), "cannot use [1]");
    assert_eq!(
        plugin.initialize(&host, CString::new(b"\xff").unwrap().as_c_str()),
        Status::InvalidArgument.code()
    );
    assert_eq!(ERROR_TEXT.take(), "the configuration is not UTF-8");
}

#[test]
fn a_description_is_laid_out_for_c() {
    let host = host();
    let plugin = Created::new();
    assert_eq!(plugin.initialize(&host, c"{}"), abi::OK);
    let model = plugin.load(c"tokens").unwrap();
    // SAFETY: plain data, all zero is valid.
    let mut info: abi::ModelInfo = unsafe { std::mem::zeroed() };
    // SAFETY: model is loaded, `info` is ours to write.
    let code = unsafe { plugin.table.describe.unwrap()(plugin.table, model, &raw mut info) };
    assert_eq!(code, abi::OK);
    assert_eq!((info.input_count, info.output_count), (1, 0));
    let resources = info.resources;
    assert_eq!(
        (resources.memory_bytes, resources.threads, resources.flags),
        (5, 2, abi::MODEL_ROWS_INDEPENDENT)
    );
    // SAFETY: there is one input.
    let input = unsafe { &*info.inputs };
    // SAFETY: the name is a text.
    assert_eq!(unsafe { CStr::from_ptr(input.name) }, c"tokens");
    assert_eq!(
        (input.dtype, input.rank, input.flags),
        (DType::BF16.code(), 3, abi::SPEC_OPTIONAL)
    );
    // SAFETY: rank sizes.
    assert_eq!(unsafe { std::slice::from_raw_parts(input.dims, 3) }, [-1, 3, -1]);
    // SAFETY: rank names.
    let names = unsafe { std::slice::from_raw_parts(input.dim_names, 3) };
    // SAFETY: the first one is a text.
    assert_eq!(unsafe { CStr::from_ptr(names[0]) }, c"batch");
    assert_eq!(names[1..], [ptr::null(); 2]);
    // SAFETY: once, nothing runs.
    unsafe { plugin.table.unload.unwrap()(plugin.table, model) };
}

#[test]
fn extensions_are_found_by_name() {
    let host = host();
    let plugin = Created::new();
    assert_eq!(plugin.initialize(&host, c"{}"), abi::OK);
    let model = plugin.load(c"x").unwrap();
    assert!(plugin.extension(model, c"mlos.slice-profile/2").is_null());
    assert!(
        plugin.extension(ptr::null(), abi::EXT_MEMORY).is_null(),
        "not of the plugin"
    );
    // SAFETY: the name stands for this table.
    let profile = unsafe {
        &*plugin
            .extension(model, abi::EXT_SLICE_PROFILE)
            .cast::<abi::SliceProfile>()
    };
    // SAFETY: count entries.
    let rows = unsafe { std::slice::from_raw_parts(profile.entries, profile.count as usize) };
    assert_eq!(
        rows.iter()
            .map(|row| (row.rows, row.checkpoints))
            .collect::<Vec<_>>(),
        [(1, 10), (2, 10)]
    );
    // SAFETY: the name stands for this table.
    let memory = unsafe { &*plugin.extension(model, abi::EXT_MEMORY).cast::<abi::Memory>() };
    // SAFETY: between load and unload.
    let bytes = unsafe { memory.resident_bytes.unwrap()(plugin.table, model) };
    assert_eq!(bytes, 0, "not known, as it panics");
    // SAFETY: once, nothing runs.
    unsafe { plugin.table.unload.unwrap()(plugin.table, model) };
}
