//! Models as the outside sees them.

use std::fmt;
use std::path::PathBuf;

use mlos_tensor_mem::DType;
use serde::{Deserialize, Serialize};

use crate::{Class, Error, limits};

/// `namespace/name` and perhaps `@version`. A name may itself contain slashes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelRef {
    /// `namespace/name`.
    pub id: String,
    /// A version; none is the active one.
    pub version: Option<String>,
}

impl ModelRef {
    /// Reads `namespace/name[@version]`. `@latest` is the active version.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an empty, overlong or unprintable id.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (id, version) = match text.rsplit_once('@') {
            Some((id, version)) => (id, Some(version).filter(|version| *version != "latest")),
            None => (text, None),
        };
        let fault = if text.len() > limits::MODEL_ID_BYTES_MAX {
            "is too long"
        } else if id.is_empty() || version.is_some_and(str::is_empty) {
            "is incomplete; it reads namespace/name or namespace/name@version"
        } else if text.chars().any(char::is_control)
            || id.split('/').any(|part| matches!(part, "" | "." | ".."))
        {
            "is not namespace/name or namespace/name@version"
        } else {
            return Ok(Self {
                id: id.to_owned(),
                version: version.map(str::to_owned),
            });
        };
        let shown: String = text.chars().filter(|c| !c.is_control()).take(64).collect();
        Err(Error::InvalidArgument(format!("model id '{shown}' {fault}")))
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}@{version}", self.id),
            None => f.write_str(&self.id),
        }
    }
}

/// One dimension of a declared shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// Always this size.
    Fixed(usize),
    /// Any size; equal names mean equal sizes within one request.
    Dynamic(Option<String>),
}

/// A declared input or output.
#[derive(Debug, Clone)]
pub struct TensorSpec {
    /// Name in the model.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Shape.
    pub dims: Vec<Dim>,
}

/// Inputs and outputs of one graph.
#[derive(Debug, Clone, Default)]
pub struct Signature {
    /// `encoder`, `decoder` …; empty for a package of one graph.
    pub component: String,
    /// In the model's order.
    pub inputs: Vec<TensorSpec>,
    /// In the model's order.
    pub outputs: Vec<TensorSpec>,
    /// Dimension 0 of every tensor counts independent rows.
    pub rows_independent: bool,
    /// Measured when the graph was prepared, by rows.
    pub slice_profile: Vec<SliceProfile>,
}

/// How long a run takes and how long it holds a thread at most.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct SliceProfile {
    /// Rows of the run.
    pub rows: u32,
    /// Whole run.
    pub total_ns: u64,
    /// Longest time between two checkpoints.
    pub longest_slice_ns: u64,
    /// Checkpoints in the run.
    pub checkpoints: u32,
}

/// What the manifest lets a client send in place of tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Preprocessing {
    /// Tensors only.
    None,
    /// `{"input": "text"}`.
    Text,
    /// An encoded image.
    Image,
}

/// Where a version of a model is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LifecycleState {
    /// Known, and waiting for a loader.
    Registered,
    /// Being read, prepared and profiled.
    Loading,
    /// Answers requests.
    Ready,
    /// Takes no new requests; what is in flight is finished.
    Draining,
    /// Could not be loaded; the reason is in the detail.
    Failed,
}

/// Everything there is to say about one version of a model.
#[derive(Debug, Clone)]
pub struct ModelDetail {
    /// With its version.
    pub model: ModelRef,
    /// Where it is in its life.
    pub state: LifecycleState,
    /// Why it failed to load.
    pub failure: Option<String>,
    /// The version that requests without one get.
    pub active: bool,
    /// `onnx`, `gguf` …
    pub format: String,
    /// Who trained it in what.
    pub framework: String,
    /// One line.
    pub description: String,
    /// The plugin that runs it.
    pub plugin: String,
    /// The package's folder.
    pub path: PathBuf,
    /// Its graphs; the first is the default.
    pub signatures: Vec<Signature>,
    /// What a client may send in place of tensors.
    pub preprocessing: Preprocessing,
    /// Class of requests that name none.
    pub class_default: Class,
    /// Memory it holds.
    pub resident_bytes: u64,
    /// Time it took to load.
    pub load_ms: u64,
    /// All versions that are registered.
    pub versions: Vec<String>,
}

impl ModelDetail {
    /// The graph of that name, or the first.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] naming the graphs there are.
    pub fn signature(&self, component: Option<&str>) -> Result<&Signature, Error> {
        let found = match component {
            None => self.signatures.first(),
            Some(name) => self
                .signatures
                .iter()
                .find(|signature| signature.component == name),
        };
        found.ok_or_else(|| {
            let names: Vec<&str> = self
                .signatures
                .iter()
                .map(|signature| signature.component.as_str())
                .collect();
            Error::InvalidArgument(format!(
                "model '{}' has no component '{}'; it has: {}",
                self.model,
                component.unwrap_or_default(),
                names.join(", ")
            ))
        })
    }
}

/// A line of the list of models.
#[derive(Debug, Clone)]
pub struct ModelSummary {
    /// With its version.
    pub model: ModelRef,
    /// Where it is in its life.
    pub state: LifecycleState,
    /// The version that requests without one get.
    pub active: bool,
    /// The plugin that runs it.
    pub plugin: String,
    /// Who trained it in what.
    pub framework: String,
    /// The package's folder.
    pub path: PathBuf,
}

/// Asks for a model to be known and loaded.
#[derive(Debug, Clone)]
pub struct RegisterRequest {
    /// With or without a version; the manifest's is used where it has none.
    pub model: Option<ModelRef>,
    /// The package's folder, or a model file.
    pub path: PathBuf,
    /// Another place for `manifest.yaml`.
    pub manifest_path: Option<PathBuf>,
    /// Make it the version that requests without one get, once it is ready.
    pub activate: bool,
}

/// The answer to a registration: the model is known, and a loader has it.
#[derive(Debug, Clone)]
pub struct Registered {
    /// With its version.
    pub model: ModelRef,
    /// The plugin that will run it.
    pub plugin: String,
    /// State at the time of the answer.
    pub state: LifecycleState,
    /// Whether the same content had been registered before.
    pub already: bool,
}

/// What a scan of the models folder found.
#[derive(Debug, Clone, Default)]
pub struct ScanReport {
    /// Newly registered.
    pub registered: Vec<ModelRef>,
    /// Already known.
    pub known: usize,
    /// Folders that could not be registered, and why.
    pub failed: Vec<(PathBuf, String)>,
}
