//! Tensors as a daemon answers them, to the last bit.

use mlos_zoo::Input;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::Answer;

/// Elements, row-major.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// `float32`.
    F32(Vec<f32>),
    /// `int64`.
    I64(Vec<i64>),
}

impl Data {
    /// The elements of an input.
    ///
    /// # Panics
    /// For types that no model of the zoo has.
    #[must_use]
    pub fn of(input: &Input) -> Self {
        let words = |size| input.data.chunks_exact(size);
        match input.dtype {
            "float32" => Self::F32(
                words(4)
                    .map(|word| f32::from_le_bytes(word.try_into().unwrap()))
                    .collect(),
            ),
            "int64" => Self::I64(
                words(8)
                    .map(|word| i64::from_le_bytes(word.try_into().unwrap()))
                    .collect(),
            ),
            other => panic!("no model of the zoo takes {other}"),
        }
    }

    /// The greatest difference to other data, in parts of the greatest magnitude among these. Zero: the same bits.
    ///
    /// # Panics
    /// When type or number differ.
    #[must_use]
    #[track_caller]
    pub fn distance(&self, other: &Self) -> f32 {
        match (self, other) {
            (Self::F32(ours), Self::F32(theirs)) => {
                assert_eq!(ours.len(), theirs.len());
                if ours
                    .iter()
                    .map(|x| x.to_bits())
                    .eq(theirs.iter().map(|x| x.to_bits()))
                {
                    return 0.0;
                }
                let scale = ours.iter().fold(f32::MIN_POSITIVE, |max, x| max.max(x.abs()));
                let apart = |(x, y): (&f32, &f32)| {
                    if x.is_nan() || y.is_nan() {
                        f32::INFINITY
                    } else {
                        (x - y).abs()
                    }
                };
                let furthest = ours.iter().zip(theirs).map(apart).fold(0.0, f32::max);
                furthest / scale
            }
            _ if self == other => 0.0,
            _ => f32::INFINITY,
        }
    }
}

/// One output.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its elements.
    pub data: Data,
}

#[derive(Deserialize)]
struct Body {
    outputs: Vec<Tensor>,
}

#[derive(Deserialize)]
struct Tensor {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    data: Box<RawValue>,
}

/// The outputs of an answer, each number read as its own type: no double in between.
///
/// # Panics
/// When the answer is none.
#[must_use]
#[track_caller]
pub fn served(answer: &Answer) -> Vec<Output> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body: Body = serde_json::from_slice(&answer.body).unwrap();
    body.outputs
        .into_iter()
        .map(|tensor| Output {
            data: data(&tensor.dtype, tensor.data.get()),
            name: tensor.name,
            shape: tensor.shape,
        })
        .collect()
}

fn data(dtype: &str, text: &str) -> Data {
    let inside = text.trim_start_matches('[').trim_end_matches(']');
    let numbers = inside.split(',').filter(|number| !number.is_empty());
    match dtype {
        "float32" => Data::F32(
            numbers
                .map(|number| number.trim_matches('"').parse().unwrap())
                .collect(),
        ),
        "int64" => Data::I64(numbers.map(|number| number.parse().unwrap()).collect()),
        other => panic!("no model of the zoo gives {other}"),
    }
}
