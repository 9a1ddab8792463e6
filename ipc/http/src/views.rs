//! What the engine knows, in the shapes that `openapi.yaml` promises.

use std::path::Path;

use mlos_api::{
    Dim, ModelDetail, ModelRef, ModelSummary, PluginStatus, ScanReport, Signature, SliceProfile, TensorSpec,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::router;

/// What stays as it is in one segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

const SUCCESS: &str = "success";

#[derive(Serialize)]
pub(crate) struct Index<'a> {
    service: &'static str,
    version: &'a str,
    routes: Vec<String>,
}

impl<'a> Index<'a> {
    pub(crate) fn new(health: &'a mlos_api::Health) -> Self {
        Self {
            service: "mlos",
            version: &health.version,
            routes: router::list(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Health<'a> {
    service: &'static str,
    #[serde(flatten)]
    health: &'a mlos_api::Health,
}

impl<'a> Health<'a> {
    pub(crate) const fn new(health: &'a mlos_api::Health) -> Self {
        Self {
            service: "mlos",
            health,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Plugins {
    status: &'static str,
    total: usize,
    plugins: Vec<PluginStatus>,
}

impl Plugins {
    pub(crate) fn new(plugins: Vec<PluginStatus>) -> Self {
        Self {
            status: SUCCESS,
            total: plugins.len(),
            plugins,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Models<'a> {
    status: &'static str,
    total: usize,
    models: Vec<ModelLine<'a>>,
}

/// `id` names the version; `name` is the part before the `@`.
#[derive(Serialize)]
struct ModelLine<'a> {
    id: String,
    name: &'a str,
    version: Option<&'a str>,
    state: mlos_api::LifecycleState,
    active: bool,
    plugin_id: &'a str,
    framework: &'a str,
    path: &'a Path,
}

impl<'a> Models<'a> {
    pub(crate) fn new(models: &'a [ModelSummary]) -> Self {
        let line = |summary: &'a ModelSummary| ModelLine {
            id: summary.model.to_string(),
            name: &summary.model.id,
            version: summary.model.version.as_deref(),
            state: summary.state,
            active: summary.active,
            plugin_id: &summary.plugin,
            framework: &summary.framework,
            path: &summary.path,
        };
        Self {
            status: SUCCESS,
            total: models.len(),
            models: models.iter().map(line).collect(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Model<'a> {
    status: &'static str,
    #[serde(flatten)]
    line: ModelLine<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'a str>,
    format: &'a str,
    description: &'a str,
    preprocessing: mlos_api::Preprocessing,
    class_default: mlos_api::Class,
    resident_bytes: u64,
    load_ms: u64,
    versions: &'a [String],
    components: Vec<Component<'a>>,
    inference_endpoint: String,
}

impl<'a> Model<'a> {
    pub(crate) fn new(detail: &'a ModelDetail) -> Self {
        Self {
            status: SUCCESS,
            line: ModelLine {
                id: detail.model.to_string(),
                name: &detail.model.id,
                version: detail.model.version.as_deref(),
                state: detail.state,
                active: detail.active,
                plugin_id: &detail.plugin,
                framework: &detail.framework,
                path: &detail.path,
            },
            failure: detail.failure.as_deref(),
            format: &detail.format,
            description: &detail.description,
            preprocessing: detail.preprocessing,
            class_default: detail.class_default,
            resident_bytes: detail.resident_bytes,
            load_ms: detail.load_ms,
            versions: &detail.versions,
            components: detail.signatures.iter().map(Component::new).collect(),
            inference_endpoint: inference_endpoint(&detail.model),
        }
    }
}

/// One graph of a model. Times of the profile are in nanoseconds.
#[derive(Serialize)]
struct Component<'a> {
    name: &'a str,
    rows_independent: bool,
    inputs: Vec<Tensor<'a>>,
    outputs: Vec<Tensor<'a>>,
    slice_profile: &'a [SliceProfile],
}

impl<'a> Component<'a> {
    fn new(signature: &'a Signature) -> Self {
        Self {
            name: &signature.component,
            rows_independent: signature.rows_independent,
            inputs: signature.inputs.iter().map(Tensor::new).collect(),
            outputs: signature.outputs.iter().map(Tensor::new).collect(),
            slice_profile: &signature.slice_profile,
        }
    }
}

/// A declared tensor. A dynamic dimension is -1 in `shape`, and has its name, if it has one, in `dim_names`.
#[derive(Serialize)]
struct Tensor<'a> {
    name: &'a str,
    dtype: &'static str,
    shape: Vec<i64>,
    dim_names: Vec<Option<&'a str>>,
}

impl<'a> Tensor<'a> {
    fn new(spec: &'a TensorSpec) -> Self {
        let size = |dim: &Dim| match dim {
            Dim::Fixed(size) => i64::try_from(*size).unwrap_or(i64::MAX),
            Dim::Dynamic(_) => -1,
        };
        let name = |dim: &'a Dim| match dim {
            Dim::Fixed(_) => None,
            Dim::Dynamic(name) => name.as_deref(),
        };
        Self {
            name: &spec.name,
            dtype: spec.dtype.name(),
            shape: spec.dims.iter().map(size).collect(),
            dim_names: spec.dims.iter().map(name).collect(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Registered<'a> {
    status: &'static str,
    model_id: String,
    plugin_id: &'a str,
    state: mlos_api::LifecycleState,
    already: bool,
    message: &'static str,
    inference_endpoint: String,
}

impl<'a> Registered<'a> {
    pub(crate) fn new(registered: &'a mlos_api::Registered) -> Self {
        Self {
            status: SUCCESS,
            model_id: registered.model.to_string(),
            plugin_id: &registered.plugin,
            state: registered.state,
            already: registered.already,
            message: if registered.already {
                "was registered already"
            } else {
                "registered; its state is in /models/{id}"
            },
            inference_endpoint: inference_endpoint(&registered.model),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Scan<'a> {
    status: &'static str,
    registered: Vec<String>,
    known: usize,
    failed: Vec<Failed<'a>>,
}

#[derive(Serialize)]
struct Failed<'a> {
    path: &'a Path,
    reason: &'a str,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(report: &'a ScanReport) -> Self {
        Self {
            status: SUCCESS,
            registered: report.registered.iter().map(ModelRef::to_string).collect(),
            known: report.known,
            failed: report
                .failed
                .iter()
                .map(|(path, reason)| Failed { path, reason })
                .collect(),
        }
    }
}

/// The answer to what has no more to say than that it is done.
#[derive(Serialize)]
pub(crate) struct Done {
    status: &'static str,
    model_id: String,
    message: &'static str,
}

impl Done {
    pub(crate) fn new(model: &ModelRef, message: &'static str) -> Self {
        Self {
            status: SUCCESS,
            model_id: model.to_string(),
            message,
        }
    }
}

fn inference_endpoint(model: &ModelRef) -> String {
    format!(
        "/models/{}/inference",
        utf8_percent_encode(&model.to_string(), SEGMENT)
    )
}
