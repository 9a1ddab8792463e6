//! Builds the plugin, writes packages, starts engines, asks and checks.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use mlos_api::{
    Class, Error, InferRequest, InferResponse, Inputs, LifecycleState, ModelRef, NamedTensor, OnMiss,
    RegisterRequest, Service,
};
use mlos_core::{Engine, EngineConfig, Node, PreemptionMode, executor, topology};
use mlos_plugin_host::{HostConfig, Plugins};
use mlos_tensor_mem::{DType, Shape};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Far beyond what any test takes: it only ends those that hang.
const PATIENCE: Duration = Duration::from_secs(60);
/// Columns of every matrix here.
pub const COLUMNS: usize = 3;
/// Every mode.
pub const MODES: [PreemptionMode; 3] = [PreemptionMode::Lanes, PreemptionMode::Layer, PreemptionMode::None];

fn affine_library() -> &'static Path {
    static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
        let plugins = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        // Under a name of this process first: another one may have the same object open.
        let fresh = folder.join(format!("engine-affine.so.{}", std::process::id()));
        let built = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".into()))
            .args(["-shared", "-fPIC", "-std=c11", "-O1", "-I"])
            .arg(format!("{plugins}/smi/include"))
            .arg("-o")
            .args([fresh.clone(), format!("{plugins}/example-c/affine.c").into()])
            .output()
            .expect("a C compiler is installed");
        assert!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
        let library = folder.join("engine-affine.so");
        std::fs::rename(fresh, &library).unwrap();
        library
    });
    &LIBRARY
}

/// Folders of one test.
pub struct Folders(tempfile::TempDir);

impl Folders {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(tempfile::tempdir().unwrap()))
    }

    /// Writes a package of the example plugin's format, in place of any earlier one, and returns its folder.
    pub fn package(&self, id: &str, version: &str, lines: &str, serving: &Value) -> PathBuf {
        let root = self.models().join(id).join(version);
        std::fs::create_dir_all(&root).unwrap();
        let text = format!("affine 1\n{lines}\n");
        std::fs::write(root.join("model.affine"), &text).unwrap();
        let (namespace, name) = id.split_once('/').unwrap();
        let digest: String = Sha256::digest(&text)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let manifest = json!({
            "apiVersion": "axon.mlos.io/v1",
            "kind": "Model",
            "metadata": { "namespace": namespace, "name": name, "version": version },
            "spec": {
                "framework": { "name": "onnx" },
                "format": {
                    "type": "onnx",
                    "files": [{ "path": "model.affine", "size": text.len(), "sha256": digest }],
                    "execution_files": [{ "path": "model.affine", "format": "affine", "type": "single" }],
                },
                "serving": serving,
            },
        });
        std::fs::write(root.join("manifest.yaml"), manifest.to_string()).unwrap();
        root
    }

    pub fn models(&self) -> PathBuf {
        self.0.path().join("models")
    }
}

/// Runs `body` on the first shard of an engine, then drains and stops it. The other shards have no edges: they only
/// help.
pub fn with_engine<B, F>(mode: PreemptionMode, cores: usize, folders: &Arc<Folders>, body: B)
where
    B: Fn(Node, Arc<Folders>) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + 'static,
{
    let cores = topology::usable()
        .unwrap()
        .iter()
        .take(cores)
        .map(|cpu| cpu.index)
        .collect();
    let config = EngineConfig {
        cores: Some(cores),
        preemption: mode,
        state_dir: folders.0.path().join("state"),
        models_dir: folders.models(),
        ..EngineConfig::default()
    };
    let mut plugins = Plugins::new(HostConfig::default());
    plugins.add_library(affine_library(), "{}").unwrap();
    let (done, outcome) = channel();
    let shared = folders.clone();
    let engine = Engine::start(config, plugins, "test", move |node: Node| {
        let (body, done, folders) = (body.clone(), done.clone(), shared.clone());
        async move {
            if node.index() == 0 {
                body(node, folders).await;
                let _ = done.send(());
            }
        }
    })
    .unwrap();
    let ended = outcome.recv_timeout(PATIENCE);
    assert!(ended.is_ok(), "{mode:?}: the test panicked, or hangs: {ended:?}");
    assert!(engine.stop(PATIENCE), "{mode:?}: it does not end");
}

pub fn model(text: &str) -> ModelRef {
    ModelRef::parse(text).unwrap()
}

/// Registers a folder or file without waiting for it.
pub async fn register(node: &Node, name: Option<&str>, path: PathBuf) -> Result<ModelRef, Error> {
    let request = RegisterRequest {
        model: name.map(model),
        path,
        manifest_path: None,
        activate: false,
    };
    Ok(node.register(request).await?.model)
}

/// Waits until a condition holds. What hangs here is ended by [`PATIENCE`].
pub async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        pause().await;
    }
}

/// Leaves the core to lanes: the weakest of them gets nothing of a core whose front is always busy.
pub async fn pause() {
    executor::sleep(Duration::from_millis(1)).await;
}

pub fn state(node: &Node, name: &str) -> Option<LifecycleState> {
    node.model(&model(name)).ok().map(|detail| detail.state)
}

/// Registers a package of these lines, and waits until it is ready.
pub async fn ready(node: &Node, folders: &Folders, name: &str, lines: &str, serving: Value) {
    let (id, version) = name.split_once('@').unwrap();
    let root = folders.package(id, version, lines, &serving);
    register(node, None, root).await.unwrap();
    until(|| state(node, name) == Some(LifecycleState::Ready)).await;
}

/// A request of some rows, whose elements count up from `start`.
pub fn request(node: &Node, name: &str, rows: usize, start: f32) -> InferRequest {
    let loan = node
        .pool()
        .loan(DType::F32, Shape::new(&[rows, COLUMNS]).unwrap())
        .unwrap();
    let mut tensor = loan.zeroed();
    for (index, element) in tensor.as_mut_slice::<f32>().unwrap().iter_mut().enumerate() {
        *element = start + index as f32;
    }
    InferRequest {
        model: model(name),
        component: None,
        inputs: Inputs::Tensors(vec![NamedTensor {
            name: "x".to_owned(),
            tensor: tensor.freeze(),
        }]),
        outputs: vec![],
        class: Some(Class::Normal),
        deadline: None,
        on_miss: OnMiss::Reject,
    }
}

/// The factor that an answer to [`request`] was made with, of those with addend 1. Panics where it is wrong.
pub fn factor_of(response: &InferResponse, rows: usize, start: f32) -> f32 {
    let [y, sums] = &response.outputs[..] else {
        panic!("two outputs, not {}", response.outputs.len());
    };
    assert_eq!((y.name.as_str(), sums.name.as_str()), ("y", "sums"));
    assert_eq!(y.tensor.shape().dims(), [rows, COLUMNS]);
    assert_eq!(sums.tensor.shape().dims(), [rows]);
    let values = y.tensor.as_slice::<f32>().unwrap();
    let factor = values.first().map_or(0.0, |first| (first - 1.0) / start);
    for (index, value) in values.iter().enumerate() {
        assert_eq!(*value, factor * (start + index as f32) + 1.0, "element {index}");
    }
    factor
}

/// Sums of a class's or all classes' counters over the engine.
pub fn total(node: &Node, count: fn(&mlos_api::ClassStats) -> u64) -> u64 {
    node.stats().classes.iter().map(count).sum()
}
