//! The schema. Field names and nesting are those of the first implementation's `manifest.yaml`, so its manifests
//! (YAML, or JSON before its version 3.1.5) read here; `spec.serving` is ours. Unknown fields are kept in `extra`
//! and written back. A `null` where a list, map or text is expected reads as empty: Go writes its nil slices so.

use super::words::{Dtype, ExecutionFormat, PreprocessingKind, Priority, Role};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// The only `apiVersion` that is written; `v1` is read as this.
pub const API_VERSION: &str = "axon.mlos.io/v1";
/// The only `kind`.
pub const KIND: &str = "Model";

/// Fields and maps without a schema.
pub type Values = BTreeMap<String, serde_norway::Value>;

fn nil<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

fn api_version<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    Ok(if text == "v1" { API_VERSION.into() } else { text })
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A whole `manifest.yaml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`API_VERSION`].
    #[serde(rename = "apiVersion", deserialize_with = "api_version")]
    pub api_version: String,
    /// [`KIND`].
    pub kind: String,
    /// What the model is called and who made it.
    pub metadata: Metadata,
    /// What it consists of and what it needs.
    pub spec: Spec,
    /// Where its package can be had.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub distribution: Distribution,
    /// Unknown fields.
    #[serde(flatten)]
    pub extra: Values,
}

/// Name and origin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// Name inside the namespace; may contain `/`.
    pub name: String,
    /// Which hub it is from, such as `hf` or `local`.
    pub namespace: String,
    /// Tag, semantic version or commit.
    pub version: String,
    /// One or two sentences.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub description: String,
    /// Who made it.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub authors: Vec<Author>,
    /// SPDX id or the hub's word for it.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub license: String,
    /// URL.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub homepage: String,
    /// URL.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub documentation: String,
    /// RFC 3339 time.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub created: String,
    /// RFC 3339 time.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub updated: String,
    /// Free words.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub tags: Vec<String>,
    /// Unknown fields.
    #[serde(flatten)]
    pub extra: Values,
}

/// A person or organisation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Author {
    /// Full name.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub name: String,
    /// Address.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub email: String,
    /// Employer or group.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub organization: String,
}

/// What the model consists of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// What it was made with.
    pub framework: Framework,
    /// Its files.
    pub format: Format,
    /// Its inputs and outputs; empty when only the model file knows them.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub io: Io,
    /// What it needs of the machine.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub requirements: Requirements,
    /// What its makers measured.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub performance: Performance,
    /// What else must be installed.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub dependencies: Dependencies,
    /// How it wants to be served.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub serving: Serving,
    /// Unknown fields.
    #[serde(flatten)]
    pub extra: Values,
}

/// What the model was made with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Framework {
    /// `pytorch`, `tensorflow`, `onnx`, `jax`, `scikit-learn`, `llama.cpp`, …
    pub name: String,
    /// Its version.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub version: String,
}

/// The files of the model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Format {
    /// Format of the files as the hub has them: `onnx`, `safetensors`, `pytorch`, `gguf`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Format of the file to run, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_format: Option<ExecutionFormat>,
    /// Whether several executable files make up the model.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub multi_encoder: bool,
    /// Every file of the package, the manifest itself excepted.
    #[serde(default, deserialize_with = "nil")]
    pub files: Vec<FileEntry>,
    /// Which of them a plugin can run.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub execution_files: Vec<ExecutionFile>,
    /// Unknown fields.
    #[serde(flatten)]
    pub extra: Values,
}

/// One file of the package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Path inside the package, `/` between components.
    pub path: String,
    /// Length, bytes.
    pub size: u64,
    /// SHA-256, 64 hexadecimal digits.
    pub sha256: String,
}

/// One file that a plugin can run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionFile {
    /// Path of one of the package's files.
    pub path: String,
    /// Its format.
    pub format: ExecutionFormat,
    /// What it is for.
    #[serde(rename = "type")]
    pub role: Role,
}

/// Inputs and outputs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Io {
    /// What a request carries.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub inputs: Vec<Port>,
    /// What a response carries.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub outputs: Vec<Port>,
}

/// One input or output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Port {
    /// Name of the tensor in the model.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions; -1 is any length.
    #[serde(default, deserialize_with = "nil")]
    pub shape: Vec<i64>,
    /// What it means.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub description: String,
    /// How text or an image becomes this tensor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocessing: Option<Preprocessing>,
    /// Unknown fields.
    #[serde(flatten)]
    pub extra: Values,
}

/// How text or an image becomes the tensor of an input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Which kind.
    #[serde(rename = "type")]
    pub kind: PreprocessingKind,
    /// Path of the tokenizer, one of the package's files (`tokenizer.json`).
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub tokenizer: String,
    /// Algorithm, such as `wordpiece` or `bpe`.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub tokenizer_type: String,
    /// Parameters: `max_length`, `padding`; `size`, `mean`, `std`, `layout`, …
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub config: Values,
}

/// What the model needs of the machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Requirements {
    /// Processors and memory.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub compute: Compute,
    /// Disk.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub storage: Gigabytes,
}

/// Processors and memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Compute {
    /// Cores.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub cpu: Cpu,
    /// Main memory.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub memory: Gigabytes,
    /// Accelerator.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub gpu: Gpu,
}

/// Cores.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// It does not run with fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_cores: Option<u32>,
    /// It runs well with these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommended_cores: Option<u32>,
}

/// An amount of memory or disk, in 10^9 bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gigabytes {
    /// It does not run with less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_gb: Option<f64>,
    /// It runs well with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommended_gb: Option<f64>,
}

/// Accelerator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gpu {
    /// It does not run without.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub required: bool,
    /// It runs better with.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub recommended: bool,
    /// Device memory, in 10^9 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_vram_gb: Option<f64>,
    /// Least CUDA version.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub cuda_version: String,
}

/// What the makers measured, in their words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Performance {
    /// By device or batch size.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub inference_time: Values,
    /// By device or batch size.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub throughput: Values,
    /// By metric.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub accuracy: Values,
    /// On which data.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub dataset: String,
}

/// What else must be installed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Dependencies {
    /// Ids of other models.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub models: Vec<String>,
    /// Software.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub packages: Vec<PackageDependency>,
}

/// A piece of software.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PackageDependency {
    /// Its name.
    pub name: String,
    /// Its version.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub version: String,
}

/// How the model wants to be served: the defaults that a request or the daemon's configuration can override.
///
/// ```yaml
/// spec:
///   serving:
///     priority: realtime        # class of requests that name none
///     max_batch_rows: 8         # most rows of the first dimension in one call
///     max_queue_delay_us: 200   # longest wait for others to share a batch
///     splittable: true          # rows are independent: many may be run in parts
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Serving {
    /// Scheduling class of requests that name none; absent means `normal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Most rows (length of the first dimension) in one call; absent means the daemon decides, 1 means no batching.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_batch_rows: Option<u32>,
    /// Longest time that a request waits for others to share its batch, microseconds; absent means the daemon decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_queue_delay_us: Option<u64>,
    /// Whether each row's result is independent of the others, so that a request of many rows may be run in parts;
    /// absent means the daemon decides from the shapes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub splittable: Option<bool>,
    /// Unknown fields.
    #[serde(flatten)]
    pub extra: Values,
}

/// Where the package can be had.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// The `.axon` archive.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub package: PackageLocation,
    /// The registry that lists it.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub registry: RegistryLocation,
}

/// Where an archive lies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PackageLocation {
    /// URL of the archive.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub url: String,
    /// Length, bytes; 0 when unknown.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub size: u64,
    /// SHA-256 of the archive; empty when unknown.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub sha256: String,
    /// Other URLs of the same bytes.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub mirrors: Vec<String>,
}

/// Where a registry is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RegistryLocation {
    /// URL of the registry.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub url: String,
    /// Namespace there.
    #[serde(default, deserialize_with = "nil", skip_serializing_if = "is_default")]
    pub namespace: String,
}
