//! Inputs: checked against the model, cut to a part's rows, laid out for the ABI.

use crate::describe::TensorSpec;
use crate::error::Error;
use mlos_smi::{Dim, abi};
use mlos_tensor_mem::Tensor;
use smallvec::SmallVec;
use std::ffi::{CString, c_char};
use std::ops::Range;
use std::ptr;

/// Checks one input against its specification.
pub(crate) fn check(spec: &TensorSpec, input: Option<&Tensor>) -> Result<(), Error> {
    let refuse = |problem| {
        Err(Error::Input {
            name: spec.name.clone(),
            problem,
        })
    };
    let Some(input) = input else {
        return if spec.optional {
            Ok(())
        } else {
            refuse("is missing".into())
        };
    };
    if input.dtype() != spec.dtype {
        return refuse(format!(
            "has type {}, the model takes {}",
            input.dtype(),
            spec.dtype
        ));
    }
    let dims = input.shape().dims();
    // No declared dimensions: a scalar, or a model that does not say; the plugin knows which.
    let fits = spec.dims.is_empty()
        || dims.len() == spec.dims.len() && dims.iter().zip(&spec.dims).all(|(&size, dim)| fits(size, dim));
    if !fits {
        return refuse(format!(
            "has shape {}, the model takes {}",
            input.shape(),
            expected(&spec.dims)
        ));
    }
    Ok(())
}

/// Whether a size agrees with what the model declares.
fn fits(size: usize, dim: &Dim) -> bool {
    match dim {
        Dim::Fixed(fixed) => size == *fixed,
        Dim::Dynamic(_) => true,
    }
}

/// Declared dimensions as people write them: `[batch, 3, 224, ?]`.
fn expected(dims: &[Dim]) -> String {
    let names: Vec<String> = dims
        .iter()
        .map(|dim| match dim {
            Dim::Fixed(size) => size.to_string(),
            Dim::Dynamic(name) => name.clone().unwrap_or_else(|| "?".into()),
        })
        .collect();
    format!("[{}]", names.join(", "))
}

/// The number of rows that all inputs share.
pub(crate) fn common_rows(specs: &[TensorSpec], inputs: &[Option<Tensor>]) -> Result<usize, Error> {
    let mut rows: Option<(usize, &str)> = None;
    for (spec, input) in specs.iter().zip(inputs) {
        let Some(&own) = input.as_ref().and_then(|input| input.shape().dims().first()) else {
            continue;
        };
        match rows {
            None => rows = Some((own, &spec.name)),
            Some((first, _)) if first == own => {}
            Some((first, name)) => {
                let problem = format!("has {own} rows, input `{name}` has {first}");
                return Err(Error::Input {
                    name: spec.name.clone(),
                    problem,
                });
            }
        }
    }
    rows.map(|(rows, _)| rows).ok_or_else(|| Error::Request {
        problem: "no input is given".into(),
    })
}

/// The inputs of one part as the plugin sees them.
pub(crate) struct Views {
    /// Row views, which keep the memory; `None` when the whole is run.
    rows: Option<SmallVec<[Option<Tensor>; 4]>>,
    shapes: SmallVec<[i64; 16]>,
    tensors: SmallVec<[abi::Tensor; 4]>,
}

impl Views {
    /// Cuts `inputs` to these rows, or to none.
    pub(crate) fn cut(inputs: &[Option<Tensor>], rows: Option<&Range<usize>>) -> Result<Self, Error> {
        let rows = rows.map(|rows| {
            let cut =
                |input: &Option<Tensor>| input.as_ref().map(|input| input.rows(rows.clone())).transpose();
            inputs.iter().map(cut).collect::<Result<_, _>>()
        });
        Ok(Self {
            rows: rows.transpose()?,
            shapes: SmallVec::new(),
            tensors: SmallVec::new(),
        })
    }

    /// Writes the ABI's tensors. They point into `self`, which must not move from here on.
    pub(crate) fn lay_out(&mut self, inputs: &[Option<Tensor>], names: &[CString]) {
        let inputs = self.rows.as_deref().unwrap_or(inputs);
        for input in inputs.iter().flatten() {
            self.shapes
                .extend(input.shape().dims().iter().map(|&size| size as i64));
        }
        let mut shape = self.shapes.as_ptr();
        for (input, name) in inputs.iter().zip(names) {
            self.tensors.push(raw(input.as_ref(), shape, name.as_ptr()));
            shape = shape.wrapping_add(input.as_ref().map_or(0, |input| input.shape().rank()));
        }
    }

    pub(crate) fn tensors(&self) -> &[abi::Tensor] {
        &self.tensors
    }
}

fn raw(input: Option<&Tensor>, shape: *const i64, name: *const c_char) -> abi::Tensor {
    let absent = abi::Tensor {
        name,
        dtype: abi::ABSENT,
        rank: 0,
        shape: ptr::null(),
        strides: ptr::null(),
        data: ptr::null(),
        size_bytes: 0,
        owner: abi::OWNER_HOST,
        reserved: 0,
    };
    input.map_or(absent, |input| abi::Tensor {
        dtype: input.dtype() as i32,
        rank: input.shape().rank() as u32,
        shape,
        data: input.as_ptr().cast(),
        size_bytes: input.byte_len() as u64,
        ..absent
    })
}
