//! The names of dimensions as a model file declares them for its outputs.
//!
//! ONNX Runtime forgets them where its optimiser infers "some size" anew, and without them an output's place could not
//! be made before the run.

use std::collections::HashMap;

use mlos_smi::{Dim, TensorSpec};

use crate::schema::{dimension, shape, tensor_type, type_proto, value_info};
use crate::wire::{Fields, WireError};

/// Names by output, one for each dimension; empty where a dimension has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Declared(HashMap<String, Vec<String>>);

impl Declared {
    /// Adds an output's `ValueInfoProto`.
    pub fn add(&mut self, message: &[u8]) -> Result<(), WireError> {
        let (mut name, mut dims) = ("", Vec::new());
        for field in Fields::of(message) {
            let field = field?;
            match field.number {
                value_info::NAME => name = field.text()?,
                value_info::TYPE => dims = names(field.bytes()?)?,
                _ => {}
            }
        }
        self.0.insert(name.to_owned(), dims);
        Ok(())
    }

    /// Gives an output the names that it lost.
    pub fn restore(&self, spec: &mut TensorSpec) {
        let Some(names) = self
            .0
            .get(&spec.name)
            .filter(|names| names.len() == spec.dims.len())
        else {
            return;
        };
        for (dim, name) in spec.dims.iter_mut().zip(names) {
            if *dim == Dim::Dynamic(None) && !name.is_empty() {
                *dim = Dim::Dynamic(Some(name.clone()));
            }
        }
    }
}

/// Names of the dimensions in a `TypeProto`; none if it is not a tensor's.
fn names(message: &[u8]) -> Result<Vec<String>, WireError> {
    let mut names = Vec::new();
    for dim in children(message, &[type_proto::TENSOR, tensor_type::SHAPE, shape::DIM])? {
        names.push(crate::graph::text_of(dim, dimension::NAME)?.to_owned());
    }
    Ok(names)
}

/// The messages at the end of a path of field numbers.
fn children<'a>(message: &'a [u8], path: &[u32]) -> Result<Vec<&'a [u8]>, WireError> {
    let mut messages = vec![message];
    for number in path {
        let mut next = Vec::new();
        for message in messages {
            for field in Fields::of(message) {
                let field = field?;
                if field.number == *number {
                    next.push(field.bytes()?);
                }
            }
        }
        messages = next;
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{put_bytes, put_number};
    use mlos_smi::DType;

    #[test]
    fn lost_names_come_back_and_nothing_else_changes() {
        let mut dims = Vec::new();
        for dim in [Some("batch"), None, Some("seq")] {
            let mut message = Vec::new();
            match dim {
                Some(name) => put_bytes(&mut message, dimension::NAME, name.as_bytes()),
                None => put_number(&mut message, 1, 12),
            }
            put_bytes(&mut dims, shape::DIM, &message);
        }
        let nested = [tensor_type::SHAPE, type_proto::TENSOR, value_info::TYPE]
            .into_iter()
            .fold(dims, |inner, number| {
                let mut outer = Vec::new();
                put_bytes(&mut outer, number, &inner);
                outer
            });
        let mut message = nested;
        put_bytes(&mut message, value_info::NAME, b"y");
        let mut declared = Declared::default();
        declared.add(&message).unwrap();
        let named = |name: &str| Dim::Dynamic(Some(name.to_owned()));
        let cases = [
            (
                vec![Dim::Dynamic(None); 3],
                vec![named("batch"), Dim::Dynamic(None), named("seq")],
            ),
            (
                vec![named("n"), Dim::Fixed(12), Dim::Fixed(5)],
                vec![named("n"), Dim::Fixed(12), Dim::Fixed(5)],
            ),
            (vec![Dim::Dynamic(None)], vec![Dim::Dynamic(None)]),
        ];
        for (dims, expect) in cases {
            let mut spec = TensorSpec {
                name: "y".to_owned(),
                dtype: DType::F32,
                dims,
                optional: false,
            };
            declared.restore(&mut spec);
            assert_eq!(spec.dims, expect);
        }
    }
}
