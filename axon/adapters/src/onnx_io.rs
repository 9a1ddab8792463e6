//! The inputs and outputs of an ONNX graph, read from the file without loading it: a walk over the protobuf fields
//! that names nothing but what is needed and skips weights by seeking. Every length is checked against what is left.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, BufReader, Read, Seek},
    path::Path,
};

use axon_package::{
    Error, Result,
    limits::{PORTS_MAX, RANK_MAX, WIRE_FIELDS_MAX, WIRE_TEXT_BYTES_MAX},
    manifest::{Dtype, Port, Values},
};

/// What a graph takes and gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GraphIo {
    /// Inputs that a request carries: weights that old graphs list among them are left out.
    pub inputs: Vec<Port>,
    /// Outputs.
    pub outputs: Vec<Port>,
}

/// Reads the inputs and outputs of the graph at `path`. Ports that are no tensors (sequences, maps) are left out.
///
/// # Errors
/// [`Error::NotAModel`] when the file is cut or is no ONNX graph.
pub fn graph_io(path: &Path) -> Result<GraphIo> {
    let read = || {
        let file = File::open(path)?;
        let end = file.metadata()?.len();
        let mut walk = Walk {
            reader: BufReader::with_capacity(64 * 1024, file),
            at: 0,
            fields_left: WIRE_FIELDS_MAX,
        };
        walk.model(end)
    };
    read().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Error::NotAModel {
            path: path.display().to_string(),
            reason: format!("damaged ONNX: {error}"),
        },
        _ => Error::io(path, error),
    })
}

/// A position in nested messages.
struct Walk<R> {
    reader: BufReader<R>,
    at: u64,
    fields_left: u64,
}

/// One field: its number, and what follows.
enum Field {
    Varint(u32, u64),
    /// So many bytes follow.
    Bytes(u32, u64),
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl<R: Read + Seek> Walk<R> {
    fn model(&mut self, end: u64) -> io::Result<GraphIo> {
        const GRAPH: u32 = 7;
        let mut io = None;
        while let Some(field) = self.field(end)? {
            match field {
                Field::Bytes(GRAPH, len) => io = Some(self.graph(self.at + len)?),
                Field::Bytes(_, len) => self.skip(len)?,
                Field::Varint(..) => {}
            }
        }
        io.ok_or_else(|| bad("no graph in it"))
    }

    fn graph(&mut self, end: u64) -> io::Result<GraphIo> {
        const INITIALIZER: u32 = 5;
        const INPUT: u32 = 11;
        const OUTPUT: u32 = 12;
        let (mut io, mut weights) = (GraphIo::default(), HashSet::new());
        while let Some(field) = self.field(end)? {
            match field {
                Field::Bytes(INITIALIZER, len) => {
                    weights.extend(self.text_field(self.at + len, 8)?);
                }
                Field::Bytes(INPUT, len) => io.inputs.extend(self.port(self.at + len)?),
                Field::Bytes(OUTPUT, len) => io.outputs.extend(self.port(self.at + len)?),
                Field::Bytes(_, len) => self.skip(len)?,
                Field::Varint(..) => {}
            }
            // Old graphs list every weight as an input, so this is no bound on the ports yet.
            if io.inputs.len().max(io.outputs.len()) > PORTS_MAX * 64 {
                return Err(bad("too many inputs or outputs"));
            }
        }
        io.inputs.retain(|port| !weights.contains(&port.name));
        Ok(io)
    }

    /// `ValueInfoProto`: name and type.
    fn port(&mut self, end: u64) -> io::Result<Option<Port>> {
        let (mut name, mut tensor) = (String::new(), None);
        while let Some(field) = self.field(end)? {
            match field {
                Field::Bytes(1, len) => name = self.text(len)?,
                Field::Bytes(2, len) => tensor = self.type_of(self.at + len)?,
                Field::Bytes(_, len) => self.skip(len)?,
                Field::Varint(..) => {}
            }
        }
        Ok(tensor.and_then(|(element, shape)| {
            let dtype = dtype(element)?;
            Some(Port {
                name,
                dtype,
                shape,
                description: String::new(),
                preprocessing: None,
                extra: Values::new(),
            })
        }))
    }

    /// `TypeProto`: a tensor's element type and shape; none for what is no tensor.
    fn type_of(&mut self, end: u64) -> io::Result<Option<(u64, Vec<i64>)>> {
        let mut tensor = None;
        while let Some(field) = self.field(end)? {
            match field {
                Field::Bytes(1, len) => tensor = Some(self.tensor_type(self.at + len)?),
                Field::Bytes(_, len) => self.skip(len)?,
                Field::Varint(..) => {}
            }
        }
        Ok(tensor)
    }

    fn tensor_type(&mut self, end: u64) -> io::Result<(u64, Vec<i64>)> {
        let (mut element, mut shape) = (0, Vec::new());
        while let Some(field) = self.field(end)? {
            match field {
                Field::Varint(1, value) => element = value,
                Field::Bytes(2, len) => shape = self.shape(self.at + len)?,
                Field::Bytes(_, len) => self.skip(len)?,
                Field::Varint(..) => {}
            }
        }
        Ok((element, shape))
    }

    fn shape(&mut self, end: u64) -> io::Result<Vec<i64>> {
        let mut dims = Vec::new();
        while let Some(field) = self.field(end)? {
            match field {
                Field::Bytes(1, _) if dims.len() == RANK_MAX => return Err(bad("too many dimensions")),
                Field::Bytes(1, len) => dims.push(self.dimension(self.at + len)?),
                Field::Bytes(_, len) => self.skip(len)?,
                Field::Varint(..) => {}
            }
        }
        Ok(dims)
    }

    /// A number, or -1 for a name or nothing.
    fn dimension(&mut self, end: u64) -> io::Result<i64> {
        let mut length = -1;
        while let Some(field) = self.field(end)? {
            match field {
                // Some exporters write 0 or -1 for "any".
                Field::Varint(1, value) => {
                    length = i64::try_from(value).ok().filter(|&n| n > 0).unwrap_or(-1)
                }
                Field::Bytes(_, len) => self.skip(len)?,
                Field::Varint(..) => {}
            }
        }
        Ok(length)
    }

    /// The text of one field of the message that ends at `end`.
    fn text_field(&mut self, end: u64, number: u32) -> io::Result<Option<String>> {
        let mut text = None;
        while let Some(field) = self.field(end)? {
            match field {
                Field::Bytes(n, len) if n == number => text = Some(self.text(len)?),
                Field::Bytes(_, len) => self.skip(len)?,
                Field::Varint(..) => {}
            }
        }
        Ok(text)
    }

    /// The next field of the message that ends at `end`; none at its end.
    fn field(&mut self, end: u64) -> io::Result<Option<Field>> {
        loop {
            if self.at == end {
                return Ok(None);
            }
            self.fields_left = self
                .fields_left
                .checked_sub(1)
                .ok_or_else(|| bad("too many fields"))?;
            let key = self.varint(end)?;
            let number = u32::try_from(key >> 3).map_err(|_| bad("a field number out of range"))?;
            match key & 7 {
                0 => return Ok(Some(Field::Varint(number, self.varint(end)?))),
                2 => {
                    let len = self.varint(end)?;
                    self.fits(len, end)?;
                    return Ok(Some(Field::Bytes(number, len)));
                }
                1 => self.skip_within(8, end)?,
                5 => self.skip_within(4, end)?,
                _ => return Err(bad("an unknown wire type")),
            }
        }
    }

    fn varint(&mut self, end: u64) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            self.fits(1, end)?;
            let mut byte = [0];
            self.reader.read_exact(&mut byte)?;
            self.at += 1;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(bad("a number of more than 64 bits"))
    }

    fn text(&mut self, len: u64) -> io::Result<String> {
        if len > WIRE_TEXT_BYTES_MAX {
            return Err(bad("a name that is too long"));
        }
        let mut bytes = Vec::new();
        (&mut self.reader).take(len).read_to_end(&mut bytes)?;
        self.at += len;
        String::from_utf8(bytes).map_err(|_| bad("a name that is not UTF-8"))
    }

    fn skip_within(&mut self, len: u64, end: u64) -> io::Result<()> {
        self.fits(len, end)?;
        self.skip(len)
    }

    fn skip(&mut self, len: u64) -> io::Result<()> {
        self.reader
            .seek_relative(i64::try_from(len).map_err(|_| bad("a length out of range"))?)?;
        self.at += len;
        Ok(())
    }

    fn fits(&self, len: u64, end: u64) -> io::Result<()> {
        let left = end
            .checked_sub(self.at)
            .ok_or_else(|| bad("a message that passes its end"))?;
        if len > left {
            Err(bad("a length that passes the end"))
        } else {
            Ok(())
        }
    }
}

/// `TensorProto.DataType`.
fn dtype(element: u64) -> Option<Dtype> {
    Some(match element {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u32, body: &[u8]) -> Vec<u8> {
        assert!(body.len() < 128 * 128);
        let mut bytes = vec![(number << 3 | 2) as u8];
        if body.len() < 128 {
            bytes.push(body.len() as u8);
        } else {
            bytes.extend([(body.len() & 127 | 128) as u8, (body.len() >> 7) as u8]);
        }
        bytes.extend_from_slice(body);
        bytes
    }

    fn varint(number: u32, value: u8) -> Vec<u8> {
        vec![(number << 3) as u8, value]
    }

    fn value(name: &str, element: u8, dims: &[u8]) -> Vec<u8> {
        let dims: Vec<u8> = dims
            .iter()
            .flat_map(|&dim| {
                message(
                    1,
                    &if dim == 0 {
                        message(2, b"batch")
                    } else {
                        varint(1, dim)
                    },
                )
            })
            .collect();
        let tensor = [varint(1, element), message(2, &dims)].concat();
        [message(1, name.as_bytes()), message(2, &message(1, &tensor))].concat()
    }

    fn model() -> Vec<u8> {
        let weight = [message(8, b"w"), message(9, &[7; 200])].concat();
        let graph = [
            message(5, &weight),
            message(11, &value("x", 1, &[0, 3])),
            message(11, &value("w", 1, &[3])),
            message(12, &value("y", 7, &[0])),
        ]
        .concat();
        [varint(1, 8), message(2, b"maker"), message(7, &graph)].concat()
    }

    fn read(bytes: &[u8]) -> Result<GraphIo> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), bytes).expect("written");
        graph_io(file.path())
    }

    #[test]
    fn ports_are_read_and_weights_are_not_ports() {
        let io = read(&model()).expect("a graph");
        let seen: Vec<_> = io
            .inputs
            .iter()
            .chain(&io.outputs)
            .map(|p| (p.name.as_str(), &p.dtype, p.shape.as_slice()))
            .collect();
        assert_eq!(
            seen,
            [("x", &Dtype::F32, &[-1, 3][..]), ("y", &Dtype::I64, &[-1][..])]
        );
    }

    #[test]
    fn no_prefix_and_no_flipped_byte_does_harm() {
        let whole = model();
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "cut at {end}");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                // Any answer will do; it must come, and without a panic.
                let _ = read(&bytes);
            }
        }
    }
}
