//! Rust types that are tensor elements.

use crate::{DType, Error};

mod sealed {
    pub trait Sealed {}
}

/// A Rust type with the layout of one [`DType`]. Sealed: typed access to a tensor's bytes rests on that layout.
pub trait Element: Copy + Send + Sync + 'static + sealed::Sealed {
    /// The element type.
    const DTYPE: DType;

    /// Whether these bytes are values of this type. Any bytes are, but for `bool`.
    #[doc(hidden)]
    fn check(_bytes: &[u8]) -> Result<(), Error> {
        Ok(())
    }
}

macro_rules! elements {
    ($($rust:ty => $dtype:ident),* $(,)?) => {$(
        impl sealed::Sealed for $rust {}
        impl Element for $rust {
            const DTYPE: DType = DType::$dtype;
        }
        const _: () = assert!(matches!(DType::$dtype.size_bytes(), Some(n) if n == size_of::<$rust>()));
        const _: () = assert!(align_of::<$rust>() <= crate::limits::ALIGN_BYTES);
    )*};
}

elements! {
    u8 => U8, u16 => U16, u32 => U32, u64 => U64,
    i8 => I8, i16 => I16, i32 => I32, i64 => I64,
    half::f16 => F16, half::bf16 => BF16, f32 => F32, f64 => F64,
}

impl sealed::Sealed for bool {}
impl Element for bool {
    const DTYPE: DType = DType::Bool;

    fn check(bytes: &[u8]) -> Result<(), Error> {
        match bytes.iter().position(|&byte| byte > 1) {
            None => Ok(()),
            Some(element) => Err(Error::InvalidBool {
                element,
                byte: bytes[element],
            }),
        }
    }
}
const _: () = assert!(size_of::<bool>() == 1);
