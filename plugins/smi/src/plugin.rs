use crate::{Call, Description, Failure, Host, SliceProfile};
use std::ffi::CStr;
use std::path::Path;

/// Formats that one plugin may name.
pub const FORMATS_MAX: usize = 15;

/// Who a plugin is.
#[derive(Debug, Clone, Copy)]
pub struct Descriptor {
    /// Never changes: "mlos.onnx".
    pub id: &'static CStr,
    /// For people.
    pub name: &'static CStr,
    /// May be empty.
    pub vendor: &'static CStr,
    /// Of the plugin.
    pub version: &'static CStr,
    /// One line; may be empty.
    pub description: &'static CStr,
    /// Names of the formats that it loads, lower case, at most [`FORMATS_MAX`].
    pub formats: &'static [&'static CStr],
}

/// What to load.
#[derive(Debug, Clone, Copy)]
pub struct LoadRequest<'a> {
    /// The model file.
    pub path: &'a Path,
    /// Name within a package of several files; empty when there is one.
    pub component: &'a str,
    /// Where derived files may be kept; `None`: nowhere.
    pub cache_dir: Option<&'a Path>,
    /// A JSON object whose keys are the plugin's.
    pub options_json: &'a str,
    /// Threads that one inference may keep busy.
    pub threads: u32,
}

/// A plugin: what turns model files into [`Model`]s. Panics are caught and become failures.
pub trait Plugin: Send + Sync + Sized + 'static {
    /// What it loads.
    type Model: Model;
    /// Who it is.
    const DESCRIPTOR: Descriptor;

    /// Makes the plugin ready. `config_json` is a JSON object.
    ///
    /// # Errors
    /// What the plugin needs is not there or the configuration is wrong.
    fn initialize(host: Host, config_json: &str) -> Result<Self, Failure>;

    /// Loads a model; may take long.
    ///
    /// # Errors
    /// The file is missing, damaged, or asks for what the engine cannot do.
    fn load(&self, request: &LoadRequest<'_>) -> Result<Self::Model, Failure>;
}

/// A loaded model. Dropping it unloads it.
pub trait Model: Send + Sync + 'static {
    /// What it takes and gives; asked once, after load.
    fn description(&self) -> &Description;

    /// Runs it once: writes every wanted output, with checkpoints between layers, on a stack of
    /// [`STACK_BYTES`](crate::abi::STACK_BYTES). Called on several threads at a time if the description says re-entrant.
    ///
    /// # Errors
    /// The inputs do not fit, the engine failed, or the host cancelled.
    fn infer(&self, call: &Call<'_>) -> Result<(), Failure>;

    /// How checkpoints cut its run time, measured during load; asked once, after load. Rows ascending.
    fn slice_profile(&self) -> Vec<SliceProfile> {
        Vec::new()
    }

    /// Bytes that it holds now; 0 if not known.
    fn resident_bytes(&self) -> u64 {
        0
    }
}
