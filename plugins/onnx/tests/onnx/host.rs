//! What all tests need: the plugin, models of the zoo, and calls.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use mlos_plugin_host::{
    Call, Checkpoint, Error, Finished, Gate, HostConfig, LoadRequest, Model, Outputs, Plugin, Plugins, Step,
    Verdict, Work,
};
use mlos_plugin_onnx::{LIBRARY_VARIABLE, OnnxPlugin};
use mlos_tensor_mem::{DType, Pool, PoolConfig, Shape, Tensor};
use mlos_zoo::Input;

/// The library: from the variable, or where `cargo xtask setup` puts it.
fn library() -> PathBuf {
    if let Some(path) = std::env::var_os(LIBRARY_VARIABLE).filter(|path| !path.is_empty()) {
        return path.into();
    }
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/onnxruntime/libonnxruntime.so");
    assert!(
        fetched.exists(),
        "no onnx runtime: run `cargo xtask setup`, or set {LIBRARY_VARIABLE}"
    );
    fetched
}

/// The plugin, initialised once per process.
pub fn plugin() -> Arc<Plugin> {
    static PLUGIN: OnceLock<Arc<Plugin>> = OnceLock::new();
    let plugin = PLUGIN.get_or_init(|| {
        let config = format!(r#"{{"library": {:?}, "threads_max": 2}}"#, library());
        let mut plugins = Plugins::new(HostConfig::default());
        plugins
            .add_builtin(mlos_smi::entry_of::<OnnxPlugin>(), &config)
            .unwrap();
        plugins.for_format("onnx").unwrap()
    });
    Arc::clone(plugin)
}

/// How to load.
pub struct Load<'a> {
    pub cache: Option<&'a Path>,
    pub options: &'a str,
    pub threads: u32,
}

impl Default for Load<'_> {
    fn default() -> Self {
        Self {
            cache: None,
            options: "{}",
            threads: 1,
        }
    }
}

/// A yield at every border between nodes.
pub const YIELD_EVERYWHERE: &str = r#"{"slice_target_us": 0}"#;

pub fn load(path: &Path, load: &Load<'_>) -> Result<Model, Error> {
    let request = LoadRequest {
        path,
        component: "",
        cache_dir: load.cache,
        options_json: load.options,
        threads: load.threads,
    };
    plugin().load(&request)
}

pub fn pool() -> Pool {
    Pool::new(PoolConfig {
        huge_pages: false,
        ..PoolConfig::default()
    })
    .unwrap()
}

/// The zoo's name of a type, as the host has it.
fn dtype(name: &str) -> DType {
    match name {
        "bool" => DType::Bool,
        "uint8" => DType::U8,
        "uint16" => DType::U16,
        "uint32" => DType::U32,
        "uint64" => DType::U64,
        "int8" => DType::I8,
        "int16" => DType::I16,
        "int32" => DType::I32,
        "int64" => DType::I64,
        "float16" => DType::F16,
        "bfloat16" => DType::BF16,
        "float32" => DType::F32,
        "float64" => DType::F64,
        "string" => DType::String,
        other => panic!("a type that is not known: {other}"),
    }
}

pub fn tensor(pool: &Pool, input: &Input) -> Tensor {
    let shape = Shape::new(&input.shape).unwrap();
    let loan = pool
        .loan_bytes(dtype(input.dtype), shape, input.data.len())
        .unwrap();
    loan.copy_from(&input.data).unwrap().freeze()
}

/// A work on the zoo's inputs, in the model's order.
pub fn work(model: &Model, pool: &Pool, inputs: &[Input]) -> Work {
    let given = model.info().inputs.iter().map(|spec| {
        inputs
            .iter()
            .find(|input| input.name == spec.name)
            .map(|input| tensor(pool, input))
    });
    Work::new(model, given.collect(), Outputs::All).unwrap()
}

/// A gate with one answer, which counts.
pub struct Always(pub Verdict, pub Cell<u64>);

impl Always {
    pub fn new(verdict: Verdict) -> Rc<Self> {
        Rc::new(Self(verdict, Cell::new(0)))
    }
}

impl Gate for Always {
    fn at_checkpoint(&self, _: Checkpoint) -> Verdict {
        self.1.set(self.1.get() + 1);
        self.0
    }
}

/// Resumes a call until it is over.
pub fn finish(mut call: Call) -> Finished {
    loop {
        if let Step::Done(finished) = call.resume() {
            return finished;
        }
    }
}

/// The bytes of all outputs, and the shapes.
pub type Answer = Vec<(Vec<usize>, Vec<u8>)>;

pub fn answer(finished: Finished) -> Answer {
    finished.result.unwrap();
    let outputs = finished.work.into_outputs().unwrap();
    outputs
        .into_iter()
        .map(|(_, tensor)| (tensor.shape().dims().to_vec(), tensor.bytes().unwrap().to_vec()))
        .collect()
}

/// Runs a model in one go.
pub fn run(model: &Model, inputs: &[Input]) -> Answer {
    run_with(model, inputs, Always::new(Verdict::Continue))
}

pub fn run_with(model: &Model, inputs: &[Input], gate: Rc<dyn Gate>) -> Answer {
    let pool = pool();
    answer(finish(Call::start(work(model, &pool, inputs), None, &pool, gate)))
}
