//! One tensor as the whole body: its elements as they lie in memory, little-endian, row by row.

use http::HeaderMap;
use mlos_api::limits::BREATHE_BYTES;
use mlos_api::{Error, Inputs, ModelDetail, NamedTensor, TensorSpec};
use mlos_tensor_mem::{DType, Pool, Shape};

use super::{invalid, shape, spelling, tensor};

/// Names the input. A model of one input needs none.
const INPUT_HEADER: &str = "x-mlos-input";
/// Its sizes, as `32,3,224,224`. Not needed where the length of the body leaves no choice.
const SHAPE_HEADER: &str = "x-mlos-shape";

/// What the headers say about the body.
#[derive(Debug, Default)]
pub(super) struct Label {
    input: Option<String>,
    sizes: Option<Vec<usize>>,
}

impl Label {
    pub(super) fn from_headers(headers: &HeaderMap) -> Result<Self, Error> {
        let text = |header: &str| {
            headers
                .get(header)
                .map(|value| value.to_str().unwrap_or_default())
        };
        let sizes = text(SHAPE_HEADER).map(|sizes| {
            let parsed: Result<Vec<usize>, _> = sizes.split(',').map(|size| size.trim().parse()).collect();
            parsed.map_err(|_| {
                Error::InvalidArgument(format!("header {SHAPE_HEADER}: expected sizes as 32,3,224,224"))
            })
        });
        Ok(Self {
            input: text(INPUT_HEADER).map(str::to_owned),
            sizes: sizes.transpose()?,
        })
    }
}

/// The body as a tensor of the input that its label names.
pub(super) async fn body(
    detail: &ModelDetail,
    component: Option<&str>,
    label: &Label,
    body: &[u8],
    pool: &Pool,
    breathe: &impl AsyncFn(),
) -> Result<Inputs, Error> {
    let signature = detail.signature(component)?;
    let spec = match (&label.input, signature.inputs.as_slice()) {
        (None, [only]) => only,
        (None, _) => {
            let inputs: Vec<&str> = signature.inputs.iter().map(|spec| spec.name.as_str()).collect();
            let names = inputs.join(", ");
            return Err(Error::InvalidArgument(format!(
                "header {INPUT_HEADER} must name one of: {names}"
            )));
        }
        (Some(name), inputs) => inputs
            .iter()
            .find(|spec| spec.name == *name)
            .ok_or_else(|| spelling::unknown_input(detail, signature, name))?,
    };
    let shape = shape_of(spec, label, body.len())?;
    let loan = pool
        .loan(spec.dtype, shape)
        .map_err(|error| tensor::no_memory(spec, error))?;
    let mut writer = loan.byte_writer();
    for piece in body.chunks(BREATHE_BYTES) {
        writer
            .extend_from_slice(piece)
            .map_err(|error| invalid(spec, error.to_string()))?;
        breathe().await;
    }
    let written = writer
        .finish()
        .map_err(|error| invalid(spec, error.to_string()))?;
    Ok(Inputs::Tensors(vec![NamedTensor {
        name: spec.name.clone(),
        tensor: written.freeze(),
    }]))
}

fn shape_of(spec: &TensorSpec, label: &Label, bytes: usize) -> Result<Shape, Error> {
    let Some(size) = spec.dtype.size_bytes() else {
        return Err(Error::Unsupported(format!(
            "input '{}' is {}; send it as JSON",
            spec.name,
            DType::String
        )));
    };
    if !bytes.is_multiple_of(size) {
        return Err(invalid(
            spec,
            format!("got {bytes} bytes, no multiple of the {size} of a {}", spec.dtype),
        ));
    }
    let shape = match &label.sizes {
        Some(sizes) => shape::of_sizes(spec, sizes),
        None => shape::of_elements(spec, bytes / size),
    };
    let shape = shape.map_err(|reason| invalid(spec, reason))?;
    match shape.byte_len(spec.dtype) {
        Ok(expected) if expected == bytes => Ok(shape),
        Ok(expected) => Err(invalid(
            spec,
            format!("got {bytes} bytes; {} {shape} has {expected}", spec.dtype),
        )),
        Err(error) => Err(invalid(spec, error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use mlos_api::{Class, Dim, LifecycleState, ModelRef, Preprocessing, Signature};
    use mlos_tensor_mem::PoolConfig;

    use super::*;
    use crate::breath::ready;

    fn spec(name: &str, dtype: DType) -> TensorSpec {
        let dims = vec![Dim::Dynamic(Some(String::from("N"))), Dim::Fixed(2)];
        TensorSpec {
            name: name.to_owned(),
            dtype,
            dims,
        }
    }

    fn model(inputs: Vec<TensorSpec>) -> ModelDetail {
        ModelDetail {
            model: ModelRef::parse("test/raw@1").unwrap(),
            state: LifecycleState::Ready,
            failure: None,
            active: true,
            format: String::from("onnx"),
            framework: String::new(),
            description: String::new(),
            plugin: String::from("onnx"),
            path: PathBuf::new(),
            signatures: vec![Signature {
                inputs,
                rows_independent: true,
                ..Signature::default()
            }],
            preprocessing: Preprocessing::None,
            class_default: Class::Normal,
            resident_bytes: 0,
            load_ms: 0,
            versions: vec![String::from("1")],
        }
    }

    /// The name and shape of the tensor, or the message.
    fn read(model: &ModelDetail, headers: &[(&'static str, &str)], bytes: &[u8]) -> String {
        let headers = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
        let pool = Pool::new(PoolConfig::default()).unwrap();
        let read = Label::from_headers(&headers.collect())
            .and_then(|label| ready(body(model, None, &label, bytes, &pool, &async || ())));
        match read {
            Ok(Inputs::Tensors(tensors)) => {
                assert_eq!(
                    tensors[0].tensor.bytes().unwrap(),
                    bytes,
                    "the bytes are taken as they are"
                );
                format!("{} {}", tensors[0].name, tensors[0].tensor.shape())
            }
            Ok(_) => String::from("no tensor"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_tensor_is_taken_as_it_lies_or_refused_with_a_reason() {
        let one = model(vec![spec("x", DType::F32)]);
        let two = model(vec![spec("a", DType::I64), spec("b", DType::I64)]);
        let text = model(vec![spec("t", DType::String)]);
        let large = vec![7_u8; 2 * BREATHE_BYTES + 16];
        for (model, headers, bytes, expected) in [
            (&one, &[][..], &[1; 24][..], "x [3, 2]"),
            (&one, &[(SHAPE_HEADER, "3, 2")], &[1; 24], "x [3, 2]"),
            (&one, &[], &large, "x [16386, 2]"),
            (&two, &[(INPUT_HEADER, "b")], &[0; 16], "b [1, 2]"),
            (&two, &[], &[0; 16], "must name one of: a, b"),
            (&two, &[(INPUT_HEADER, "c")], &[0; 16], "c"),
            (&one, &[], &[0; 23], "no multiple of the 4"),
            (&one, &[], &[0; 12], "multiple of 2"),
            (
                &one,
                &[(SHAPE_HEADER, "2,2")],
                &[0; 24],
                "got 24 bytes; float32 [2, 2] has 16",
            ),
            (
                &one,
                &[(SHAPE_HEADER, "3,3")],
                &[0; 36],
                "expected float32 [N, 2]",
            ),
            (
                &one,
                &[(SHAPE_HEADER, "18446744073709551615,2")],
                &[0; 8],
                "too large",
            ),
            (&one, &[(SHAPE_HEADER, "many")], &[0; 8], "expected sizes as"),
            (&text, &[], &[0; 8], "send it as JSON"),
        ] {
            let got = read(model, headers, bytes);
            assert!(
                got.contains(expected),
                "{headers:?}, {} bytes: got '{got}', expected '{expected}'",
                bytes.len()
            );
        }
    }
}
