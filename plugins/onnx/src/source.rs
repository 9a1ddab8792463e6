//! A model as it came: its files, their digest, and whether they can be a model at all.
//!
//! The walk reads only keys and lengths and seeks over the weights, so a model of any size costs the same memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::declared::Declared;
use crate::error::{Error, Result};
use crate::limits::{
    DECLARATION_BYTES_MAX, EXTERNAL_FILES_MAX, HASH_BUFFER_BYTES, MESSAGE_DEPTH_MAX, VARINT_BYTES_MAX,
};
use crate::schema::{attribute, entry, function, graph, model, node, sparse, tensor};
use crate::wire::{Fields, read_varint};

/// Files of a model.
#[derive(Debug)]
pub(crate) struct Source {
    pub path: PathBuf,
    /// Bytes of all files.
    pub bytes: u64,
    /// External data files, relative to the model's folder, and how long each must be at least.
    external: BTreeMap<String, u64>,
    /// What it declares of its outputs.
    pub declared: Declared,
}

impl Source {
    /// Looks through a model file; says what is wrong if it is not one.
    pub fn inspect(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|source| Error::io(path, source))?;
        let bytes = file.metadata().map_err(|source| Error::io(path, source))?.len();
        if bytes == 0 {
            return Err(Error::bad_model(path, "the file is empty"));
        }
        let mut walk = Walk {
            reader: BufReader::new(file),
            position: 0,
            external: BTreeMap::new(),
            declared: Declared::default(),
            graphs: 0,
        };
        walk.message(Kind::Model, bytes, 0)
            .map_err(|reason| Error::bad_model(path, reason))?;
        if walk.graphs != 1 {
            return Err(Error::bad_model(path, "not an onnx model: it has no graph"));
        }
        let mut source = Self {
            path: path.to_owned(),
            bytes,
            external: walk.external,
            declared: walk.declared,
        };
        source.check_external()?;
        Ok(source)
    }

    fn check_external(&mut self) -> Result<()> {
        for (location, needed) in &self.external {
            let path = self.beside(location);
            let refuse = |reason: String| Err(Error::bad_model(&self.path, reason));
            let inside = Path::new(location)
                .components()
                .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
            if location.is_empty() || !inside {
                return refuse(format!(
                    "external data file {location:?} lies outside of the model's folder"
                ));
            }
            let Ok(metadata) = std::fs::metadata(&path) else {
                return refuse(format!("external data file {location:?} is missing"));
            };
            if metadata.len() < *needed {
                return refuse(format!(
                    "external data file {location:?} has {} bytes, {needed} are used",
                    metadata.len()
                ));
            }
            self.bytes += metadata.len();
        }
        Ok(())
    }

    fn beside(&self, location: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(location)
    }

    /// Whether weights lie in files of their own.
    pub fn has_external_data(&self) -> bool {
        !self.external.is_empty()
    }

    /// Adds names and contents of all files to a digest.
    pub fn digest(&self, digest: &mut Sha256) -> Result<()> {
        digest_file(&self.path, digest)?;
        for location in self.external.keys() {
            digest.update(location.as_bytes());
            digest.update([0]);
            digest_file(&self.beside(location), digest)?;
        }
        Ok(())
    }
}

/// Adds the length and the content of a file to a digest.
pub(crate) fn digest_file(path: &Path, digest: &mut Sha256) -> Result<u64> {
    let failed = |source| Error::io(path, source);
    let mut file = File::open(path).map_err(failed)?;
    let mut buffer = vec![0; HASH_BUFFER_BYTES];
    let mut total = 0;
    loop {
        let len = file.read(&mut buffer).map_err(failed)?;
        if len == 0 {
            digest.update(u64::to_le_bytes(total));
            return Ok(total);
        }
        digest.update(&buffer[..len]);
        total += len as u64;
    }
}

/// The messages on the way to tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Model,
    Graph,
    Function,
    Node,
    Attribute,
    Sparse,
    Tensor,
}

impl Kind {
    /// The message in field `number`, if tensors may be in it.
    fn child(self, number: u32) -> Option<Self> {
        Some(match (self, number) {
            (Self::Model, model::GRAPH) | (Self::Attribute, attribute::G | attribute::GRAPHS) => Self::Graph,
            (Self::Model, model::FUNCTIONS) => Self::Function,
            (Self::Function, function::NODE) | (Self::Graph, graph::NODE) => Self::Node,
            (Self::Graph, graph::INITIALIZER) | (Self::Attribute, attribute::T | attribute::TENSORS) => {
                Self::Tensor
            }
            (Self::Sparse, sparse::VALUES | sparse::INDICES) => Self::Tensor,
            (Self::Graph, graph::SPARSE_INITIALIZER)
            | (Self::Attribute, attribute::SPARSE_TENSOR | attribute::SPARSE_TENSORS) => Self::Sparse,
            (Self::Node, node::ATTRIBUTE) => Self::Attribute,
            _ => return None,
        })
    }
}

struct Walk {
    reader: BufReader<File>,
    position: u64,
    external: BTreeMap<String, u64>,
    declared: Declared,
    graphs: u32,
}

impl Walk {
    fn message(&mut self, kind: Kind, end: u64, depth: u32) -> Result<(), String> {
        if depth > MESSAGE_DEPTH_MAX {
            return Err("not an onnx model: it nests too deep".to_owned());
        }
        let mut entries = ExternalEntries::default();
        while self.position < end {
            let at = self.position;
            let key = self.varint()?;
            let number = (key >> 3) as u32;
            let len = match key & 7 {
                0 => {
                    self.varint()?;
                    continue;
                }
                1 => 8,
                2 => self.varint()?,
                5 => 4,
                other => {
                    return Err(format!(
                        "not an onnx model: unknown wire type {other} at byte {at}"
                    ));
                }
            };
            let field_end = self
                .position
                .checked_add(len)
                .filter(|field_end| *field_end <= end);
            let Some(field_end) = field_end else {
                return Err(format!(
                    "not an onnx model, or truncated: the field at byte {at} is longer than what is left"
                ));
            };
            self.field(kind, number, (key & 7, field_end), depth, &mut entries)?;
        }
        if kind == Kind::Tensor {
            self.note(&entries)
        } else {
            Ok(())
        }
    }

    fn field(
        &mut self,
        kind: Kind,
        number: u32,
        (wire_type, end): (u64, u64),
        depth: u32,
        entries: &mut ExternalEntries,
    ) -> Result<(), String> {
        let child = kind.child(number).filter(|_| wire_type == 2);
        if kind == Kind::Model && number == model::GRAPH {
            self.graphs += 1;
        }
        if let Some(child) = child {
            return self.message(child, end, depth + 1);
        }
        if kind == Kind::Tensor && number == tensor::EXTERNAL_DATA && wire_type == 2 {
            return entries.read(&self.bytes(end - self.position)?);
        }
        // Outputs of the main graph, not of graphs within nodes.
        if (kind, number, depth, wire_type) == (Kind::Graph, graph::OUTPUT, 1, 2) {
            let output = self.bytes(end - self.position)?;
            return self
                .declared
                .add(&output)
                .map_err(|error| format!("an output is declared wrongly: {error}"));
        }
        self.skip(end - self.position)
    }

    /// Remembers where a tensor's data lie.
    fn note(&mut self, entries: &ExternalEntries) -> Result<(), String> {
        let Some(location) = &entries.location else {
            return Ok(());
        };
        let needed = entries
            .offset
            .checked_add(entries.length)
            .ok_or("external data end beyond any file")?;
        let known = self.external.entry(location.clone()).or_default();
        *known = needed.max(*known);
        if self.external.len() > EXTERNAL_FILES_MAX {
            return Err(format!("more than {EXTERNAL_FILES_MAX} external data files"));
        }
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut bytes = Vec::with_capacity(VARINT_BYTES_MAX);
        for byte in self.reader.by_ref().bytes().take(VARINT_BYTES_MAX) {
            let byte = byte.map_err(|error| error.to_string())?;
            bytes.push(byte);
            if byte & 0x80 == 0 {
                break;
            }
        }
        let (value, len) =
            read_varint(&bytes).map_err(|error| format!("not an onnx model, or truncated: {error}"))?;
        self.position += len as u64;
        Ok(value)
    }

    fn bytes(&mut self, len: u64) -> Result<Vec<u8>, String> {
        if len > DECLARATION_BYTES_MAX {
            return Err("not an onnx model: a declaration is too long".to_owned());
        }
        let mut bytes = vec![0; len as usize];
        self.reader
            .read_exact(&mut bytes)
            .map_err(|error| error.to_string())?;
        self.position += len;
        Ok(bytes)
    }

    fn skip(&mut self, len: u64) -> Result<(), String> {
        let step = i64::try_from(len).map_err(|error| error.to_string())?;
        self.reader
            .seek_relative(step)
            .map_err(|error| error.to_string())?;
        self.position += len;
        Ok(())
    }
}

/// `external_data` of a tensor.
#[derive(Default)]
struct ExternalEntries {
    location: Option<String>,
    offset: u64,
    length: u64,
}

impl ExternalEntries {
    fn read(&mut self, message: &[u8]) -> Result<(), String> {
        let (mut key, mut value) = ("", "");
        for field in Fields::of(message) {
            let field = field.map_err(|error| error.to_string())?;
            match field.number {
                entry::KEY => key = field.text().map_err(|error| error.to_string())?,
                entry::VALUE => value = field.text().map_err(|error| error.to_string())?,
                _ => {}
            }
        }
        let number = || {
            value
                .parse()
                .map_err(|_| format!("external data {key} {value:?} is not a number"))
        };
        match key {
            "location" => self.location = Some(value.to_owned()),
            "offset" => self.offset = number()?,
            "length" => self.length = number()?,
            _ => {}
        }
        Ok(())
    }
}
