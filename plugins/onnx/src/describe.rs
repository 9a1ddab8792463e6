//! What a session takes and gives, in the interface's terms.

use std::path::Path;

use mlos_smi::{Description, Dim, Resources, TensorSpec};
use ort::session::Session;
use ort::value::{Outlet, ValueType};

use crate::dtype;
use crate::error::{Error, Result};
use crate::source::Source;

/// The signature of a session of a model, with the names of dimensions that the model declares.
pub(crate) fn describe(session: &Session, source: &Source) -> Result<Description> {
    let path = &source.path;
    let specs = |outlets: &[Outlet]| {
        outlets
            .iter()
            .map(|outlet| spec(outlet, path))
            .collect::<Result<Vec<_>>>()
    };
    let mut outputs = specs(session.outputs())?;
    outputs.iter_mut().for_each(|spec| source.declared.restore(spec));
    Ok(Description {
        inputs: specs(session.inputs())?,
        outputs,
        resources: Resources::default(),
    })
}

fn spec(outlet: &Outlet, path: &Path) -> Result<TensorSpec> {
    let (tensor, optional) = match outlet.dtype() {
        ValueType::Optional(inner) => (&**inner, true),
        other => (other, false),
    };
    let ValueType::Tensor {
        ty,
        shape,
        dimension_symbols,
    } = tensor
    else {
        return Err(Error::bad_model(
            path,
            format!(
                "{:?} is not a tensor but {}: only tensors are served",
                outlet.name(),
                tensor
            ),
        ));
    };
    let Some(dtype) = dtype::from_onnx(*ty) else {
        return Err(Error::bad_model(
            path,
            format!(
                "{:?} has elements of the type {ty}, which are not served",
                outlet.name()
            ),
        ));
    };
    let dims =
        shape
            .iter()
            .zip(dimension_symbols.iter())
            .map(|(size, symbol)| match usize::try_from(*size) {
                Ok(size) => Dim::Fixed(size),
                Err(_) => Dim::Dynamic(Some(symbol.clone()).filter(|symbol| !symbol.is_empty())),
            });
    Ok(TensorSpec {
        name: outlet.name().to_owned(),
        dtype,
        dims: dims.collect(),
        optional,
    })
}

/// Whether dimension 0 of all tensors looks like a batch: dynamic everywhere, of one name where it has one, and
/// that name not of a sequence. Sure only together with a run at two sizes.
pub(crate) fn looks_like_rows(description: &Description) -> bool {
    let mut names: Vec<&str> = Vec::new();
    for spec in description.inputs.iter().chain(&description.outputs) {
        match spec.dims.first() {
            Some(Dim::Dynamic(None)) => {}
            Some(Dim::Dynamic(Some(name))) => names.push(name),
            _ => return false,
        }
    }
    names.sort_unstable();
    names.dedup();
    let sequence = ["seq", "len", "time", "token"];
    let is_sequence = |name: &str| {
        sequence
            .iter()
            .any(|word| name.to_ascii_lowercase().contains(word))
    };
    !description.inputs.is_empty() && names.len() <= 1 && !names.iter().any(|name| is_sequence(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlos_smi::DType;

    type Shapes<'a> = &'a [&'a [Option<&'a str>]];

    fn description(inputs: Shapes<'_>, outputs: Shapes<'_>) -> Description {
        let spec = |dims: &&[Option<&str>]| TensorSpec {
            name: String::new(),
            dtype: DType::F32,
            dims: dims
                .iter()
                .map(|dim| match dim {
                    Some("3") => Dim::Fixed(3),
                    name => Dim::Dynamic(name.map(str::to_owned)),
                })
                .collect(),
            optional: false,
        };
        let specs = |all: &[&[Option<&str>]]| all.iter().map(spec).collect();
        Description {
            inputs: specs(inputs),
            outputs: specs(outputs),
            resources: Resources::default(),
        }
    }

    #[test]
    fn rows_are_a_dynamic_first_dimension_of_one_name() {
        let (n, m, seq, three, unnamed) = (Some("N"), Some("M"), Some("seq_len"), Some("3"), None);
        let cases: [(Shapes<'_>, Shapes<'_>, bool); 7] = [
            (&[&[n, three]], &[&[n]], true),
            (&[&[unnamed, three]], &[&[n]], true),
            (&[&[n, three]], &[&[m]], false),
            (&[&[n], &[three]], &[&[n]], false),
            (&[&[n]], &[&[]], false),
            (&[&[seq, n]], &[&[seq, n]], false),
            (&[], &[&[n]], false),
        ];
        for (inputs, outputs, expect) in cases {
            assert_eq!(
                looks_like_rows(&description(inputs, outputs)),
                expect,
                "{inputs:?} {outputs:?}"
            );
        }
    }
}
