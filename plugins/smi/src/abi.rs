//! The `repr(C)` mirror of `include/smi.h`, which is canonical: meaning, threads and owners are written there.
//!
//! Sizes and offsets are asserted below and, against the C compiler's view of the header, in `tests/layout.rs`.
//! Functions that a plugin provides are `Option`, because a table from a shared object may hold NULL and the host
//! must be able to look at it before it believes it. Functions of the host are plain: the SDK trusts its host.

use std::ffi::{c_char, c_void};

/// Major version of the ABI; another one is refused.
pub const ABI_MAJOR: u32 = 1;
/// Minor version: counts added names.
pub const ABI_MINOR: u32 = 1;
/// Size of the stack that `infer` runs on, in bytes, at least.
pub const STACK_BYTES: usize = 1024 * 1024;
/// Dimensions of a tensor, at most.
pub const RANK_MAX: usize = 16;
/// Inputs of a model, and outputs, at most.
pub const TENSORS_MAX: usize = 256;

/// Status: success.
pub const OK: i32 = 0;
/// Tensor type of an optional input that was left out.
pub const ABSENT: i32 = -1;
/// The data are the host's.
pub const OWNER_HOST: i32 = 0;
/// The data are the plugin's.
pub const OWNER_PLUGIN: i32 = 1;
/// The data are another process's as well, which may write them at any time.
pub const OWNER_SHARED: i32 = 2;
/// [`TensorSpec::flags`]: a call may leave the input out.
pub const SPEC_OPTIONAL: u32 = 1;
/// [`Resources::flags`]: several calls at a time.
pub const MODEL_REENTRANT: u32 = 1;
/// [`Resources::flags`]: dimension 0 of everything is a batch of independent rows.
pub const MODEL_ROWS_INDEPENDENT: u32 = 2;

/// Name of the exported symbol.
pub const ENTRY_SYMBOL: &str = "smi_entry";
/// Extension of a model: [`SliceProfile`].
pub const EXT_SLICE_PROFILE: &std::ffi::CStr = c"mlos.slice-profile/1";
/// Extension of a model: [`Memory`].
pub const EXT_MEMORY: &std::ffi::CStr = c"mlos.memory/1";

/// `smi_tensor_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Tensor {
    /// Name of the input.
    pub name: *const c_char,
    /// Element type, or [`ABSENT`].
    pub dtype: i32,
    /// Number of dimensions.
    pub rank: u32,
    /// `rank` sizes.
    pub shape: *const i64,
    /// `rank` strides in bytes, or null for C-contiguous.
    pub strides: *const i64,
    /// First byte of the data.
    pub data: *const c_void,
    /// Length of the data in bytes.
    pub size_bytes: u64,
    /// [`OWNER_HOST`], [`OWNER_PLUGIN`] or [`OWNER_SHARED`].
    pub owner: i32,
    /// Zero.
    pub reserved: u32,
}

/// `smi_tensor_spec_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct TensorSpec {
    /// Name of the input or output.
    pub name: *const c_char,
    /// Element type.
    pub dtype: i32,
    /// Number of dimensions.
    pub rank: u32,
    /// `rank` sizes, -1 for dynamic.
    pub dims: *const i64,
    /// `rank` names, each or all may be null.
    pub dim_names: *const *const c_char,
    /// [`SPEC_OPTIONAL`].
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
}

/// `smi_resources_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Resources {
    /// Bytes once loaded; 0 if not known.
    pub memory_bytes: u64,
    /// Threads that one inference keeps busy.
    pub threads: u32,
    /// [`MODEL_REENTRANT`], [`MODEL_ROWS_INDEPENDENT`].
    pub flags: u32,
}

/// `smi_model_info_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ModelInfo {
    /// `input_count` specs.
    pub inputs: *const TensorSpec,
    /// `output_count` specs.
    pub outputs: *const TensorSpec,
    /// Number of inputs.
    pub input_count: u32,
    /// Number of outputs.
    pub output_count: u32,
    /// Declared needs.
    pub resources: Resources,
}

/// `smi_load_request_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct LoadRequest {
    /// The model file.
    pub path: *const c_char,
    /// Name within a package, or empty.
    pub component: *const c_char,
    /// Directory for derived files, or null.
    pub cache_dir: *const c_char,
    /// A JSON object.
    pub options_json: *const c_char,
    /// Threads that one inference may keep busy.
    pub threads: u32,
    /// Zero.
    pub reserved: u32,
}

/// `smi_model_t`: the plugin's handle of a loaded model.
#[repr(C)]
#[derive(Debug)]
pub struct Model {
    _opaque: [u8; 0],
}

/// `smi_call_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// The host's table.
    pub host: *const Host,
    /// `input_count` tensors.
    pub inputs: *const Tensor,
    /// `output_count` flags.
    pub outputs_wanted: *const u8,
    /// Number of inputs.
    pub input_count: u32,
    /// Number of outputs.
    pub output_count: u32,
    /// The host's own.
    pub host_data: *mut c_void,
}

/// `alloc_output` of [`Host`].
pub type AllocOutputFn =
    unsafe extern "C" fn(*mut Call, u32, i32, u32, *const i64, u64, *mut *mut c_void) -> i32;

/// `smi_host_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// [`ABI_MAJOR`].
    pub abi_major: u32,
    /// [`ABI_MINOR`].
    pub abi_minor: u32,
    /// Name of the host.
    pub name: *const c_char,
    /// Version of the host.
    pub version: *const c_char,
    /// The host's own.
    pub host_data: *mut c_void,
    /// Writes a line to the log.
    pub log: unsafe extern "C" fn(*const Host, i32, *const c_char, u64),
    /// Says why the current function fails.
    pub set_error: unsafe extern "C" fn(*const Host, *mut Call, *const c_char, u64),
    /// Memory for an output.
    pub alloc_output: AllocOutputFn,
    /// A layer boundary.
    pub checkpoint: unsafe extern "C" fn(*mut Call) -> i32,
    /// Whether a checkpoint would do something.
    pub wants_checkpoint: unsafe extern "C" fn(*mut Call) -> i32,
    /// A table by name.
    pub get_extension: unsafe extern "C" fn(*const Host, *const c_char) -> *const c_void,
}

/// `smi_descriptor_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Descriptor {
    /// Stable id.
    pub id: *const c_char,
    /// Name for people.
    pub name: *const c_char,
    /// Who made it.
    pub vendor: *const c_char,
    /// Version of the plugin.
    pub version: *const c_char,
    /// One line.
    pub description: *const c_char,
    /// Format names, ended by null.
    pub formats: *const *const c_char,
}

/// `infer` of [`Plugin`].
pub type InferFn = unsafe extern "C" fn(*const Plugin, *mut Model, *mut Call) -> i32;
/// `get_extension` of [`Plugin`].
pub type PluginExtensionFn =
    unsafe extern "C" fn(*const Plugin, *const Model, *const c_char) -> *const c_void;

/// `smi_plugin_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Plugin {
    /// Who it is.
    pub descriptor: *const Descriptor,
    /// The plugin's own.
    pub plugin_data: *mut c_void,
    /// Makes it ready.
    pub initialize: Option<unsafe extern "C" fn(*const Plugin, *const Host, *const c_char) -> i32>,
    /// Loads a model.
    pub load: Option<unsafe extern "C" fn(*const Plugin, *const LoadRequest, *mut *mut Model) -> i32>,
    /// Describes a model.
    pub describe: Option<unsafe extern "C" fn(*const Plugin, *const Model, *mut ModelInfo) -> i32>,
    /// Runs a model.
    pub infer: Option<InferFn>,
    /// Frees a model.
    pub unload: Option<unsafe extern "C" fn(*const Plugin, *mut Model)>,
    /// Frees the plugin.
    pub terminate: Option<unsafe extern "C" fn(*const Plugin)>,
    /// A table by name.
    pub get_extension: Option<PluginExtensionFn>,
}

/// `smi_plugin_entry_t`: what the symbol [`ENTRY_SYMBOL`] is.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// [`ABI_MAJOR`], read before anything else.
    pub abi_major: u32,
    /// [`ABI_MINOR`].
    pub abi_minor: u32,
    /// First call.
    pub init: Option<unsafe extern "C" fn(*const c_char) -> i32>,
    /// Last call.
    pub deinit: Option<unsafe extern "C" fn()>,
    /// Number of plugins.
    pub get_plugin_count: Option<unsafe extern "C" fn() -> u32>,
    /// Who plugin number n is.
    pub get_descriptor: Option<unsafe extern "C" fn(u32) -> *const Descriptor>,
    /// A new plugin.
    pub create: Option<unsafe extern "C" fn(u32, *mut *const Plugin) -> i32>,
}

/// `smi_slice_profile_row_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceProfileRow {
    /// Size of dimension 0.
    pub rows: u64,
    /// Time of one inference.
    pub total_ns: u64,
    /// Longest time without a checkpoint.
    pub longest_slice_ns: u64,
    /// Checkpoints in one inference.
    pub checkpoints: u64,
}

/// `smi_slice_profile_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SliceProfile {
    /// `count` measurements.
    pub entries: *const SliceProfileRow,
    /// Number of measurements.
    pub count: u32,
    /// Zero.
    pub reserved: u32,
}

/// `smi_memory_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Bytes held now.
    pub resident_bytes: Option<unsafe extern "C" fn(*const Plugin, *const Model) -> u64>,
}

macro_rules! pin_layout {
    ($($type:ident $size:literal { $($field:ident $offset:literal),+ $(,)? })+) => {
        $(const _: () = {
            assert!(size_of::<$type>() == $size);
            $(assert!(std::mem::offset_of!($type, $field) == $offset);)+
        };)+
        /// Every structure with its size and its fields' offsets, for the comparison with the C compiler.
        pub const LAYOUT: &[(&str, usize, &[(&str, usize)])] =
            &[$((stringify!($type), $size, &[$((stringify!($field), $offset)),+])),+];
    };
}

#[cfg(target_pointer_width = "64")]
pin_layout! {
    Tensor 56 { name 0, dtype 8, rank 12, shape 16, strides 24, data 32, size_bytes 40, owner 48, reserved 52 }
    TensorSpec 40 { name 0, dtype 8, rank 12, dims 16, dim_names 24, flags 32, reserved 36 }
    Resources 16 { memory_bytes 0, threads 8, flags 12 }
    ModelInfo 40 { inputs 0, outputs 8, input_count 16, output_count 20, resources 24 }
    LoadRequest 40 { path 0, component 8, cache_dir 16, options_json 24, threads 32, reserved 36 }
    Call 40 { host 0, inputs 8, outputs_wanted 16, input_count 24, output_count 28, host_data 32 }
    Host 80 {
        abi_major 0, abi_minor 4, name 8, version 16, host_data 24, log 32, set_error 40, alloc_output 48,
        checkpoint 56, wants_checkpoint 64, get_extension 72,
    }
    Descriptor 48 { id 0, name 8, vendor 16, version 24, description 32, formats 40 }
    Plugin 72 {
        descriptor 0, plugin_data 8, initialize 16, load 24, describe 32, infer 40, unload 48, terminate 56,
        get_extension 64,
    }
    Entry 48 {
        abi_major 0, abi_minor 4, init 8, deinit 16, get_plugin_count 24, get_descriptor 32, create 40,
    }
    SliceProfileRow 32 { rows 0, total_ns 8, longest_slice_ns 16, checkpoints 24 }
    SliceProfile 16 { entries 0, count 8, reserved 12 }
    Memory 8 { resident_bytes 0 }
}
