//! Inputs: checked against the model, cut to a part's rows, laid out for the ABI.

use crate::describe::TensorSpec;
use crate::error::Error;
use mlos_smi::{Dim, abi};
use mlos_tensor_mem::Tensor;
use smallvec::SmallVec;
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

/// The inputs of one part as the plugin sees them. Not to be moved once `lay_out` was called.
#[derive(Default)]
pub(crate) struct Views {
    /// Row views; empty when the whole is run. They keep the memory.
    rows: SmallVec<[Option<Tensor>; 4]>,
    shapes: SmallVec<[i64; 16]>,
    tensors: SmallVec<[abi::Tensor; 4]>,
}

impl Views {
    /// Lays out `inputs`, or these rows of them, named as in `names`.
    pub(crate) fn lay_out(
        &mut self,
        inputs: &[Option<Tensor>],
        rows: Option<&Range<usize>>,
        names: &[std::ffi::CString],
    ) -> Result<(), Error> {
        if let Some(rows) = rows {
            for input in inputs {
                self.rows
                    .push(input.as_ref().map(|input| input.rows(rows.clone())).transpose()?);
            }
        }
        let inputs = if rows.is_some() { &self.rows[..] } else { inputs };
        for input in inputs.iter().flatten() {
            self.shapes
                .extend(input.shape().dims().iter().map(|&size| size as i64));
        }
        let mut shape = self.shapes.as_ptr();
        for (input, name) in inputs.iter().zip(names) {
            self.tensors.push(raw(input.as_ref(), shape, name.as_ptr()));
            shape = shape.wrapping_add(input.as_ref().map_or(0, |input| input.shape().rank()));
        }
        Ok(())
    }

    pub(crate) fn tensors(&self) -> &[abi::Tensor] {
        &self.tensors
    }
}

fn raw(input: Option<&Tensor>, shape: *const i64, name: *const std::ffi::c_char) -> abi::Tensor {
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
