use crate::describe::{self, ModelInfo, TensorSpec};
use crate::error::Error;
use crate::output::Refusal;
use crate::plugin::Plugin;
use mlos_smi::{SliceProfile, abi};
use std::ffi::CString;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A loaded model. Clones share it; the last one to be dropped unloads it, on its thread.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

struct Inner {
    handle: Handle,
    info: ModelInfo,
    /// Names of the inputs, as calls pass them.
    input_names: Vec<CString>,
    profile: Vec<SliceProfile>,
    /// A model that is not re-entrant has an unfinished call.
    busy: AtomicBool,
}

/// The plugin's handle; dropping it unloads the model.
struct Handle {
    model: *mut abi::Model,
    plugin: Arc<Plugin>,
}

// SAFETY: the functions of a plugin that take a model are tagged [any thread], except infer of a model that is not
// re-entrant, which `busy` keeps to one call at a time.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle came from load and is unloaded here only; unfinished calls hold the model.
        unsafe { (self.plugin.functions().unload)(self.plugin.table(), self.model) };
    }
}

impl Model {
    /// Takes over a handle and reads what the model is.
    ///
    /// # Safety
    /// `model` came from a successful load of `plugin` and belongs to nobody else.
    pub(crate) unsafe fn from_handle(plugin: Arc<Plugin>, model: *mut abi::Model) -> Result<Self, Error> {
        let id = plugin.info().id.clone();
        if model.is_null() {
            let what = "load succeeded and gave no model".into();
            return Err(Error::BadPlugin { plugin: id, what });
        }
        let handle = Handle { model, plugin };
        let mut raw = abi::ModelInfo {
            inputs: std::ptr::null(),
            outputs: std::ptr::null(),
            input_count: 0,
            output_count: 0,
            resources: abi::Resources::default(),
        };
        // SAFETY: [between load and unload]; `raw` is ours to write.
        let code =
            unsafe { (handle.plugin.functions().describe)(handle.plugin.table(), model, &raw mut raw) };
        crate::table::check(code, &id, "describe")?;
        // SAFETY: describe succeeded, so the plugin promises what it points to.
        let info = unsafe { ModelInfo::read(&raw, &id) }?;
        let name = |spec: &TensorSpec| {
            CString::new(spec.name.as_str()).map_err(|_| Error::Nul { what: "input name" })
        };
        let input_names = info.inputs.iter().map(name).collect::<Result<_, _>>()?;
        let profile = handle.slice_profile();
        Ok(Self(Arc::new(Inner {
            handle,
            info,
            input_names,
            profile,
            busy: AtomicBool::new(false),
        })))
    }

    /// What it takes and gives.
    pub fn info(&self) -> &ModelInfo {
        &self.0.info
    }

    /// The plugin that runs it.
    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.0.handle.plugin
    }

    /// How its checkpoints cut its run time, as the plugin measured it at load; rows ascending, empty if it did not.
    pub fn slice_profile(&self) -> &[SliceProfile] {
        &self.0.profile
    }

    /// Bytes that it holds now; 0 if the plugin does not say.
    pub fn resident_bytes(&self) -> u64 {
        self.0.handle.resident_bytes()
    }

    pub(crate) fn input_names(&self) -> &[CString] {
        &self.0.input_names
    }

    pub(crate) fn handle(&self) -> *mut abi::Model {
        self.0.handle.model
    }

    /// Why an output got no memory.
    pub(crate) fn output_refused(&self, index: usize, refusal: Refusal) -> Error {
        match refusal {
            Refusal::Wrong(problem) => self.output_error(index, problem),
            Refusal::Memory(error) => Error::Memory(error),
            Refusal::Short { shape, needed, given } => Error::OutputSpace {
                output: self.output_name(index),
                shape: shape.to_string(),
                needed,
                given,
            },
        }
    }

    fn output_name(&self, index: usize) -> String {
        let spec = self.info().outputs.get(index);
        spec.map_or_else(|| index.to_string(), |spec| spec.name.clone())
    }

    pub(crate) fn output_error(&self, index: usize, problem: String) -> Error {
        Error::Output {
            plugin: self.plugin().info().id.clone(),
            output: self.output_name(index),
            problem,
        }
    }

    /// Takes the right to run a call; `end` gives it back.
    pub(crate) fn begin(&self) -> Result<(), Error> {
        // Acquire: pairs with the Release in `end`, so that the plugin sees what the call before left behind.
        if self.info().reentrant || !self.0.busy.swap(true, Ordering::Acquire) {
            Ok(())
        } else {
            Err(Error::Busy)
        }
    }

    /// Gives back what `begin` took.
    pub(crate) fn end(&self) {
        if !self.info().reentrant {
            self.0.busy.store(false, Ordering::Release);
        }
    }
}

impl Handle {
    fn extension<T>(&self, id: &std::ffi::CStr) -> Option<&T> {
        // SAFETY: [after initialize] with a loaded model and a NUL-terminated name.
        let table =
            unsafe { (self.plugin.functions().get_extension)(self.plugin.table(), self.model, id.as_ptr()) };
        let table = table.cast::<T>();
        if !table.is_aligned() {
            return None;
        }
        // SAFETY: null is excluded by as_ref; the name stands for this type of table, which lives until unload.
        unsafe { table.as_ref() }
    }

    fn slice_profile(&self) -> Vec<SliceProfile> {
        let table = self.extension::<abi::SliceProfile>(abi::EXT_SLICE_PROFILE);
        // SAFETY: the plugin promises what the table points to.
        table
            .map(|table| unsafe { describe::slice_profile(table) })
            .unwrap_or_default()
    }

    fn resident_bytes(&self) -> u64 {
        let table = self.extension::<abi::Memory>(abi::EXT_MEMORY);
        let Some(resident_bytes) = table.and_then(|table| table.resident_bytes) else {
            return 0;
        };
        // SAFETY: [between load and unload].
        unsafe { resident_bytes(self.plugin.table(), self.model) }
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("plugin", self.plugin())
            .field("info", self.info())
            .finish()
    }
}
