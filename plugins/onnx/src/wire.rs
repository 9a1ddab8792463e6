//! Protobuf at the level of the wire: fields as they lie in the buffer.
//!
//! Graphs are edited here and not through generated structs because those drop what their schema does not know; a
//! model written by a newer exporter must come out of the preparation with every byte that is not ours unchanged.

use crate::limits::VARINT_BYTES_MAX;

/// What is wrong with a message, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// The buffer ends inside a field.
    #[error("the message ends inside a field")]
    Truncated,
    /// A varint longer than ten bytes.
    #[error("a number is longer than ten bytes")]
    LongVarint,
    /// Wire types 3, 4, 6 and 7 do not occur in ONNX files.
    #[error("field {number} has the unknown wire type {wire_type}")]
    WireType { number: u32, wire_type: u8 },
    /// A field of a known number has another type than the schema gives it.
    #[error("field {number} has an unexpected type")]
    FieldType { number: u32 },
    /// Text that is not UTF-8.
    #[error("field {number} is not utf-8 text")]
    Text { number: u32 },
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Fixed-width numbers; nothing here needs their value.
    Fixed,
}

/// A field: its number, its value, and all of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub number: u32,
    pub payload: Payload<'a>,
    /// Key and value as they lie in the message, for copying verbatim.
    pub raw: &'a [u8],
}

impl<'a> Field<'a> {
    pub fn bytes(&self) -> Result<&'a [u8], WireError> {
        match self.payload {
            Payload::Bytes(bytes) => Ok(bytes),
            _ => Err(WireError::FieldType { number: self.number }),
        }
    }

    pub fn text(&self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError::Text { number: self.number })
    }

    pub fn varint(&self) -> Result<u64, WireError> {
        match self.payload {
            Payload::Varint(value) => Ok(value),
            _ => Err(WireError::FieldType { number: self.number }),
        }
    }

    /// The values of a repeated number, packed or not.
    pub fn varints(&self) -> Result<Vec<u64>, WireError> {
        match self.payload {
            Payload::Varint(value) => Ok(vec![value]),
            Payload::Fixed => Err(WireError::FieldType { number: self.number }),
            Payload::Bytes(mut rest) => {
                let mut values = Vec::new();
                while !rest.is_empty() {
                    let (value, len) = read_varint(rest)?;
                    values.push(value);
                    rest = &rest[len..];
                }
                Ok(values)
            }
        }
    }
}

/// The fields of a message, in order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn read(&mut self) -> Result<Field<'a>, WireError> {
        let (key, key_len) = read_varint(self.rest)?;
        let number = u32::try_from(key >> 3).map_err(|_| WireError::LongVarint)?;
        let body = &self.rest[key_len..];
        let (payload, body_len) = match (key & 7) as u8 {
            0 => read_varint(body).map(|(value, len)| (Payload::Varint(value), len))?,
            1 => (Payload::Fixed, 8),
            2 => read_bytes(body)?,
            5 => (Payload::Fixed, 4),
            wire_type => return Err(WireError::WireType { number, wire_type }),
        };
        let len = key_len + body_len;
        let raw = self.rest.get(..len).ok_or(WireError::Truncated)?;
        self.rest = &self.rest[len..];
        Ok(Field { number, payload, raw })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

fn read_bytes(body: &[u8]) -> Result<(Payload<'_>, usize), WireError> {
    let (len, len_len) = read_varint(body)?;
    let len = usize::try_from(len).map_err(|_| WireError::Truncated)?;
    let end = len_len.checked_add(len).ok_or(WireError::Truncated)?;
    let bytes = body.get(len_len..end).ok_or(WireError::Truncated)?;
    Ok((Payload::Bytes(bytes), end))
}

/// A varint at the start of `bytes`, and how many bytes it takes.
pub(crate) fn read_varint(bytes: &[u8]) -> Result<(u64, usize), WireError> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(VARINT_BYTES_MAX).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok((value, index + 1));
        }
    }
    Err(if bytes.len() < VARINT_BYTES_MAX {
        WireError::Truncated
    } else {
        WireError::LongVarint
    })
}

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a number as field `number`.
pub(crate) fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, value);
}

/// Appends bytes, text or a message as field `number`.
pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(message: &[u8]) -> Result<Vec<u32>, WireError> {
        Fields::of(message)
            .map(|field| field.map(|field| field.number))
            .collect()
    }

    #[test]
    fn fields_are_read_and_copied_verbatim() {
        let mut message = Vec::new();
        put_number(&mut message, 1, 300);
        put_bytes(&mut message, 4000, b"text");
        message.extend([0x1d, 1, 2, 3, 4]);
        let fields: Vec<_> = Fields::of(&message).collect::<Result<_, _>>().unwrap();
        assert_eq!(fields[0].varint(), Ok(300));
        assert_eq!(fields[1].text(), Ok("text"));
        assert_eq!((fields[2].number, fields[2].payload), (3, Payload::Fixed));
        assert_eq!(
            fields
                .iter()
                .flat_map(|field| field.raw)
                .copied()
                .collect::<Vec<_>>(),
            message
        );
    }

    #[test]
    fn repeated_numbers_come_packed_or_one_by_one() {
        let mut packed = Vec::new();
        put_bytes(&mut packed, 1, &[1, 0x80, 0x01, 3]);
        let field = Fields::of(&packed).next().unwrap().unwrap();
        assert_eq!(field.varints(), Ok(vec![1, 128, 3]));
        let mut single = Vec::new();
        put_number(&mut single, 1, 7);
        assert_eq!(
            Fields::of(&single).next().unwrap().unwrap().varints(),
            Ok(vec![7])
        );
    }

    #[test]
    fn broken_messages_are_errors() {
        let cases: [(&[u8], WireError); 5] = [
            (&[0x0a, 5, 1], WireError::Truncated),
            (&[0x80], WireError::Truncated),
            (&[0xff; 11], WireError::LongVarint),
            (
                &[0x0b],
                WireError::WireType {
                    number: 1,
                    wire_type: 3,
                },
            ),
            (&[0x0d, 1], WireError::Truncated),
        ];
        for (message, error) in cases {
            assert_eq!(numbers(message), Err(error), "{message:?}");
        }
    }

    #[test]
    fn every_prefix_of_a_message_is_read_without_panic() {
        let mut message = Vec::new();
        put_bytes(&mut message, 7, &[0x0a, 2, 1, 2]);
        put_number(&mut message, 8, u64::MAX);
        for end in 0..message.len() {
            for field in Fields::of(&message[..end]).flatten() {
                assert!(!field.raw.is_empty());
            }
        }
    }
}
