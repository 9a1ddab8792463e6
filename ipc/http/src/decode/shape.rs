//! Which shape an array in a body means.

use std::fmt;

use mlos_api::{Dim, TensorSpec};
use mlos_tensor_mem::Shape;

use crate::json::{Outline, Value};

/// A declared tensor as messages show it: `float32 [batch, 3, 224, 224]`, `?` for a size without a name.
pub(super) struct Declared<'a>(pub(super) &'a TensorSpec);

impl fmt::Display for Declared<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [", self.0.dtype)?;
        for (position, dim) in self.0.dims.iter().enumerate() {
            f.write_str(if position == 0 { "" } else { ", " })?;
            match dim {
                Dim::Fixed(size) => write!(f, "{size}")?,
                Dim::Dynamic(name) => f.write_str(name.as_deref().unwrap_or("?"))?,
            }
        }
        f.write_str("]")
    }
}

/// The shape of the tensor that `value` means for an input declared as `spec`, or why there is none.
///
/// Lists nested as deep as the input has dimensions say their shape themselves; nested one less, they are one row.
/// A flat list is shaped by the declaration: one size that is open follows from its length; of two, the first is the
/// batch, and 1.
pub(super) fn of(spec: &TensorSpec, value: &Value) -> Result<Shape, String> {
    let rank = spec.dims.len();
    let dims = match value {
        Value::Array(outline) => {
            let nested = outline.dims().ok_or("its lists differ in length")?;
            if nested.len() == rank && fits(&spec.dims, &nested) {
                nested
            } else if nested.len() + 1 == rank && nested.len() > 1 && is_one_row(spec, &nested) {
                [&[1], nested.as_slice()].concat()
            } else if nested.len() == 1 && rank != 1 {
                flat(spec, outline)?
            } else {
                return Err(format!(
                    "got the shape {}, expected {}",
                    Shown(&nested),
                    Declared(spec)
                ));
            }
        }
        _ => sized(spec, 1)?,
    };
    Shape::new(&dims).map_err(|error| error.to_string())
}

/// The shape of that many elements without structure, or why there is none.
pub(super) fn of_elements(spec: &TensorSpec, elements: usize) -> Result<Shape, String> {
    Shape::new(&sized(spec, elements)?).map_err(|error| error.to_string())
}

/// Whether sizes that a client names are those of the input.
pub(super) fn of_sizes(spec: &TensorSpec, sizes: &[usize]) -> Result<Shape, String> {
    if sizes.len() != spec.dims.len() || !fits(&spec.dims, sizes) {
        return Err(format!(
            "got the shape {}, expected {}",
            Shown(sizes),
            Declared(spec)
        ));
    }
    Shape::new(sizes).map_err(|error| error.to_string())
}

fn fits(declared: &[Dim], sizes: &[usize]) -> bool {
    declared.iter().zip(sizes).all(|(dim, size)| match dim {
        Dim::Fixed(fixed) => fixed == size,
        Dim::Dynamic(_) => true,
    })
}

fn is_one_row(spec: &TensorSpec, row: &[usize]) -> bool {
    matches!(spec.dims[0], Dim::Dynamic(_) | Dim::Fixed(1)) && fits(&spec.dims[1..], row)
}

fn flat(spec: &TensorSpec, outline: &Outline) -> Result<Vec<usize>, String> {
    sized(spec, outline.scalars())
}

/// The sizes for a number of elements without structure.
fn sized(spec: &TensorSpec, elements: usize) -> Result<Vec<usize>, String> {
    let expected = || format!("got {elements} {}, expected {}", plural(elements), Declared(spec));
    let mut dims: Vec<usize> = spec
        .dims
        .iter()
        .map(|dim| if let Dim::Fixed(size) = dim { *size } else { 1 })
        .collect();
    let open: Vec<usize> = (0..dims.len())
        .filter(|axis| matches!(spec.dims[*axis], Dim::Dynamic(_)))
        .collect();
    let fixed = dims
        .iter()
        .try_fold(1_usize, |product, size| product.checked_mul(*size))
        .ok_or_else(expected)?;
    let axis = match open.as_slice() {
        [] if fixed == elements => return Ok(dims),
        [axis] | [0, axis] => *axis,
        [] => return Err(expected()),
        _ => {
            return Err(format!(
                "{}; several sizes are open, so send nested lists",
                expected()
            ));
        }
    };
    if fixed == 0 || !elements.is_multiple_of(fixed) {
        return Err(format!(
            "{}: the number must be a multiple of {fixed}",
            expected()
        ));
    }
    dims[axis] = elements / fixed;
    Ok(dims)
}

const fn plural(elements: usize) -> &'static str {
    if elements == 1 { "element" } else { "elements" }
}

struct Shown<'a>(&'a [usize]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0).finish()
    }
}
