//! What can be learned from an ONNX graph without running it: inputs, outputs, and files beside it.
//!
//! Field numbers are those of `onnx.proto`, which only ever adds.

use super::wire::{Field, Span, Value, Wire, WireError};
use crate::{
    Error, Result,
    error::At,
    limits::EXTERNAL_FILES_MAX,
    manifest::{Dtype, Io, Port},
    path,
};
use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File},
    io::{Read, Seek},
    path::Path,
};

/// A file that a graph refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalFile {
    /// Its path, relative to the graph's directory.
    pub location: String,
    /// How long it must at least be, bytes: the end of the furthest tensor.
    pub needed_bytes: u64,
    /// How long it is; none when it is not there.
    pub actual_bytes: Option<u64>,
}

impl ExternalFile {
    /// Whether it is there and long enough.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.actual_bytes
            .is_some_and(|actual| actual >= self.needed_bytes)
    }
}

/// The external-data files that the ONNX graph at `path` names, sorted by location; empty when it has none.
///
/// # Errors
/// [`Error::NotAModel`] when the graph is damaged, or names a file outside its directory.
pub fn external_files(path: &Path) -> Result<Vec<ExternalFile>> {
    let graph = read(path)?;
    let dir = path.parent().unwrap_or(Path::new("."));
    let look = |(location, needed_bytes): (String, u64)| {
        let actual_bytes = fs::metadata(dir.join(&location))
            .ok()
            .filter(fs::Metadata::is_file)
            .map(|meta| meta.len());
        ExternalFile {
            location,
            needed_bytes,
            actual_bytes,
        }
    };
    Ok(graph.external.into_iter().map(look).collect())
}

/// Inputs and outputs of the ONNX graph at `path`, as a manifest lists them. Symbolic dimensions become -1; inputs
/// that are weights (as old exporters list them) are left out, and so are those that are no tensors.
///
/// # Errors
/// [`Error::NotAModel`] when the graph is damaged.
pub fn graph_io(path: &Path) -> Result<Io> {
    let graph = read(path)?;
    let inputs = graph
        .inputs
        .into_iter()
        .filter(|port| !graph.initializers.contains(&port.name))
        .collect();
    Ok(Io {
        inputs,
        outputs: graph.outputs,
    })
}

fn read(path: &Path) -> Result<Graph> {
    let file = File::open(path).at(path)?;
    let size_bytes = file.metadata().at(path)?.len();
    read_from(file, size_bytes, path)
}

/// The same over any seekable source.
pub(crate) fn read_from<R: Read + Seek>(reader: R, size_bytes: u64, path: &Path) -> Result<Graph> {
    let (mut wire, model) = Wire::new(reader, size_bytes).at(path)?;
    let mut graph = Graph::default();
    match graph.message(&mut wire, model, Kind::Model, 0) {
        Ok(()) => Ok(graph),
        Err(e) => {
            let reason = format!("its ONNX graph is damaged: {}", e.into_reason().at(path)?);
            Err(Error::NotAModel {
                path: path.display().to_string(),
                reason,
            })
        }
    }
}

/// What was collected.
#[derive(Default)]
pub(crate) struct Graph {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    initializers: HashSet<String>,
    external: BTreeMap<String, u64>,
}

/// The messages that can hold tensors or name ports.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Function,
    Training,
    Sparse,
    Tensor,
}

/// Which message a field of another one is.
fn child(kind: Kind, field: u64) -> Option<Kind> {
    Some(match (kind, field) {
        (Kind::Model, 7) | (Kind::Training, 1 | 2) | (Kind::Attribute, 6 | 11) => Kind::Graph,
        (Kind::Model, 20) => Kind::Training,
        (Kind::Model, 25) => Kind::Function,
        (Kind::Graph, 1) | (Kind::Function, 7) => Kind::Node,
        (Kind::Node, 5) | (Kind::Function, 11) => Kind::Attribute,
        (Kind::Graph, 15) | (Kind::Attribute, 22 | 23) => Kind::Sparse,
        (Kind::Graph, 5) | (Kind::Attribute, 5 | 10) | (Kind::Sparse, 1 | 2) => Kind::Tensor,
        _ => return None,
    })
}

type Walked = std::result::Result<(), WireError>;

fn malformed(what: impl Into<String>) -> WireError {
    WireError::Malformed(what.into())
}

impl Graph {
    fn message<R: Read + Seek>(
        &mut self,
        wire: &mut Wire<R>,
        span: Span,
        kind: Kind,
        graphs: usize,
    ) -> Walked {
        let graphs = graphs + usize::from(kind == Kind::Graph);
        wire.each(span, |wire, field| {
            let Value::Bytes(inner) = field.value else {
                return Ok(());
            };
            match child(kind, field.number) {
                Some(Kind::Tensor) => self.tensor(wire, inner, kind == Kind::Graph && graphs == 1),
                Some(kind) => self.message(wire, inner, kind, graphs),
                // Ports of the outermost graph only: those of a loop's body are its own affair.
                None if kind == Kind::Graph && graphs == 1 => self.port(wire, field, inner),
                None => Ok(()),
            }
        })
    }

    fn port<R: Read + Seek>(&mut self, wire: &mut Wire<R>, field: Field, span: Span) -> Walked {
        let ports = match field.number {
            11 => &mut self.inputs,
            12 => &mut self.outputs,
            _ => return Ok(()),
        };
        ports.extend(port(wire, span)?);
        Ok(())
    }

    fn tensor<R: Read + Seek>(&mut self, wire: &mut Wire<R>, span: Span, is_initializer: bool) -> Walked {
        let mut tensor = Tensor {
            elements: 1,
            ..Tensor::default()
        };
        wire.each(span, |wire, field| tensor.field(wire, field))?;
        if tensor.is_external {
            self.refer(&tensor)?;
        }
        if is_initializer {
            self.initializers.insert(tensor.name);
        }
        Ok(())
    }

    fn refer(&mut self, tensor: &Tensor) -> Walked {
        let entry = |key: &str| {
            tensor
                .external
                .iter()
                .find(|(it, _)| it == key)
                .map(|(_, value)| value.as_str())
        };
        let number = |key: &str| match entry(key).map(str::parse) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => Err(malformed(format!(
                "the {key} of external tensor `{}` is no number",
                tensor.name
            ))),
        };
        let location = entry("location")
            .ok_or_else(|| malformed(format!("external tensor `{}` has no location", tensor.name)))?;
        let location = location.strip_prefix("./").unwrap_or(location);
        path::check(location)
            .map_err(|what| malformed(format!("the location `{location}` of its weights {what}")))?;
        let (offset, length): (u64, u64) = (
            number("offset")?.unwrap_or(0),
            number("length")?.unwrap_or_else(|| tensor.len_bytes()),
        );
        let needed = self.external.entry(location.to_owned()).or_default();
        *needed = (*needed).max(offset.saturating_add(length));
        if self.external.len() > EXTERNAL_FILES_MAX {
            return Err(malformed(format!(
                "it names more than {EXTERNAL_FILES_MAX} files"
            )));
        }
        Ok(())
    }
}

/// What counts of a `TensorProto`.
#[derive(Default)]
struct Tensor {
    name: String,
    elements: u64,
    data_type: u64,
    is_external: bool,
    external: Vec<(String, String)>,
}

impl Tensor {
    fn field<R: Read + Seek>(&mut self, wire: &mut Wire<R>, field: Field) -> Walked {
        match (field.number, field.value) {
            (1, value) => wire.varints(value, |dim| self.elements = self.elements.saturating_mul(dim))?,
            (2, Value::Varint(data_type)) => self.data_type = data_type,
            (8, Value::Bytes(span)) => self.name = wire.text(span)?,
            // location, offset, length, checksum: more entries mean nothing.
            (13, Value::Bytes(span)) if self.external.len() < 16 => {
                self.external.push(key_value(wire, span)?)
            }
            (14, Value::Varint(location)) => self.is_external = location == 1,
            _ => {}
        }
        Ok(())
    }

    fn len_bytes(&self) -> u64 {
        self.elements
            .saturating_mul(element_bits(self.data_type))
            .div_ceil(8)
    }
}

fn key_value<R: Read + Seek>(
    wire: &mut Wire<R>,
    span: Span,
) -> std::result::Result<(String, String), WireError> {
    let (mut key, mut value) = (String::new(), String::new());
    wire.each(span, |wire, field| {
        match (field.number, field.value) {
            (1, Value::Bytes(span)) => key = wire.text(span)?,
            (2, Value::Bytes(span)) => value = wire.text(span)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((key, value))
}

/// A `ValueInfoProto`, if it is a tensor of an element type that requests can carry.
fn port<R: Read + Seek>(wire: &mut Wire<R>, span: Span) -> std::result::Result<Option<Port>, WireError> {
    let (mut name, mut data_type, mut shape) = (String::new(), None, Vec::new());
    wire.each(span, |wire, field| match (field.number, field.value) {
        (1, Value::Bytes(span)) => {
            name = wire.text(span)?;
            Ok(())
        }
        // TypeProto, its tensor_type, and of that elem_type and shape.
        (2, Value::Bytes(span)) => wire.each(span, |wire, field| match (field.number, field.value) {
            (1, Value::Bytes(span)) => wire.each(span, |wire, field| match (field.number, field.value) {
                (1, Value::Varint(it)) => {
                    data_type = Some(it);
                    Ok(())
                }
                (2, Value::Bytes(span)) => dims(wire, span, &mut shape),
                _ => Ok(()),
            }),
            _ => Ok(()),
        }),
        _ => Ok(()),
    })?;
    let dtype = data_type.and_then(dtype);
    Ok(dtype.map(|dtype| Port {
        name,
        dtype,
        shape,
        description: String::new(),
        preprocessing: None,
        extra: crate::manifest::Values::new(),
    }))
}

fn dims<R: Read + Seek>(wire: &mut Wire<R>, span: Span, shape: &mut Vec<i64>) -> Walked {
    wire.each(span, |wire, field| {
        let (1, Value::Bytes(span)) = (field.number, field.value) else {
            return Ok(());
        };
        let mut dim = -1;
        wire.each(span, |_, field| {
            if let (1, Value::Varint(value)) = (field.number, field.value) {
                dim = i64::try_from(value).unwrap_or(-1);
            }
            Ok(())
        })?;
        if shape.len() == crate::limits::RANK_MAX {
            return Err(malformed("a port has too many dimensions"));
        }
        shape.push(dim);
        Ok(())
    })
}

/// `TensorProto.DataType` as the manifest's word.
fn dtype(data_type: u64) -> Option<Dtype> {
    Some(match data_type {
        1 => Dtype::F32,
        2 => Dtype::U8,
        3 => Dtype::I8,
        4 => Dtype::U16,
        5 => Dtype::I16,
        6 => Dtype::I32,
        7 => Dtype::I64,
        8 => Dtype::String,
        9 => Dtype::Bool,
        10 => Dtype::F16,
        11 => Dtype::F64,
        12 => Dtype::U32,
        13 => Dtype::U64,
        16 => Dtype::Bf16,
        _ => return None,
    })
}

/// Size of an element; the smallest there is for types that this version does not know.
fn element_bits(data_type: u64) -> u64 {
    match data_type {
        15 => 128,
        7 | 11 | 13 | 14 => 64,
        1 | 6 | 12 => 32,
        4 | 5 | 10 | 16 => 16,
        2 | 3 | 9 | 17..=20 => 8,
        _ => 4,
    }
}
