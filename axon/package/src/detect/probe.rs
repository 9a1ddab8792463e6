//! The tests for each format, from the most to the least certain.

use super::{
    Detection, Format,
    wire::{Span, Value, Wire, WireError},
    zip,
};
use crate::limits::SAFETENSORS_HEADER_BYTES_MAX;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use std::{
    fmt,
    io::{self, BufReader, Read, Seek, SeekFrom},
};

/// How much of the beginning most tests look at.
const HEAD_BYTES: u64 = 1_024;

pub(super) fn probe<R: Read + Seek>(reader: &mut R, size_bytes: u64) -> io::Result<Detection> {
    let mut head = Vec::new();
    reader.seek(SeekFrom::Start(0))?;
    reader.take(HEAD_BYTES).read_to_end(&mut head)?;
    if head.is_empty() {
        return Ok(Detection::sound(Format::Empty, "0 bytes"));
    }
    let certain = text(&head)
        .or_else(|| gguf(&head))
        .or_else(|| tflite(&head, size_bytes));
    if let Some(found) = certain {
        return Ok(found);
    }
    if let Some(found) = zip::probe(reader, &head, size_bytes)? {
        return Ok(found);
    }
    if let Some(found) = safetensors(reader, &head, size_bytes)? {
        return Ok(found);
    }
    if let Some(found) = pickle(&head, size_bytes) {
        return Ok(found);
    }
    if let Some(found) = onnx(reader, size_bytes)? {
        return Ok(found);
    }
    if let Some(found) = saved_model(reader, size_bytes)? {
        return Ok(found);
    }
    Ok(Detection::sound(
        Format::Unknown,
        format!("it begins with {}", shown(&head)),
    ))
}

/// What a server or a version control system leaves in place of a file.
fn text(head: &[u8]) -> Option<Detection> {
    const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";
    if head.starts_with(POINTER) {
        let lines = String::from_utf8_lossy(&head[POINTER.len()..]);
        let stated: Vec<&str> = lines
            .lines()
            .filter(|line| line.starts_with("oid ") || line.starts_with("size "))
            .collect();
        return Some(Detection::sound(
            Format::GitLfsPointer,
            format!("it stands for {}", stated.join(", ")),
        ));
    }
    let head = head
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(head)
        .trim_ascii_start();
    let begins = |tag: &str| {
        head.get(..tag.len())
            .is_some_and(|it| it.eq_ignore_ascii_case(tag.as_bytes()))
    };
    let tag = ["<!doctype html", "<html", "<head", "<body", "<!--"]
        .into_iter()
        .find(|tag| begins(tag))?;
    Some(Detection::sound(Format::Html, format!("it begins with `{tag}`")))
}

fn gguf(head: &[u8]) -> Option<Detection> {
    let rest = head.strip_prefix(b"GGUF")?;
    let Some(version) = u32_at(rest, 0) else {
        return Some(Detection::damaged(
            Format::Gguf,
            "GGUF magic",
            "it ends inside its header",
        ));
    };
    // A version above 65535 is one of the other byte order.
    let version = if version > 0xffff {
        version.swap_bytes()
    } else {
        version
    };
    let evidence = format!("GGUF magic, version {version}");
    if !(1..=16).contains(&version) {
        return Some(Detection::damaged(
            Format::Gguf,
            evidence,
            "its version is not plausible",
        ));
    }
    if rest.len() < 20 {
        return Some(Detection::damaged(
            Format::Gguf,
            evidence,
            "it ends inside its header",
        ));
    }
    Some(Detection::sound(Format::Gguf, evidence))
}

fn tflite(head: &[u8], size_bytes: u64) -> Option<Detection> {
    let root = u32_at(head, 0)?;
    if head.get(4..8)? != b"TFL3" {
        return None;
    }
    let evidence = "TFL3 at offset 4";
    // The root table begins with an offset of four bytes.
    if u64::from(root) + 4 > size_bytes {
        let damage = format!("its root table is at {root}, but it has {size_bytes} bytes");
        return Some(Detection::damaged(Format::TfLite, evidence, damage));
    }
    Some(Detection::sound(Format::TfLite, evidence))
}

fn pickle(head: &[u8], size_bytes: u64) -> Option<Detection> {
    let &[0x80, protocol @ 2..=5, opcode, ..] = head else {
        return None;
    };
    let evidence = format!("pickle protocol {protocol}");
    match opcode {
        // FRAME: protocol 4 and later says how long the first one is.
        0x95 if protocol >= 4 => match u64_at(head, 3) {
            Some(frame_bytes) if frame_bytes <= size_bytes.saturating_sub(11) => {
                Some(Detection::sound(Format::Pickle, evidence))
            }
            _ => Some(Detection::damaged(
                Format::Pickle,
                evidence,
                "it ends inside its first frame",
            )),
        },
        // The first number in every checkpoint of PyTorch before 1.6.
        0x8a if head.get(3..14)
            == Some(&[0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19]) =>
        {
            Some(Detection::sound(
                Format::Pickle,
                format!("{evidence}, PyTorch magic number"),
            ))
        }
        // Opcodes that a pickle begins with: containers, globals, constants, strings, numbers.
        b']'
        | b'}'
        | b')'
        | b'('
        | b'c'
        | b'N'
        | b'K'
        | b'M'
        | b'J'
        | b'X'
        | b'U'
        | b'T'
        | b'G'
        | b'B'
        | b'C'
        | 0x88..=0x8f => Some(Detection::sound(Format::Pickle, evidence)),
        _ => None,
    }
}

fn safetensors<R: Read + Seek>(
    reader: &mut R,
    head: &[u8],
    size_bytes: u64,
) -> io::Result<Option<Detection>> {
    let Some(header_bytes) = u64_at(head, 0).filter(|_| head.get(8) == Some(&b'{')) else {
        return Ok(None);
    };
    let evidence = format!("JSON header of {header_bytes} bytes");
    let damaged = |what: String| {
        Ok(Some(Detection::damaged(
            Format::SafeTensors,
            evidence.clone(),
            what,
        )))
    };
    if header_bytes > SAFETENSORS_HEADER_BYTES_MAX {
        // A text file may have `{` there: only a length that could be one counts.
        return Ok(None);
    }
    if header_bytes > size_bytes - 8 {
        return damaged(format!(
            "its header claims {header_bytes} bytes where {} are left",
            size_bytes - 8
        ));
    }
    reader.seek(SeekFrom::Start(8))?;
    let header = BufReader::with_capacity(64 << 10, reader.take(header_bytes));
    let mut json = serde_json::Deserializer::from_reader(header);
    let tensors = match json
        .deserialize_map(TensorsVisitor)
        .and_then(|tensors| json.end().map(|()| tensors))
    {
        Ok(tensors) => tensors,
        Err(e) if e.is_io() => return Err(e.into()),
        Err(e) => return damaged(format!("its header is not a list of tensors: {e}")),
    };
    let data_bytes = size_bytes - 8 - header_bytes;
    if tensors.end > data_bytes {
        return damaged(format!(
            "its tensors end at {} where {data_bytes} bytes are left",
            tensors.end
        ));
    }
    Ok(Some(Detection::sound(
        Format::SafeTensors,
        format!("{evidence}, {} tensors", tensors.count),
    )))
}

/// What counts of a SafeTensors header.
#[derive(Default)]
struct Tensors {
    count: u64,
    end: u64,
}

/// Reads the header entry by entry, so that its size does not become memory.
struct TensorsVisitor;

impl<'de> Visitor<'de> for TensorsVisitor {
    type Value = Tensors;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from names to tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tensors, A::Error> {
        #[derive(serde::Deserialize)]
        struct Tensor {
            data_offsets: (u64, u64),
        }
        let mut tensors = Tensors::default();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let (begin, end) = map.next_value::<Tensor>()?.data_offsets;
            if begin > end {
                return Err(serde::de::Error::custom(format!(
                    "tensor `{name}` ends before it begins"
                )));
            }
            tensors.count += 1;
            tensors.end = tensors.end.max(end);
        }
        Ok(tensors)
    }
}

/// `ModelProto`: known fields of the right kind to the end, a plausible `ir_version`, and a graph.
fn onnx<R: Read + Seek>(reader: &mut R, size_bytes: u64) -> io::Result<Option<Detection>> {
    let (mut wire, model) = Wire::new(reader, size_bytes)?;
    let (mut ir_version, mut graph) = (None, None);
    let walked = wire.each(model, |wire, field| {
        match (field.number, field.value) {
            (1, Value::Varint(version)) => ir_version = Some(version),
            (7, Value::Bytes(span)) => graph = Some(count_fields(wire, span, 1..=16)?),
            (5, Value::Varint(_)) | (2..=4 | 6 | 8 | 14 | 20 | 25 | 26, Value::Bytes(_)) => {}
            (number, _) => {
                return Err(WireError::Malformed(format!(
                    "field {number} is not one of a model"
                )));
            }
        }
        Ok(())
    });
    let version = ir_version.filter(|version| (1..=100).contains(version));
    match (walked, version, graph) {
        (Ok(()), Some(version), Some(fields)) if fields > 0 => Ok(Some(Detection::sound(
            Format::Onnx,
            format!("ONNX model, IR version {version}, with a graph"),
        ))),
        // Cut inside the graph, which is nearly all of the file: certain enough to say so.
        (
            Err(WireError::Overrun {
                number: 7,
                claimed_bytes,
                left_bytes,
            }),
            Some(version),
            None,
        ) => {
            let damage = format!("its graph claims {claimed_bytes} bytes where {left_bytes} are left");
            Ok(Some(Detection::damaged(
                Format::Onnx,
                format!("ONNX model, IR version {version}"),
                damage,
            )))
        }
        (Err(WireError::Io(e)), ..) => Err(e),
        _ => Ok(None),
    }
}

/// `SavedModel`: a schema version, and meta graphs.
fn saved_model<R: Read + Seek>(reader: &mut R, size_bytes: u64) -> io::Result<Option<Detection>> {
    let (mut wire, model) = Wire::new(reader, size_bytes)?;
    let (mut schema, mut fields) = (None, 0);
    let walked = wire.each(model, |wire, field| {
        match (field.number, field.value) {
            (1, Value::Varint(version)) => schema = Some(version),
            (2, Value::Bytes(span)) => fields += count_fields(wire, span, 1..=7)?,
            (number, _) => {
                return Err(WireError::Malformed(format!(
                    "field {number} is not one of a SavedModel"
                )));
            }
        }
        Ok(())
    });
    match (walked, schema) {
        (Ok(()), Some(schema @ 1..=100)) if fields > 0 => Ok(Some(Detection::sound(
            Format::SavedModel,
            format!("SavedModel, schema version {schema}"),
        ))),
        (Err(WireError::Io(e)), _) => Err(e),
        _ => Ok(None),
    }
}

/// How many fields a message has, if all are length-delimited and of these numbers.
fn count_fields<R: Read + Seek>(
    wire: &mut Wire<R>,
    span: Span,
    known: std::ops::RangeInclusive<u64>,
) -> Result<u64, WireError> {
    let mut count = 0;
    wire.each(span, |_, field| match field.value {
        Value::Bytes(_) if known.contains(&field.number) => {
            count += 1;
            Ok(())
        }
        _ => Err(WireError::Malformed(format!(
            "field {} is not one of a graph",
            field.number
        ))),
    })?;
    Ok(count)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|chunk| u32::from_le_bytes(*chunk))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|chunk| u64::from_le_bytes(*chunk))
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|chunk| u16::from_le_bytes(*chunk))
}

/// The first bytes, as text when they are.
fn shown(head: &[u8]) -> String {
    let first = &head[..head.len().min(16)];
    match std::str::from_utf8(first) {
        Ok(text) if text.chars().all(|c| !c.is_control()) => format!("`{text}`"),
        _ => first
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .join(" "),
    }
}
