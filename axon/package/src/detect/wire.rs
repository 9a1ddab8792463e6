//! A minimal walk over protobuf messages in a file: field by field, seeking over what is of no interest, so that a
//! 2 GB graph costs a few pages. Bounded in depth, fields and text; no length is believed before it is compared
//! with what is left.

use crate::limits::{WIRE_DEPTH_MAX, WIRE_FIELDS_MAX, WIRE_TEXT_BYTES_MAX};
use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// A cursor over the wire format.
pub(super) struct Wire<R> {
    reader: BufReader<R>,
    at: u64,
    fields_left: u64,
}

/// The bytes of a message: from where the cursor stands after [`Wire::next`], to `end`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) end: u64,
    depth: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) number: u64,
    pub(super) value: Value,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Varint(u64),
    Fixed,
    Bytes(Span),
}

/// Why a message cannot be walked.
#[derive(Debug)]
pub(super) enum WireError {
    /// The bytes are no protobuf.
    Malformed(String),
    /// A length-delimited field is longer than what holds it.
    Overrun {
        number: u64,
        claimed_bytes: u64,
        left_bytes: u64,
    },
    Io(io::Error),
}

impl From<io::Error> for WireError {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::UnexpectedEof => Self::Malformed("it ends inside a field".into()),
            _ => Self::Io(e),
        }
    }
}

impl WireError {
    /// What is wrong, or the system's error.
    pub(super) fn into_reason(self) -> io::Result<String> {
        match self {
            Self::Malformed(what) => Ok(what),
            Self::Overrun {
                number,
                claimed_bytes,
                left_bytes,
            } => Ok(format!(
                "field {number} claims {claimed_bytes} bytes where {left_bytes} are left"
            )),
            Self::Io(e) => Err(e),
        }
    }
}

type Walked<T> = Result<T, WireError>;

impl<R: Read + Seek> Wire<R> {
    /// Starts at the beginning of `reader`, whose `size_bytes` are one message.
    pub(super) fn new(mut reader: R, size_bytes: u64) -> io::Result<(Self, Span)> {
        reader.seek(SeekFrom::Start(0))?;
        let reader = BufReader::with_capacity(64 << 10, reader);
        Ok((
            Self {
                reader,
                at: 0,
                fields_left: WIRE_FIELDS_MAX,
            },
            Span {
                end: size_bytes,
                depth: 0,
            },
        ))
    }

    /// Calls `visit` for each field of `message`; what it leaves unread of the field is skipped.
    pub(super) fn each(
        &mut self,
        message: Span,
        mut visit: impl FnMut(&mut Self, Field) -> Walked<()>,
    ) -> Walked<()> {
        if message.depth >= WIRE_DEPTH_MAX {
            return Err(WireError::Malformed(format!(
                "it is nested deeper than {WIRE_DEPTH_MAX}"
            )));
        }
        while self.at < message.end {
            let field = self.next(message)?;
            visit(self, field)?;
            if let Value::Bytes(span) = field.value {
                self.skip_to(span.end)?;
            }
        }
        Ok(())
    }

    fn next(&mut self, message: Span) -> Walked<Field> {
        self.fields_left = self
            .fields_left
            .checked_sub(1)
            .ok_or_else(|| WireError::Malformed(format!("it has more than {WIRE_FIELDS_MAX} fields")))?;
        let tag = self.varint(message.end)?;
        let number = tag >> 3;
        if number == 0 {
            return Err(WireError::Malformed("a field has number 0".into()));
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint(message.end)?),
            1 => self.fixed(number, 8, message)?,
            2 => {
                let claimed_bytes = self.varint(message.end)?;
                Value::Bytes(self.span(number, claimed_bytes, message)?)
            }
            5 => self.fixed(number, 4, message)?,
            other => {
                return Err(WireError::Malformed(format!(
                    "field {number} has wire type {other}"
                )));
            }
        };
        Ok(Field { number, value })
    }

    fn fixed(&mut self, number: u64, bytes: u64, message: Span) -> Walked<Value> {
        let span = self.span(number, bytes, message)?;
        self.skip_to(span.end)?;
        Ok(Value::Fixed)
    }

    fn span(&self, number: u64, claimed_bytes: u64, message: Span) -> Walked<Span> {
        let left_bytes = message.end - self.at;
        if claimed_bytes > left_bytes {
            return Err(WireError::Overrun {
                number,
                claimed_bytes,
                left_bytes,
            });
        }
        Ok(Span {
            end: self.at + claimed_bytes,
            depth: message.depth + 1,
        })
    }

    /// The varints of a packed field, or of an unpacked one that came alone.
    pub(super) fn varints(&mut self, value: Value, mut visit: impl FnMut(u64)) -> Walked<()> {
        match value {
            Value::Varint(one) => visit(one),
            Value::Fixed => {}
            Value::Bytes(span) => {
                while self.at < span.end {
                    visit(self.varint(span.end)?);
                }
            }
        }
        Ok(())
    }

    /// The field as text.
    pub(super) fn text(&mut self, span: Span) -> Walked<String> {
        let len_bytes = span.end - self.at;
        if len_bytes > WIRE_TEXT_BYTES_MAX {
            return Err(WireError::Malformed(format!(
                "a text is longer than {WIRE_TEXT_BYTES_MAX} bytes"
            )));
        }
        let mut bytes = vec![0; len_bytes as usize];
        self.reader.read_exact(&mut bytes)?;
        self.at = span.end;
        String::from_utf8(bytes).map_err(|_| WireError::Malformed("a text is not UTF-8".into()))
    }

    fn varint(&mut self, end: u64) -> Walked<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            if self.at >= end {
                return Err(WireError::Malformed("it ends inside a number".into()));
            }
            let mut byte = [0];
            self.reader.read_exact(&mut byte)?;
            self.at += 1;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::Malformed("a number is longer than 10 bytes".into()))
    }

    fn skip_to(&mut self, to: u64) -> Walked<()> {
        // Both are at most the file's size, which the system keeps below 2^63.
        self.reader.seek_relative(to as i64 - self.at as i64)?;
        self.at = to;
        Ok(())
    }
}
