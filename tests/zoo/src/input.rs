//! Tensors to feed to a model, and descriptions of them.

use crate::{DType, Prng};

/// Name, type and shape of a model's input or output, as a manifest has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoSpec {
    /// Name.
    pub name: String,
    /// Element type, such as `float32`.
    pub dtype: &'static str,
    /// Lengths; -1 where only the run knows.
    pub shape: Vec<i64>,
}

/// One input tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Name.
    pub name: String,
    /// Element type, such as `float32`.
    pub dtype: &'static str,
    /// Lengths.
    pub shape: Vec<usize>,
    /// Elements, little-endian, row-major. A string is its length in bytes as a little-endian u32, then its bytes.
    pub data: Vec<u8>,
}

impl Input {
    /// A tensor of f32, each made by `element`.
    pub fn f32(name: &str, shape: &[usize], mut element: impl FnMut(usize) -> f32) -> Self {
        Self::build(name, DType::F32, shape, |index, data| {
            data.extend(element(index).to_le_bytes())
        })
    }

    /// A tensor of int64, each made by `element`.
    pub fn i64(name: &str, shape: &[usize], mut element: impl FnMut(usize) -> i64) -> Self {
        Self::build(name, DType::I64, shape, |index, data| {
            data.extend(element(index).to_le_bytes())
        })
    }

    /// A tensor of f32, uniform in [-1, 1).
    pub(crate) fn noise(name: &str, shape: &[usize], random: &mut Prng) -> Self {
        Self::f32(name, shape, |_| random.signed_pair().0)
    }

    /// Any valid elements of a type, zeros and ones among them.
    pub(crate) fn any(name: &str, dtype: DType, shape: &[usize], random: &mut Prng) -> Self {
        Self::build(name, dtype, shape, |_, data| {
            element(dtype, random.below(100), data)
        })
    }

    fn build(name: &str, dtype: DType, shape: &[usize], mut push: impl FnMut(usize, &mut Vec<u8>)) -> Self {
        let elements: usize = shape.iter().product();
        let mut data = Vec::with_capacity(elements * dtype.size().unwrap_or(8));
        for index in 0..elements {
            push(index, &mut data);
        }
        Self {
            name: name.to_owned(),
            dtype: dtype.name(),
            shape: shape.to_vec(),
            data,
        }
    }
}

/// Appends `value`, which is below 100, as an element.
fn element(dtype: DType, value: u64, data: &mut Vec<u8>) {
    match dtype {
        DType::F32 => data.extend((value as f32 / 4.0).to_le_bytes()),
        DType::F64 => data.extend((value as f64 / 4.0).to_le_bytes()),
        // Half floats by their bits: every pattern of this exponent is a number between 1 and 2.
        DType::F16 => data.extend((0x3C00 + value as u16).to_le_bytes()),
        DType::BF16 => data.extend((0x3F80 + value as u16).to_le_bytes()),
        DType::Bool => data.push((value % 2) as u8),
        DType::String => {
            let text = format!("text {value} é");
            data.extend((text.len() as u32).to_le_bytes());
            data.extend(text.as_bytes());
        }
        _ => data.extend(&value.to_le_bytes()[..dtype.size().unwrap_or(0)]),
    }
}
