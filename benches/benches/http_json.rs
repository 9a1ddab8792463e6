//! JSON of inferences: bodies into tensor memory, and results into text.
//!
//! `vision` is the body of the figure `http_json_vision_extra_ms`: 150,528 floats, written with 4 digits as a person
//! does, or with 17 as Python's `json` prints a double. `serde_json` into a `Vec<f32>` is shown beside it.

use std::hint::black_box;
use std::path::PathBuf;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use mlos_api::{
    Class, Dim, InferResponse, Inputs, LifecycleState, ModelDetail, ModelRef, Preprocessing, Signature,
    TensorSpec, Timing,
};
use mlos_http::{Media, read_request, write_response};
use mlos_tensor_mem::{DType, Pool, PoolConfig};

const VISION: [usize; 3] = [3, 224, 224];
const DIGITS: [usize; 3] = [1, 8, 8];

fn detail(dtype: DType, row: &[usize]) -> ModelDetail {
    let dims = [Dim::Dynamic(None)]
        .into_iter()
        .chain(row.iter().map(|size| Dim::Fixed(*size)))
        .collect();
    let input = TensorSpec {
        name: String::from("x"),
        dtype,
        dims,
    };
    ModelDetail {
        model: ModelRef {
            id: String::from("bench/model"),
            version: Some(String::from("1.0.0")),
        },
        state: LifecycleState::Ready,
        failure: None,
        active: true,
        format: String::from("onnx"),
        framework: String::new(),
        description: String::new(),
        plugin: String::from("onnx"),
        path: PathBuf::new(),
        signatures: vec![Signature {
            inputs: vec![input],
            ..Signature::default()
        }],
        preprocessing: Preprocessing::None,
        class_default: Class::Normal,
        resident_bytes: 0,
        load_ms: 0,
        versions: Vec::new(),
    }
}

/// Numbers between 0 and 1 that look random and are the same each time.
fn uniform(count: usize) -> impl Iterator<Item = f64> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    std::iter::repeat_with(move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    })
    .take(count)
}

fn body(numbers: impl Iterator<Item = String>, separator: &str) -> Bytes {
    let numbers: Vec<String> = numbers.collect();
    format!("{{\"x\":[{}]}}", numbers.join(separator)).into()
}

fn read(bencher: &mut Criterion, name: &str, body: &Bytes, detail: &ModelDetail, pool: &Pool) {
    let mut group = bencher.benchmark_group("http_json/read");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function(name, |bencher| {
        bencher.iter(|| read_request(Media::Json, body.clone(), detail, pool).expect("the body is valid"));
    });
}

fn reading(bencher: &mut Criterion) {
    let pool = Pool::new(PoolConfig::default()).expect("there is memory");
    let vision = detail(DType::F32, &VISION);
    let count = VISION.iter().product();
    let short = body(uniform(count).map(|value| format!("{value:.4}")), ",");
    let long = body(uniform(count).map(|value| value.to_string()), ", ");
    read(bencher, "vision, 4 digits", &short, &vision, &pool);
    read(bencher, "vision, 17 digits", &long, &vision, &pool);
    read(
        bencher,
        "digits",
        &body(uniform(64).map(|value| format!("{:.0}", value * 16.0)), ","),
        &detail(DType::F32, &DIGITS),
        &pool,
    );
    let ids = body(uniform(512).map(|value| format!("{:.0}", value * 30_000.0)), ", ");
    read(bencher, "512 token ids", &ids, &detail(DType::I64, &[512]), &pool);

    let mut group = bencher.benchmark_group("http_json/serde_json");
    for (name, body) in [("vision, 4 digits", &short), ("vision, 17 digits", &long)] {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| {
            let array = &body[br#"{"x":"#.len()..body.len() - 1];
            bencher.iter(|| serde_json::from_slice::<Vec<f32>>(black_box(array)).expect("the body is valid"));
        });
    }
}

fn writing(bencher: &mut Criterion) {
    let pool = Pool::new(PoolConfig::default()).expect("there is memory");
    let mut group = bencher.benchmark_group("http_json/write");
    for (name, count) in [
        ("10 floats", 10),
        ("1,000 floats", 1000),
        ("150,528 floats", 150_528),
    ] {
        let body = body(uniform(count).map(|value| (value as f32).to_string()), ",");
        let request =
            read_request(Media::Json, body, &detail(DType::F32, &[count]), &pool).expect("the body is valid");
        let Inputs::Tensors(outputs) = request.inputs else {
            unreachable!("the body holds tensors")
        };
        let response = InferResponse {
            model: request.model,
            outputs,
            timing: Timing::default(),
            class: Class::Normal,
        };
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || (),
                |()| write_response(black_box(&response)),
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, reading, writing);
criterion_main!(benches);
