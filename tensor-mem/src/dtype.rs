//! Element types and their names.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// The type of a tensor's elements: all that ONNX Runtime and the API exchange.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned, 1 byte.
    U8,
    /// Unsigned, 2 bytes.
    U16,
    /// Unsigned, 4 bytes.
    U32,
    /// Unsigned, 8 bytes.
    U64,
    /// Signed, 1 byte.
    I8,
    /// Signed, 2 bytes.
    I16,
    /// Signed, 4 bytes.
    I32,
    /// Signed, 8 bytes.
    I64,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of an `F32`.
    BF16,
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 double precision.
    F64,
    /// Each element is a little-endian `u32` length and that many bytes, packed.
    String,
}

/// numpy's name, the Open Inference Protocol's name, size in bytes.
struct Facts(&'static str, &'static str, Option<usize>);

impl DType {
    /// Every element type, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Bool,
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::F16,
        Self::BF16,
        Self::F32,
        Self::F64,
        Self::String,
    ];

    const fn facts(self) -> Facts {
        match self {
            Self::Bool => Facts("bool", "BOOL", Some(1)),
            Self::U8 => Facts("uint8", "UINT8", Some(1)),
            Self::U16 => Facts("uint16", "UINT16", Some(2)),
            Self::U32 => Facts("uint32", "UINT32", Some(4)),
            Self::U64 => Facts("uint64", "UINT64", Some(8)),
            Self::I8 => Facts("int8", "INT8", Some(1)),
            Self::I16 => Facts("int16", "INT16", Some(2)),
            Self::I32 => Facts("int32", "INT32", Some(4)),
            Self::I64 => Facts("int64", "INT64", Some(8)),
            Self::F16 => Facts("float16", "FP16", Some(2)),
            Self::BF16 => Facts("bfloat16", "BF16", Some(2)),
            Self::F32 => Facts("float32", "FP32", Some(4)),
            Self::F64 => Facts("float64", "FP64", Some(8)),
            Self::String => Facts("string", "BYTES", None),
        }
    }

    /// Bytes of one element; `None` for strings, which have no fixed size.
    pub const fn size_bytes(self) -> Option<usize> {
        self.facts().2
    }

    /// The name as numpy spells it: `float32`, `int64`, `bool`, `bfloat16`, `string`.
    pub const fn name(self) -> &'static str {
        self.facts().0
    }

    /// The name as the Open Inference Protocol spells it: `FP32`, `INT64`, `BOOL`, `BF16`, `BYTES`.
    pub const fn oip_name(self) -> &'static str {
        self.facts().1
    }

    /// The element type of that number, if there is one.
    pub const fn from_u8(number: u8) -> Option<Self> {
        if (number as usize) < Self::ALL.len() {
            Some(Self::ALL[number as usize])
        } else {
            None
        }
    }
}

/// Spellings beside the two official ones: Rust's, C's and PyTorch's.
const ALIASES: [(&str, DType); 21] = [
    ("boolean", DType::Bool),
    ("u8", DType::U8),
    ("byte", DType::U8),
    ("u16", DType::U16),
    ("u32", DType::U32),
    ("u64", DType::U64),
    ("i8", DType::I8),
    ("i16", DType::I16),
    ("short", DType::I16),
    ("i32", DType::I32),
    ("int", DType::I32),
    ("i64", DType::I64),
    ("long", DType::I64),
    ("f16", DType::F16),
    ("half", DType::F16),
    ("f32", DType::F32),
    ("float", DType::F32),
    ("f64", DType::F64),
    ("double", DType::F64),
    ("str", DType::String),
    ("bytes", DType::String),
];

impl FromStr for DType {
    type Err = Error;

    /// Accepts both official names and the usual aliases, in any case.
    fn from_str(name: &str) -> Result<Self, Error> {
        let official = Self::ALL
            .iter()
            .copied()
            .flat_map(|d| [(d.name(), d), (d.oip_name(), d)]);
        official
            .chain(ALIASES)
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, dtype)| dtype)
            .ok_or_else(|| Error::UnknownDType {
                name: name.chars().take(64).collect(),
            })
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for (number, dtype) in DType::ALL.into_iter().enumerate() {
            assert_eq!(DType::from_u8(number as u8), Some(dtype));
            assert_eq!(dtype as usize, number);
            assert_eq!(dtype.name().parse::<DType>().unwrap(), dtype);
            assert_eq!(dtype.oip_name().parse::<DType>().unwrap(), dtype);
            assert_eq!(dtype.name().to_uppercase().parse::<DType>().unwrap(), dtype);
        }
        assert_eq!(DType::from_u8(14), None);
        assert_eq!(DType::from_u8(255), None);
    }

    #[test]
    fn aliases_and_strangers() {
        for (name, dtype) in ALIASES {
            assert_eq!(name.parse::<DType>().unwrap(), dtype, "{name}");
        }
        for name in ["", " float32", "float", "float128", "complex64", "fp8"] {
            let got = name.parse::<DType>();
            if name == "float" {
                assert_eq!(got.unwrap(), DType::F32);
            } else {
                assert!(
                    matches!(got, Err(Error::UnknownDType { name: n }) if n == name),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn a_hostile_name_is_not_echoed_whole() {
        let Err(error) = "x".repeat(1 << 20).parse::<DType>() else {
            panic!("parsed")
        };
        assert!(error.to_string().len() < 300);
    }
}
