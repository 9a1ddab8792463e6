//! Writing a graph as a file.
//!
//! Weights are streamed: a model of any size is written with a few hundred kilobytes of memory. Protobuf is
//! length-prefixed, but the length of a weight follows from its shape, so nothing has to exist to be measured.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use prost::Message;

use crate::graph::{Fill, Graph, Weight};
use crate::onnx::{GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto, TensorProto};
use crate::prng::Prng;

/// The IR version of every file: 9, which goes with opset 17 in the exporters of its time.
pub const IR_VERSION: i64 = 9;
/// The operator set of every file: the first with `LayerNormalization`.
pub const OPSET: i64 = 17;

/// Protobuf readers refuse messages from 2 GiB on.
const FILE_BYTES_MAX: u64 = i32::MAX as u64;
/// Page size, so that a runtime can map each tensor where it lies.
const EXTERNAL_ALIGN: u64 = 4096;
const CHUNK_BYTES: usize = 256 << 10;

/// Field tags (number << 3 | 2, "length-delimited") of the three levels that are streamed.
const TAG_MODEL_GRAPH: u8 = 7 << 3 | 2;
const TAG_GRAPH_INITIALIZER: u8 = 5 << 3 | 2;
const TAG_TENSOR_RAW_DATA: u8 = 9 << 3 | 2;

/// Which weights go to a `.data` file beside the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternalData {
    /// None: one file, of less than 2 GiB.
    Never,
    /// Those of more bytes than this.
    Above(u64),
}

impl Graph {
    /// Writes the graph to `path`, and weights to `<path>.data` where `external` says so. Each file is written under
    /// another name and moved into place, so nobody reads half of one.
    ///
    /// # Errors
    /// From the file system; [`io::ErrorKind::InvalidInput`] when the model file itself would be 2 GiB or more.
    pub fn save(&self, path: &Path, external: ExternalData) -> io::Result<()> {
        let data_path = beside(path, "data");
        let data_name = data_path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let plan = Plan::new(self, external, &data_name);
        let head = self.head();
        let graph_bytes = head.graph.len() as u64 + plan.weights.iter().map(Planned::field_len).sum::<u64>();
        let graph_field_bytes = 1 + prost::length_delimiter_len(graph_bytes as usize) as u64 + graph_bytes;
        if head.model.len() as u64 + graph_field_bytes > FILE_BYTES_MAX {
            let message = format!(
                "model {} takes {graph_bytes} bytes, and a protobuf file must stay under 2 GiB: save with ExternalData::Above",
                self.name
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        if plan.data_bytes > 0 {
            replace(&data_path, |file| plan.write_external(file, self.seed))?;
        }
        replace(path, |file| {
            let mut out = BufWriter::with_capacity(CHUNK_BYTES, file);
            out.write_all(&head.model)?;
            out.write_all(&[TAG_MODEL_GRAPH])?;
            write_length(&mut out, graph_bytes)?;
            out.write_all(&head.graph)?;
            for weight in &plan.weights {
                weight.write(&mut out, self.seed)?;
            }
            out.flush()
        })
    }

    /// Everything but the weights, encoded.
    fn head(&self) -> Head {
        let opset = OperatorSetIdProto {
            domain: String::new(),
            version: OPSET,
        };
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: "mlos-zoo".to_owned(),
            graph: None,
            opset_import: vec![opset],
        };
        let graph = GraphProto {
            node: self.node_protos(),
            name: self.name.clone(),
            initializer: Vec::new(),
            input: self.port_protos(&self.inputs),
            output: self.port_protos(&self.outputs),
        };
        Head {
            model: model.encode_to_vec(),
            graph: graph.encode_to_vec(),
        }
    }
}

struct Head {
    model: Vec<u8>,
    graph: Vec<u8>,
}

/// Where each weight goes.
struct Plan<'a> {
    weights: Vec<Planned<'a>>,
    data_bytes: u64,
}

struct Planned<'a> {
    weight: &'a Weight,
    /// The tensor without its data, encoded.
    head: Vec<u8>,
    /// Where in the data file, if there.
    external_at: Option<u64>,
}

impl<'a> Plan<'a> {
    fn new(graph: &'a Graph, external: ExternalData, data_name: &str) -> Self {
        let mut plan = Plan {
            weights: Vec::new(),
            data_bytes: 0,
        };
        for weight in &graph.weights {
            let bytes = weight.bytes() as u64;
            let is_external = matches!(external, ExternalData::Above(above) if bytes > above);
            let external_at = is_external.then(|| plan.data_bytes.next_multiple_of(EXTERNAL_ALIGN));
            let mut head = TensorProto {
                dims: weight.dims.iter().map(|dim| *dim as i64).collect(),
                data_type: weight.dtype.code(),
                name: weight.name.clone(),
                ..TensorProto::default()
            };
            if let Some(offset) = external_at {
                plan.data_bytes = offset + bytes;
                head.data_location = Some(1);
                head.external_data = vec![
                    entry("location", data_name),
                    entry("offset", &offset.to_string()),
                    entry("length", &bytes.to_string()),
                ];
            }
            plan.weights.push(Planned {
                weight,
                head: head.encode_to_vec(),
                external_at,
            });
        }
        plan
    }

    fn write_external(&self, file: &mut File, seed: u64) -> io::Result<()> {
        // Sized first: what is not written below is a hole, which takes no disk and reads as zeros.
        file.set_len(self.data_bytes)?;
        for planned in &self.weights {
            let Some(offset) = planned.external_at else {
                continue;
            };
            if planned.weight.fill == Fill::Constant(0.0) {
                continue;
            }
            file.seek(SeekFrom::Start(offset))?;
            write_data(planned.weight, seed, file)?;
        }
        Ok(())
    }
}

impl Planned<'_> {
    /// Bytes of the tensor message.
    fn message_len(&self) -> u64 {
        let bytes = self.weight.bytes();
        let data = match self.external_at {
            Some(_) => 0,
            None => 1 + prost::length_delimiter_len(bytes) + bytes,
        };
        (self.head.len() + data) as u64
    }

    /// Bytes of the message as a field of the graph.
    fn field_len(&self) -> u64 {
        let message = self.message_len();
        1 + prost::length_delimiter_len(message as usize) as u64 + message
    }

    fn write(&self, out: &mut impl Write, seed: u64) -> io::Result<()> {
        out.write_all(&[TAG_GRAPH_INITIALIZER])?;
        write_length(out, self.message_len())?;
        out.write_all(&self.head)?;
        if self.external_at.is_some() {
            return Ok(());
        }
        out.write_all(&[TAG_TENSOR_RAW_DATA])?;
        write_length(out, self.weight.bytes() as u64)?;
        write_data(self.weight, seed, out)
    }
}

fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

fn write_length(out: &mut impl Write, length: u64) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(10);
    prost::encode_length_delimiter(length as usize, &mut bytes).map_err(io::Error::other)?;
    out.write_all(&bytes)
}

/// Produces the elements of a weight, a chunk at a time.
fn write_data(weight: &Weight, seed: u64, out: &mut impl Write) -> io::Result<()> {
    if let Fill::Bytes(data) = &weight.fill {
        debug_assert_eq!(
            data.len(),
            weight.bytes(),
            "data of {} does not fit its shape",
            weight.name
        );
        return out.write_all(data);
    }
    let mut random = Prng::new(seed, weight.stream);
    let mut left = weight.elements();
    let mut chunk = Vec::with_capacity(CHUNK_BYTES + 8);
    while left > 0 {
        chunk.clear();
        let count = left.min(CHUNK_BYTES / 4);
        for _ in 0..count.div_ceil(2) {
            let (a, b) = match weight.fill {
                Fill::Uniform { bound } => {
                    let (a, b) = random.signed_pair();
                    (a * bound, b * bound)
                }
                Fill::Constant(value) => (value, value),
                Fill::Bytes(_) => unreachable!("written above"),
            };
            chunk.extend_from_slice(&a.to_le_bytes());
            chunk.extend_from_slice(&b.to_le_bytes());
        }
        out.write_all(&chunk[..count * 4])?;
        left -= count;
    }
    Ok(())
}

/// `model.onnx` -> `model.onnx.<suffix>`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// Writes a file under another name and renames it into place.
fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    // Unique, so that two tests that write the same model do not write into each other's file.
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let write_id = WRITES.fetch_add(1, Ordering::Relaxed);
    let partial = beside(path, &format!("{}-{write_id}.partial", std::process::id()));
    let result = File::create(&partial).and_then(|mut file| write(&mut file));
    match result.and_then(|()| fs::rename(&partial, path)) {
        Ok(()) => Ok(()),
        Err(error) => {
            // The first error is the one to report; a leftover that cannot be removed changes nothing about it.
            let _ = fs::remove_file(&partial);
            Err(error)
        }
    }
}
