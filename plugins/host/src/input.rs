//! Inputs: checked against the model, cut to a part's rows, laid out for the ABI.

use crate::describe::TensorSpec;
use crate::error::Error;
use crate::model::Model;
use crate::shared::stays_in_place;
use mlos_smi::{Dim, abi};
use mlos_tensor_mem::{DType, Pool, Tensor};
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

/// The inputs of one part as the plugin sees them. Kept from call to call for its buffers.
#[derive(Default)]
pub(crate) struct Views {
    /// What the plugin is given in place of the work's inputs, if that differs: views of rows, private copies.
    own: SmallVec<[Option<Tensor>; 4]>,
    shapes: SmallVec<[i64; 16]>,
    tensors: SmallVec<[abi::Tensor; 4]>,
}

impl Views {
    /// Cuts `inputs` to these rows, if any are named, and copies what may not be used where it lies.
    pub(crate) fn cut(
        &mut self,
        model: &Model,
        inputs: &[Option<Tensor>],
        rows: Option<&Range<usize>>,
        pool: &Pool,
    ) -> Result<(), Error> {
        self.clear();
        if rows.is_none() && !inputs.iter().flatten().any(must_be_copied) {
            return Ok(());
        }
        for (input, spec) in inputs.iter().zip(&model.info().inputs) {
            let own = input.as_ref().map(|input| own(input, spec, rows, pool));
            self.own.push(own.transpose()?);
        }
        Ok(())
    }

    /// Writes the ABI's tensors. They point into `self`, which must not move from here on.
    pub(crate) fn lay_out(&mut self, inputs: &[Option<Tensor>], names: &[CString]) {
        let inputs = if self.own.is_empty() { inputs } else { &self.own };
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

    /// Lets go of the inputs, and keeps the room.
    pub(crate) fn clear(&mut self) {
        self.own.clear();
        self.shapes.clear();
        self.tensors.clear();
    }
}

fn must_be_copied(input: &Tensor) -> bool {
    input.is_shared() && !stays_in_place(input.dtype())
}

/// One input as the plugin gets it.
fn own(input: &Tensor, spec: &TensorSpec, rows: Option<&Range<usize>>, pool: &Pool) -> Result<Tensor, Error> {
    // Text has no rows to cut.
    let cut = rows.map(|rows| input.rows(rows.clone())).transpose()?;
    let input = cut.as_ref().unwrap_or(input);
    if !must_be_copied(input) {
        return Ok(input.clone());
    }
    let copy = input.to_private(pool)?;
    // What an edge has checked in a request that it decoded itself.
    let checked = match copy.dtype() {
        DType::String => copy.strings().map(drop),
        DType::Bool => copy.as_slice::<bool>().map(drop),
        _ => Ok(()),
    };
    checked.map_err(|e| Error::Input {
        name: spec.name.clone(),
        problem: e.to_string(),
    })?;
    Ok(copy)
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
        owner: if input.is_shared() {
            abi::OWNER_SHARED
        } else {
            abi::OWNER_HOST
        },
        dtype: input.dtype() as i32,
        rank: input.shape().rank() as u32,
        shape,
        data: input.as_ptr().cast(),
        size_bytes: input.byte_len() as u64,
        ..absent
    })
}
