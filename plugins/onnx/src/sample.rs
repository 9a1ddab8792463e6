//! Inputs made up for timing a model: ones and halves of plausible shapes.
//!
//! Times of dense operators do not depend on the values, so nothing cleverer is needed; ones are valid token ids,
//! masks and positions nearly everywhere.

use std::collections::BTreeMap;

use mlos_smi::{DType, Description, Dim, TensorSpec};

use crate::dtype;
use crate::error::Result;
use crate::sys::{Shape, Value};

/// Sizes for dynamic dimensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Dimension 0 of every input.
    pub rows: i64,
    /// Dimensions that look like tokens or time.
    pub sequence: i64,
    /// Dimensions that look like the sides of an image.
    pub side: i64,
    /// By name, from the load options; they beat the guesses.
    pub named: BTreeMap<String, i64>,
}

impl Sizes {
    /// Sizes to try, the likeliest first: a hundred tokens and an image of the usual size, then less for models that
    /// cannot take as much.
    pub fn guesses(named: &BTreeMap<String, i64>) -> impl Iterator<Item = Self> {
        let sizes = [(128, 224), (64, 224), (16, 64), (1, 32)];
        sizes.into_iter().map(|(sequence, side)| Self {
            rows: 1,
            sequence,
            side,
            named: named.clone(),
        })
    }

    /// The same with another dimension 0.
    pub fn with_rows(&self, rows: i64) -> Self {
        Self { rows, ..self.clone() }
    }

    fn of(&self, spec: &TensorSpec) -> Shape {
        let dims = spec.dims.iter().enumerate();
        dims.map(|(position, dim)| match dim {
            Dim::Fixed(size) => *size as i64,
            Dim::Dynamic(name) => self.dynamic(name.as_deref().unwrap_or(""), position, spec),
        })
        .collect()
    }

    fn dynamic(&self, name: &str, position: usize, spec: &TensorSpec) -> i64 {
        if let Some(size) = self.named.get(name) {
            return *size;
        }
        if name.contains('+') {
            return name
                .split('+')
                .map(|term| self.term(term.trim(), usize::MAX, spec))
                .sum();
        }
        self.term(name, position, spec)
    }

    /// The size of one name. Exporters agree on no spelling, so this goes by what the words have in common.
    fn term(&self, name: &str, position: usize, spec: &TensorSpec) -> i64 {
        if let Some(size) = self.named.get(name).copied().or_else(|| name.parse().ok()) {
            return size;
        }
        let name = name.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
        if position == 0 || has(&["batch"]) {
            self.rows
        } else if has(&["past"]) && !has(&["total"]) {
            // No cache yet; "total" is past and present together.
            0
        } else if has(&["seq", "len", "token", "time", "total"]) {
            self.sequence
        } else if has(&["height", "width"]) || matches!(name.as_str(), "h" | "w") {
            self.side
        } else if has(&["channel"]) {
            3
        } else {
            match spec.dims.len() {
                4 if position >= 2 => self.side,
                2 | 3 if position != usize::MAX => self.sequence,
                _ => 1,
            }
        }
    }
}

/// A tensor and the memory that it lies in.
pub(crate) struct Sample {
    // Declared first, so dropped first.
    pub value: Value,
    _memory: Vec<u64>,
}

/// An input for each that is not optional.
pub(crate) fn inputs(description: &Description, sizes: &Sizes) -> Result<Vec<Option<Sample>>> {
    let one = |spec: &TensorSpec| {
        if spec.optional {
            Ok(None)
        } else {
            sample(spec, sizes).map(Some)
        }
    };
    description.inputs.iter().map(one).collect()
}

fn sample(spec: &TensorSpec, sizes: &Sizes) -> Result<Sample> {
    let shape = sizes.of(spec);
    let count = shape.iter().product::<i64>() as usize;
    let Some(element_bytes) = spec.dtype.size_bytes() else {
        let value = Value::of_strings(&shape, &vec![b"a".as_slice(); count])?;
        return Ok(Sample {
            value,
            _memory: Vec::new(),
        });
    };
    let len = count * element_bytes;
    // At least one word, so that an empty tensor has an address too.
    let mut memory = vec![filler(spec.dtype); len / 8 + 1];
    // SAFETY: `memory` has at least `len` bytes, aligned for every element type, and moves into the sample, whose
    // value is dropped first; moving a Vec does not move its elements.
    let value = unsafe {
        Value::over(
            memory.as_mut_ptr().cast(),
            len,
            &shape,
            dtype::to_onnx(spec.dtype),
        )
    }?;
    Ok(Sample {
        value,
        _memory: memory,
    })
}

/// Eight bytes of the element that stands for "some value".
fn filler(dtype: DType) -> u64 {
    const HALF_F32: u64 = 0x3f00_0000;
    match dtype {
        DType::Bool | DType::U8 | DType::I8 => 0x0101_0101_0101_0101,
        DType::U16 | DType::I16 => 0x0001_0001_0001_0001,
        DType::U32 | DType::I32 => 0x0000_0001_0000_0001,
        DType::U64 | DType::I64 | DType::String => 1,
        DType::F16 => 0x3800_3800_3800_3800,
        DType::BF16 => 0x3f00_3f00_3f00_3f00,
        DType::F32 => HALF_F32 << 32 | HALF_F32,
        DType::F64 => 0x3fe0_0000_0000_0000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(dims: &[&str]) -> Vec<i64> {
        let dims = dims.iter().map(|dim| match dim.parse() {
            Ok(size) => Dim::Fixed(size),
            Err(_) if dim.is_empty() => Dim::Dynamic(None),
            Err(_) => Dim::Dynamic(Some((*dim).to_owned())),
        });
        let spec = TensorSpec {
            name: "x".to_owned(),
            dtype: DType::F32,
            dims: dims.collect(),
            optional: false,
        };
        let named = BTreeMap::from([("frames".to_owned(), 9)]);
        Sizes::guesses(&named).next().unwrap().of(&spec).to_vec()
    }

    #[test]
    fn dynamic_dimensions_get_plausible_sizes() {
        let cases: [(&[&str], &[i64]); 9] = [
            (&["N", "3", "224", "224"], &[1, 3, 224, 224]),
            (&["", "3", "", ""], &[1, 3, 224, 224]),
            (&["batch", "seq"], &[1, 128]),
            (&["batch_size", "sequence_length"], &[1, 128]),
            (&["", ""], &[1, 128]),
            (&["batch", "12", "past_sequence_length", "64"], &[1, 12, 0, 64]),
            (&["batch", "past_sequence_length + sequence_length"], &[1, 128]),
            (&["batch", "past_sequence_length + 1"], &[1, 1]),
            (&["batch", "frames"], &[1, 9]),
        ];
        for (dims, expect) in cases {
            assert_eq!(shape(dims), expect, "{dims:?}");
        }
    }
}
