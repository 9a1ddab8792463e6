//! The package in `models/digits`: what it says about itself is true, and its network reads its samples.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::parsed::{Parsed, floats};
use mlos_zoo::{Size, Zoo};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn package() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models/digits")
}

fn manifest() -> Value {
    let text = std::fs::read_to_string(package().join("manifest.yaml")).unwrap();
    serde_norway::from_str(&text).unwrap()
}

/// One entry of `samples.json`.
struct Sample {
    file: String,
    label: usize,
    predicted: usize,
    image: Vec<f32>,
}

fn samples() -> Vec<Sample> {
    let text = std::fs::read_to_string(package().join("samples/samples.json")).unwrap();
    let entries: Vec<Value> = serde_json::from_str(&text).unwrap();
    let number = |value: &Value| value.as_u64().unwrap() as usize;
    let sample = |entry: &Value| Sample {
        file: entry["file"].as_str().unwrap().to_owned(),
        label: number(&entry["label"]),
        predicted: number(&entry["predicted"]),
        image: entry["image"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pixel| number(pixel) as f32)
            .collect(),
    };
    entries.iter().map(sample).collect()
}

#[test]
fn the_manifest_describes_the_file() {
    let manifest = manifest();
    let format = &manifest["spec"]["format"];
    let bytes = std::fs::read(package().join("model.onnx")).unwrap();
    assert!(
        bytes.len() < 300_000,
        "model.onnx has grown to {} bytes",
        bytes.len()
    );
    assert_eq!(format["files"].as_array().unwrap().len(), 1);
    assert_eq!(format["files"][0]["path"], "model.onnx");
    assert_eq!(format["files"][0]["size"], bytes.len());
    assert_eq!(format["files"][0]["sha256"], hex::encode(Sha256::digest(&bytes)));
    assert!(
        manifest["spec"]["performance"]["accuracy"]["held_out"]
            .as_f64()
            .unwrap()
            >= 0.97
    );
}

#[test]
fn the_manifest_describes_the_inputs_and_outputs() {
    let io = &manifest()["spec"]["io"];
    let ports = [
        ("inputs", Zoo::Digits.input_specs(Size::Full)),
        ("outputs", Zoo::Digits.output_specs(Size::Full)),
    ];
    for (direction, specs) in ports {
        let declared = io[direction].as_array().unwrap();
        assert_eq!(declared.len(), specs.len());
        for (port, spec) in declared.iter().zip(specs) {
            assert_eq!(port["name"], spec.name);
            assert_eq!(port["dtype"], spec.dtype);
            assert_eq!(port["shape"], Value::from(spec.shape));
        }
    }
}

#[test]
fn the_trained_layers_are_those_of_the_zoo() {
    let dir = tempfile::tempdir().unwrap();
    let random = Parsed::read(&Zoo::Digits.write(dir.path(), Size::Full, 0).unwrap());
    let trained = Parsed::read(&package().join("model.onnx"));
    let operators = |model: &Parsed| -> Vec<String> {
        model
            .graph()
            .node
            .iter()
            .map(|node| node.op_type.clone())
            .collect()
    };
    assert_eq!(operators(&trained), operators(&random));
    for (node, twin) in trained.graph().node.iter().zip(&random.graph().node) {
        for (input, twin_input) in node.input.iter().zip(&twin.input).skip(1) {
            let dims = (&trained.weight(input).dims, &random.weight(twin_input).dims);
            assert_eq!(dims.0, dims.1, "{}", node.name);
        }
    }
    assert_eq!(trained.graph().input, random.graph().input);
    assert_eq!(trained.graph().output, random.graph().output);
}

#[test]
fn the_samples_are_two_of_each_digit_and_their_images_are_their_arrays() {
    let samples = samples();
    let mut of_each = [0; 10];
    for sample in &samples {
        of_each[sample.label] += 1;
        let image = image::open(package().join("samples").join(&sample.file)).unwrap();
        assert_eq!(image.color(), image::ColorType::L8, "{}", sample.file);
        assert_eq!((image.width(), image.height()), (8, 8), "{}", sample.file);
        let grey: Vec<f32> = image.to_luma8().iter().map(|pixel| f32::from(*pixel)).collect();
        let expected: Vec<f32> = sample
            .image
            .iter()
            .map(|pixel| (pixel * 255.0 / 16.0).round_ties_even())
            .collect();
        assert_eq!(grey, expected, "{}", sample.file);
    }
    assert_eq!(of_each, [2; 10]);
}

#[test]
fn the_network_reads_the_samples() {
    let model = Parsed::read(&package().join("model.onnx"));
    let samples = samples();
    for sample in &samples {
        let logits = run(&model, &sample.image);
        let highest = (0..10).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
        assert_eq!(highest, sample.predicted, "{}: {logits:?}", sample.file);
    }
    let right = samples
        .iter()
        .filter(|sample| sample.predicted == sample.label)
        .count();
    assert!(right >= 18, "{right} of {} samples are right", samples.len());
}

/// A tensor of one image: [channels, side, side], or a vector with side 1.
#[derive(Clone)]
struct Tensor {
    side: usize,
    data: Vec<f32>,
}

/// Runs the network by the definitions of its operators: what it says depends on no runtime.
fn run(model: &Parsed, image: &[f32]) -> Vec<f32> {
    let mut values = HashMap::from([(
        "image".to_owned(),
        Tensor {
            side: 8,
            data: image.to_vec(),
        },
    )]);
    for node in &model.graph().node {
        let x = values[&node.input[0]].clone();
        let weight = |at: usize| floats(&model.weight(&node.input[at]).raw_data);
        let y = match node.op_type.as_str() {
            "Mul" => Tensor {
                data: x.data.iter().map(|value| value * weight(1)[0]).collect(),
                ..x
            },
            "Relu" => Tensor {
                data: x.data.iter().map(|value| value.max(0.0)).collect(),
                ..x
            },
            "Flatten" => Tensor {
                side: 1,
                data: x.data,
            },
            "Conv" => conv3x3(&x, &weight(1), &weight(2)),
            "MaxPool" => max_pool(&x),
            "Gemm" => gemm(&x, &weight(1), &weight(2)),
            "ArgMax" => continue,
            other => panic!("the network has a layer that this test does not know: {other}"),
        };
        values.insert(node.output[0].clone(), y);
    }
    values["logits"].data.clone()
}

fn conv3x3(x: &Tensor, weight: &[f32], bias: &[f32]) -> Tensor {
    let side = x.side as isize;
    let channels = x.data.len() / (x.side * x.side);
    let at = |channel: usize, row: isize, column: isize| {
        let is_inside = (0..side).contains(&row) && (0..side).contains(&column);
        if is_inside {
            x.data[channel * x.side * x.side + (row * side + column) as usize]
        } else {
            0.0
        }
    };
    let mut data = Vec::new();
    for (filter, bias) in weight.chunks(channels * 9).zip(bias) {
        for pixel in 0..side * side {
            let (row, column) = (pixel / side, pixel % side);
            let terms = filter.iter().enumerate().map(|(index, weight)| {
                let (channel, tap) = (index / 9, (index % 9) as isize);
                weight * at(channel, row + tap / 3 - 1, column + tap % 3 - 1)
            });
            data.push(bias + terms.sum::<f32>());
        }
    }
    Tensor { side: x.side, data }
}

fn max_pool(x: &Tensor) -> Tensor {
    let half = x.side / 2;
    let pooled = |plane: &[f32]| -> Vec<f32> {
        let square = |at: usize| {
            let corner = at / half * 2 * x.side + at % half * 2;
            [0, 1, x.side, x.side + 1]
                .map(|offset| plane[corner + offset])
                .into_iter()
                .fold(f32::MIN, f32::max)
        };
        (0..half * half).map(square).collect()
    };
    Tensor {
        side: half,
        data: x.data.chunks(x.side * x.side).flat_map(pooled).collect(),
    }
}

fn gemm(x: &Tensor, weight: &[f32], bias: &[f32]) -> Tensor {
    let row = |(row, bias): (&[f32], &f32)| bias + row.iter().zip(&x.data).map(|(a, b)| a * b).sum::<f32>();
    Tensor {
        side: 1,
        data: weight.chunks(x.data.len()).zip(bias).map(row).collect(),
    }
}
