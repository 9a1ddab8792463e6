//! ONNX Runtime itself, in this process.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use mlos_zoo::Input;
use ort::environment::Environment;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{Tensor, TensorElementType, ValueRef, ValueType};

use crate::binary::profile_folder;
use crate::served::{Data, Output};

/// The library that the daemons of the tests load.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn onnx_library() -> PathBuf {
    let named = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty());
    let set_up = || {
        profile_folder()
            .parent()
            .unwrap()
            .join("onnxruntime/libonnxruntime.so")
    };
    let library = named.map_or_else(set_up, PathBuf::from);
    assert!(
        library.is_file(),
        "ONNX Runtime is not at {}; run `cargo xtask setup`, or set ORT_DYLIB_PATH",
        library.display()
    );
    std::path::absolute(library).unwrap()
}

fn environment() -> &'static Environment {
    static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(|| {
        let builder = ort::init_from(onnx_library()).unwrap();
        builder.with_name("tests").with_telemetry(false).build().unwrap()
    });
    &ENVIRONMENT
}

/// A model file, loaded as anybody would who knows nothing of us.
#[derive(Debug)]
pub struct Reference(Session);

impl Reference {
    /// Loads it.
    ///
    /// # Panics
    /// When ONNX Runtime refuses it.
    #[must_use]
    pub fn load(path: &Path) -> Self {
        let builder = Session::builder(environment()).unwrap();
        let builder = builder.with_intra_threads(1).unwrap();
        let mut builder = builder
            .with_optimization_level(GraphOptimizationLevel::All)
            .unwrap();
        Self(builder.commit_from_file(path).unwrap())
    }

    /// Runs it.
    ///
    /// # Panics
    /// When ONNX Runtime refuses the inputs.
    #[must_use]
    pub fn run(&mut self, inputs: &[Input]) -> Vec<Output> {
        let given: Vec<(String, SessionInputValue<'_>)> = inputs
            .iter()
            .map(|input| (input.name.clone(), value(input)))
            .collect();
        let outputs = self.0.run(given).unwrap();
        outputs.iter().map(|(name, value)| output(name, &value)).collect()
    }
}

fn value(input: &Input) -> SessionInputValue<'static> {
    let shape = input.shape.clone();
    match Data::of(input) {
        Data::F32(data) => Tensor::from_array((shape, data)).unwrap().into(),
        Data::I64(data) => Tensor::from_array((shape, data)).unwrap().into(),
    }
}

fn output(name: &str, value: &ValueRef<'_>) -> Output {
    let ValueType::Tensor { ty, shape, .. } = value.dtype().clone() else {
        panic!("not a tensor")
    };
    let data = match ty {
        TensorElementType::Float32 => Data::F32(value.try_extract_tensor::<f32>().unwrap().1.to_vec()),
        TensorElementType::Int64 => Data::I64(value.try_extract_tensor::<i64>().unwrap().1.to_vec()),
        other => panic!("no model of the zoo gives {other}"),
    };
    Output {
        name: name.to_owned(),
        shape: shape.iter().map(|size| usize::try_from(*size).unwrap()).collect(),
        data,
    }
}
