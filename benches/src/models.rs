//! The models that the loads ask, and what they are asked.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use mlos_zoo::{Input, Size, Zoo};
use serde_json::Value;

use crate::client::Request;

/// Seed of every weight and input.
pub const SEED: u64 = 1;

/// Id of the model from `models/digits`.
pub const DIGITS: &str = "mlos/digits";

/// A model of 117 MB that is quick to compute, for loading and unloading.
pub const LARGE: Zoo = Zoo::Mlp {
    dim: 1024,
    width: 2048,
    depth: 8,
};

/// Where builds and benchmarks put what they make.
#[must_use]
pub fn target_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")
}

/// The library to run on: the one that is named, else the one that `cargo xtask` fetched, else none for the system's.
#[must_use]
pub fn onnx_library() -> Option<PathBuf> {
    let named = std::env::var_os("ORT_DYLIB_PATH")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    named.or_else(|| Some(target_dir().join("onnxruntime/libonnxruntime.so")).filter(|path| path.exists()))
}

/// The package of the digits.
#[must_use]
pub fn digits() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/digits")
}

/// The file of a model, written the first time.
///
/// # Errors
/// From the file system.
pub fn file(zoo: Zoo) -> Result<PathBuf> {
    let dir = target_dir().join("models");
    let path = dir.join(zoo.file_name(Size::Full));
    if !path.exists() {
        // Whoever is killed while writing leaves no half of a model behind.
        std::fs::create_dir_all(&dir)?;
        let unfinished = tempfile::tempdir_in(&dir)?;
        let written = zoo.write(unfinished.path(), Size::Full, SEED)?;
        std::fs::rename(written, &path)?;
    }
    Ok(path.canonicalize()?)
}

/// The request path of a model's inference.
#[must_use]
pub fn inference(id: &str) -> String {
    format!("/models/{id}/inference")
}

/// Asks the digits model for one image, in this class.
///
/// # Errors
/// Where the package has no samples.
pub fn ask_digits(class: &str) -> Result<Request> {
    let samples: Value = serde_json::from_slice(&std::fs::read(digits().join("samples/samples.json"))?)?;
    let image = samples.pointer("/0/image").context("no sample")?;
    let body = format!("{{\"image\":{image}}}");
    Ok(Request::post(
        &inference(DIGITS),
        &headers(class),
        body.as_bytes(),
    ))
}

/// Asks a model from the zoo in JSON: so many rows, texts of 16 tokens.
///
/// # Errors
/// Where the model takes neither floats nor integers.
pub fn ask_json(id: &str, zoo: Zoo, rows: usize, class: &str) -> Result<Request> {
    Ok(Request::post(
        &inference(id),
        &headers(class),
        json_body(zoo, rows)?.as_bytes(),
    ))
}

/// Asks a model of one input for many rows, as bytes.
///
/// # Errors
/// Where it has several inputs.
pub fn ask_binary(id: &str, zoo: Zoo, rows: usize, class: &str) -> Result<Request> {
    let inputs = zoo.inputs(Size::Full, rows, SEED);
    let [input] = inputs.as_slice() else {
        bail!("{id} has several inputs")
    };
    let shape: Vec<String> = input.shape.iter().map(usize::to_string).collect();
    let shape = shape.join(",");
    let headers = [
        ("content-type", "application/octet-stream"),
        ("x-mlos-input", input.name.as_str()),
        ("x-mlos-shape", &shape),
        ("x-mlos-priority", class),
    ];
    Ok(Request::post(&inference(id), &headers, &input.data))
}

fn headers(class: &str) -> [(&str, &str); 2] {
    [("content-type", "application/json"), ("x-mlos-priority", class)]
}

/// Inputs as JSON, nested as their shapes are; floats with as few digits as tell them apart.
///
/// # Errors
/// Where an input holds neither floats nor integers.
pub fn json_body(zoo: Zoo, rows: usize) -> Result<String> {
    body(zoo, rows, |word| f32::from_le_bytes(word).to_string())
}

/// The same with floats as a client prints them that has them in 64 bits: up to 17 digits.
///
/// # Errors
/// Where an input holds neither floats nor integers.
pub fn wide_json_body(zoo: Zoo, rows: usize) -> Result<String> {
    body(zoo, rows, |word| f64::from(f32::from_le_bytes(word)).to_string())
}

fn body(zoo: Zoo, rows: usize, float: fn([u8; 4]) -> String) -> Result<String> {
    let mut body = String::from("{");
    for input in zoo.inputs(Size::Full, rows, SEED) {
        if body.len() > 1 {
            body.push(',');
        }
        write!(body, "\"{}\":", input.name)?;
        let mut at = 0;
        nested(&mut body, &numbers(&input, float)?, &input.shape, &mut at);
    }
    body.push('}');
    Ok(body)
}

fn nested(body: &mut String, numbers: &[String], shape: &[usize], at: &mut usize) {
    let Some((&length, inner)) = shape.split_first() else {
        body.push_str(&numbers[*at]);
        *at += 1;
        return;
    };
    body.push('[');
    for index in 0..length {
        if index > 0 {
            body.push(',');
        }
        nested(body, numbers, inner, at);
    }
    body.push(']');
}

fn numbers(input: &Input, float: fn([u8; 4]) -> String) -> Result<Vec<String>> {
    Ok(match input.dtype {
        "float32" => words(input, float),
        "int64" => words(input, |word| i64::from_le_bytes(word).to_string()),
        other => bail!("{} has the type {other}", input.name),
    })
}

fn words<const N: usize>(input: &Input, print: impl Fn([u8; N]) -> String) -> Vec<String> {
    input
        .data
        .chunks_exact(N)
        .filter_map(|word| word.try_into().ok())
        .map(print)
        .collect()
}
