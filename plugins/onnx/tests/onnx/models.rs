//! Models of true architectures: what is served is what ONNX Runtime itself computes.

use std::path::Path;

use mlos_plugin_host::{Dim, TensorSpec, Verdict};
use mlos_zoo::{Input, Size, Zoo};
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{Tensor, TensorElementType, ValueType};

use crate::host::{Always, Answer, Load, YIELD_EVERYWHERE, load, plugin, run, run_with};

const SEED: u64 = 7;

/// The answer of ONNX Runtime without us.
pub fn reference(path: &Path, inputs: &[Input]) -> Answer {
    plugin();
    let environment = mlos_plugin_onnx::environment().unwrap();
    let builder = Session::builder(&environment)
        .unwrap()
        .with_intra_threads(1)
        .unwrap();
    let mut builder = builder
        .with_optimization_level(GraphOptimizationLevel::All)
        .unwrap();
    let mut session = builder.commit_from_file(path).unwrap();
    let given: Vec<(String, SessionInputValue<'_>)> = inputs
        .iter()
        .map(|input| (input.name.clone(), value(input)))
        .collect();
    let outputs = session.run(given).unwrap();
    outputs.values().map(|value| bytes(&value)).collect()
}

fn value(input: &Input) -> SessionInputValue<'static> {
    let shape = input.shape.clone();
    let words = |len: usize| input.data.chunks_exact(len);
    match input.dtype {
        "float32" => {
            let data: Vec<f32> = words(4)
                .map(|word| f32::from_le_bytes(word.try_into().unwrap()))
                .collect();
            Tensor::from_array((shape, data)).unwrap().into()
        }
        "int64" => {
            let data: Vec<i64> = words(8)
                .map(|word| i64::from_le_bytes(word.try_into().unwrap()))
                .collect();
            Tensor::from_array((shape, data)).unwrap().into()
        }
        other => panic!("no model of the zoo takes {other}"),
    }
}

fn bytes(value: &ort::value::ValueRef<'_>) -> (Vec<usize>, Vec<u8>) {
    let ValueType::Tensor { ty, shape, .. } = value.dtype().clone() else {
        panic!("not a tensor")
    };
    let data = match ty {
        TensorElementType::Float32 => {
            let (_, data) = value.try_extract_tensor::<f32>().unwrap();
            data.iter().flat_map(|number| number.to_le_bytes()).collect()
        }
        TensorElementType::Int64 => {
            let (_, data) = value.try_extract_tensor::<i64>().unwrap();
            data.iter().flat_map(|number| number.to_le_bytes()).collect()
        }
        other => panic!("no model of the zoo gives {other}"),
    };
    (shape.iter().map(|size| *size as usize).collect(), data)
}

/// Plain ONNX Runtime, the prepared graph in one go, and suspended at each yield, with a yield everywhere.
#[track_caller]
fn check(zoo: Zoo, size: Size, rows: usize) {
    let dir = tempfile::tempdir().unwrap();
    let path = zoo.write(dir.path(), size, SEED).unwrap();
    let inputs = zoo.inputs(size, rows, SEED);
    let name = zoo.name();
    let expect = reference(&path, &inputs);
    let model = load(
        &path,
        &Load {
            options: YIELD_EVERYWHERE,
            ..Load::default()
        },
    )
    .unwrap();
    assert!(run(&model, &inputs) == expect, "{name}, {rows} rows: in one go");
    let gate = Always::new(Verdict::Suspend);
    assert!(
        run_with(&model, &inputs, gate.clone()) == expect,
        "{name}, {rows} rows: suspended at every yield"
    );
    let reached = gate.1.get();
    assert!(reached >= 2, "{name}: {reached} checkpoints");
    let [profile, ..] = model.slice_profile() else {
        panic!("{name} has no slice profile")
    };
    assert_eq!((profile.rows, profile.checkpoints), (1, reached), "{name}");
    assert!(
        profile.longest_slice_ns <= profile.total_ns && profile.longest_slice_ns > 0,
        "{name}: {profile:?}"
    );
    // Then every output's place can be made before the run.
    let unnamed = |spec: &TensorSpec| spec.dims.contains(&Dim::Dynamic(None));
    assert!(
        !model.info().outputs.iter().any(unnamed),
        "{name}: {:?}",
        model.info().outputs
    );
    assert!(model.info().rows_independent, "{name}: dimension 0 is a batch");
}

#[test]
fn every_tiny_model_is_bit_identical_whole_and_suspended() {
    for zoo in Zoo::ALL {
        for rows in [1, 3] {
            check(zoo, Size::Tiny, rows);
        }
    }
}

#[test]
fn full_resnet50_is_bit_identical() {
    check(Zoo::ResNet50, Size::Full, 2);
}

#[test]
fn full_mobilenet_v2_is_bit_identical() {
    check(Zoo::MobileNetV2, Size::Full, 1);
}

#[test]
fn the_rows_of_a_batch_may_be_run_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = Zoo::Digits.write(dir.path(), Size::Full, SEED).unwrap();
    let model = load(&path, &Load::default()).unwrap();
    let inputs = Zoo::Digits.inputs(Size::Full, 5, SEED);
    let pool = crate::host::pool();
    let mut work = crate::host::work(&model, &pool, &inputs);
    for row in 0..5 {
        let call =
            mlos_plugin_host::Call::start(work, Some(row..row + 1), &pool, Always::new(Verdict::Continue));
        let finished = crate::host::finish(call);
        finished.result.unwrap();
        work = finished.work;
    }
    let outputs = work.into_outputs().unwrap();
    for ((_, part), whole) in outputs.iter().zip(run(&model, &inputs)) {
        assert_eq!(part.bytes().unwrap(), whole.1);
    }
}
