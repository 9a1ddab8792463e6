/// Element type of a tensor. The numbers are the ABI's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum DType {
    /// One byte, 0 or 1.
    Bool = 0,
    /// Unsigned, 8 bits.
    U8 = 1,
    /// Unsigned, 16 bits.
    U16 = 2,
    /// Unsigned, 32 bits.
    U32 = 3,
    /// Unsigned, 64 bits.
    U64 = 4,
    /// Signed, 8 bits.
    I8 = 5,
    /// Signed, 16 bits.
    I16 = 6,
    /// Signed, 32 bits.
    I32 = 7,
    /// Signed, 64 bits.
    I64 = 8,
    /// IEEE half precision.
    F16 = 9,
    /// The upper half of an `f32`.
    BF16 = 10,
    /// IEEE single precision.
    F32 = 11,
    /// IEEE double precision.
    F64 = 12,
    /// Text, packed: per element a little-endian `u32` length and the bytes.
    String = 13,
}

impl DType {
    /// All of them, in the order of their numbers.
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

    /// The type with this number in the ABI, if there is one.
    pub fn from_code(code: i32) -> Option<Self> {
        usize::try_from(code)
            .ok()
            .and_then(|index| Self::ALL.get(index))
            .copied()
    }

    /// Its number in the ABI.
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// Bytes of one element; `None` for [`DType::String`].
    pub const fn size_bytes(self) -> Option<usize> {
        match self {
            Self::Bool | Self::U8 | Self::I8 => Some(1),
            Self::U16 | Self::I16 | Self::F16 | Self::BF16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::String => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DType;

    #[test]
    fn codes_round_trip_and_others_are_refused() {
        for (number, dtype) in (0..).zip(DType::ALL) {
            assert_eq!((dtype.code(), DType::from_code(number)), (number, Some(dtype)));
        }
        for code in [-1, 14, i32::MIN, i32::MAX] {
            assert_eq!(DType::from_code(code), None, "{code}");
        }
    }
}
