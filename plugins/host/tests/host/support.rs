//! Builds plugins, loads affine models, makes matrices.

use mlos_plugin_host::{
    Call, Checkpoint, Finished, Gate, HostConfig, LoadRequest, Model, Open, Outputs, Plugin, Plugins, Step,
    Verdict, Work,
};
use mlos_tensor_mem::{DType, Pool, PoolConfig, Shape, Tensor};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

const PLUGINS_DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Compiles a shared object from C as the README of example-c says.
pub fn compile(source: &Path, name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let target = dir.join(name);
    // Under a name of this process first: another one may have the same object open.
    let fresh = dir.join(format!("{name}.{}", std::process::id()));
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let built = Command::new(compiler)
        .args([
            "-shared", "-fPIC", "-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-I",
        ])
        .arg(format!("{PLUGINS_DIR}/smi/include"))
        .args(["-o".as_ref(), fresh.as_os_str(), source.as_os_str()])
        .output()
        .expect("a C compiler is installed");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    std::fs::rename(fresh, &target).unwrap();
    target
}

/// Compiles a shared object from C text.
pub fn compile_text(text: &str, name: &str) -> PathBuf {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("plugin.c");
    std::fs::write(&source, text).unwrap();
    compile(&source, name)
}

/// The example, built once per run.
pub fn affine_library() -> &'static Path {
    static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
        compile(
            Path::new(&format!("{PLUGINS_DIR}/example-c/affine.c")),
            "affine.so",
        )
    });
    &LIBRARY
}

/// The example, opened.
pub fn affine_plugin() -> Arc<Plugin> {
    let mut plugins = Plugins::new(HostConfig::default());
    plugins.add_library(affine_library(), "{}").unwrap();
    plugins.for_format("affine").unwrap()
}

/// A model file with these lines; kept as long as the directory.
pub fn model_file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.affine");
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

pub fn request<'a>(path: &'a Path, options_json: &'a str) -> LoadRequest<'a> {
    LoadRequest {
        path,
        component: "",
        cache_dir: None,
        options_json,
        threads: 1,
    }
}

/// `y = 2 x + 1` with these options.
pub fn affine(options_json: &str) -> Model {
    let (_dir, path) = model_file("affine 1\na 2\nb 1 # addend\n\n");
    affine_plugin().load(&request(&path, options_json)).unwrap()
}

pub fn pool() -> Pool {
    Pool::new(PoolConfig::default()).unwrap()
}

pub fn f32_tensor(pool: &Pool, dims: &[usize], value: impl Fn(usize) -> f32) -> Tensor {
    let mut tensor = pool.loan(DType::F32, Shape::new(dims).unwrap()).unwrap().zeroed();
    for (index, element) in tensor.as_mut_slice::<f32>().unwrap().iter_mut().enumerate() {
        *element = value(index);
    }
    tensor.freeze()
}

/// A work of `rows` rows of three columns, counting up from `start`.
pub fn work(model: &Model, pool: &Pool, rows: usize, start: f32) -> Work {
    let x = f32_tensor(pool, &[rows, 3], |index| start + index as f32);
    Work::new(model, vec![Some(x)], Outputs::All).unwrap()
}

/// What the model of [`affine`] makes of such a work.
pub fn expected(rows: usize, start: f32) -> (Vec<f32>, Vec<f32>) {
    let y: Vec<f32> = (0..rows * 3)
        .map(|index| 2.0 * (start + index as f32) + 1.0)
        .collect();
    let sums = y
        .chunks(3)
        .map(|row| row.iter().map(|&v| f64::from(v)).sum::<f64>() as f32)
        .collect();
    (y, sums)
}

/// The elements of all outputs, which are f32.
pub fn values(work: Work) -> Vec<(usize, Vec<f32>)> {
    let outputs = work.into_outputs().unwrap();
    outputs
        .iter()
        .map(|(index, tensor)| (*index, tensor.as_slice::<f32>().unwrap().to_vec()))
        .collect()
}

/// Asserts that a work of [`work`] is done and right.
pub fn assert_right(work: Work, rows: usize, start: f32) {
    let (y, sums) = expected(rows, start);
    assert_eq!(values(work), [(0, y), (1, sums)]);
}

pub fn open() -> Rc<dyn Gate> {
    Rc::new(Open)
}

/// Suspends at every checkpoint, or does what it was told last.
pub struct Switch(Cell<Verdict>);

impl Switch {
    pub fn new(verdict: Verdict) -> Rc<Self> {
        Rc::new(Self(Cell::new(verdict)))
    }

    pub fn set(&self, verdict: Verdict) {
        self.0.set(verdict);
    }
}

impl Gate for Switch {
    fn at_checkpoint(&self, _: Checkpoint) -> Verdict {
        self.0.get()
    }
}

/// Resumes until it is over, says how often it was suspended.
pub fn drive(call: &mut Call) -> (Finished, usize) {
    let mut suspensions = 0;
    loop {
        match call.resume() {
            Step::Suspended => suspensions += 1,
            Step::Done(finished) => return (finished, suspensions),
        }
    }
}

/// Runs a work whole.
pub fn run(work: Work, pool: &Pool) -> Finished {
    drive(&mut Call::start(work, None, pool, open())).0
}
