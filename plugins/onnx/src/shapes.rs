//! The shape of an output before the run: from its declaration and the shapes of the inputs.
//!
//! Knowing it lets the run write the output where the host wants it. Shapes that depend on values, or that the
//! model does not declare in terms of its inputs, are `None`: then ONNX Runtime allocates and one copy follows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use mlos_smi::{Description, Dim, TensorSpec};

use crate::sys::Shape;

/// Where the size of a dimension comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Size {
    Fixed(i64),
    /// That of dimension `axis` of input `input`.
    Input {
        input: usize,
        axis: usize,
    },
    /// As exporters write "past + 1".
    Sum(Vec<Size>),
}

/// How to tell the shape of an output.
#[derive(Debug)]
pub(crate) struct OutputShape {
    sizes: Option<Vec<Size>>,
    /// A run gave another shape than was told.
    wrong: AtomicBool,
}

impl OutputShape {
    /// Reads the declarations.
    pub fn of(output: &TensorSpec, description: &Description) -> Self {
        let sizes = output.dims.iter().map(|dim| match dim {
            Dim::Fixed(size) => Some(Size::Fixed(*size as i64)),
            Dim::Dynamic(name) => size_of(name.as_deref()?, description),
        });
        Self {
            sizes: sizes.collect(),
            wrong: AtomicBool::new(false),
        }
    }

    /// The shape that a run on inputs of these shapes will give, if that can be told.
    pub fn tell<'s>(&self, input: impl Fn(usize) -> Option<&'s [i64]> + Copy) -> Option<Shape> {
        // Relaxed: a late reader makes one more failing attempt at worst.
        let sizes = self
            .sizes
            .as_ref()
            .filter(|_| !self.wrong.load(Ordering::Relaxed))?;
        sizes.iter().map(|size| size.tell(input)).collect()
    }

    /// Never tell again: the declaration was wrong.
    pub fn distrust(&self) {
        self.wrong.store(true, Ordering::Relaxed);
    }
}

impl Size {
    fn tell<'s>(&self, input: impl Fn(usize) -> Option<&'s [i64]> + Copy) -> Option<i64> {
        match self {
            Self::Fixed(size) => Some(*size),
            Self::Input { input: index, axis } => input(*index)?.get(*axis).copied(),
            Self::Sum(terms) => terms.iter().map(|term| term.tell(input)).sum(),
        }
    }
}

fn size_of(name: &str, description: &Description) -> Option<Size> {
    let place = description.inputs.iter().enumerate().find_map(|(input, spec)| {
        let same = |dim: &Dim| matches!(dim, Dim::Dynamic(Some(other)) if other == name);
        spec.dims
            .iter()
            .position(same)
            .map(|axis| Size::Input { input, axis })
    });
    if place.is_some() {
        return place;
    }
    if name.contains('+') {
        let terms = name.split('+').map(|term| size_of(term.trim(), description));
        return terms.collect::<Option<_>>().map(Size::Sum);
    }
    name.parse().ok().filter(|size| *size >= 0).map(Size::Fixed)
}

/// Two sizes for one name among the inputs of a call, as a sentence.
pub(crate) fn contradiction(specs: &[TensorSpec], shapes: &[Option<&[i64]>]) -> Option<String> {
    let mut known: HashMap<&str, (i64, &str)> = HashMap::new();
    for (spec, shape) in specs.iter().zip(shapes) {
        for (dim, size) in spec.dims.iter().zip(shape.unwrap_or_default()) {
            let Dim::Dynamic(Some(name)) = dim else { continue };
            let (first, whose) = *known.entry(name).or_insert((*size, &spec.name));
            if first != *size {
                let other = &spec.name;
                return Some(format!(
                    "dimension {name:?} is {first} in input {whose:?} and {size} in input {other:?}"
                ));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlos_smi::DType;

    fn spec(dims: &[&str]) -> TensorSpec {
        let dims = dims.iter().map(|dim| match dim.parse() {
            Ok(size) => Dim::Fixed(size),
            Err(_) => Dim::Dynamic(Some((*dim).to_owned()).filter(|name| !name.is_empty())),
        });
        TensorSpec {
            name: String::new(),
            dtype: DType::F32,
            dims: dims.collect(),
            optional: false,
        }
    }

    #[test]
    fn shapes_follow_from_declarations_or_are_unknown() {
        let inputs = [spec(&["batch", "seq"]), spec(&["batch", "12", "past", "64"])];
        let description = Description {
            inputs: inputs.to_vec(),
            ..Description::default()
        };
        let given: [&[i64]; 2] = [&[2, 7], &[2, 12, 5, 64]];
        let cases: [(&[&str], Option<&[i64]>); 7] = [
            (&["batch", "seq", "768"], Some(&[2, 7, 768])),
            (&["batch", "12", "past + seq", "64"], Some(&[2, 12, 12, 64])),
            (&["batch", "past + 1"], Some(&[2, 6])),
            (&[], Some(&[])),
            (&["batch", ""], None),
            (&["found", "3"], None),
            (&["past + other"], None),
        ];
        for (dims, expect) in cases {
            let told = OutputShape::of(&spec(dims), &description).tell(|index| given.get(index).copied());
            assert_eq!(told.as_deref(), expect, "{dims:?}");
        }
    }

    #[test]
    fn a_name_has_one_size_per_call() {
        let specs = [spec(&["m", "k"]), spec(&["k", "3"])];
        let cases: [(&[i64], &[i64], Option<&str>); 3] = [
            (&[1, 2], &[2, 3], None),
            (&[1, 2], &[4, 3], Some("\"k\" is 2")),
            (&[], &[4, 3], None),
        ];
        for (a, b, expect) in cases {
            let found = contradiction(&specs, &[Some(a), Some(b)]);
            assert_eq!(found.is_some(), expect.is_some());
            assert!(
                found.unwrap_or_default().contains(expect.unwrap_or_default()),
                "{a:?} {b:?}"
            );
        }
    }

    #[test]
    fn a_declaration_that_was_wrong_is_not_believed_again() {
        let shape = OutputShape::of(&spec(&["3"]), &Description::default());
        assert!(shape.tell(|_| None).is_some());
        shape.distrust();
        assert!(shape.tell(|_| None).is_none());
    }
}
