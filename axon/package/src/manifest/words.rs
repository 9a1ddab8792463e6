//! The words of the manifest: sets of names that grow. A word that this version does not know is kept in `Other`,
//! so that a newer manifest can be read and written back unharmed; `validate` says where it matters.

use serde::{Deserialize, Serialize};
use std::{convert::Infallible, fmt, str::FromStr};

/// An enum with a canonical spelling for each variant, further spellings that are read, and `Other`.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal $(| $alias:literal)*,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
            /// A word that this version does not know.
            Other(String),
        }

        impl $name {
            /// Every word that is known.
            pub const KNOWN: &[&str] = &[$($text),+];

            /// The canonical spelling.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(text) => text,
                }
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                match text.to_ascii_lowercase().as_str() {
                    $($text $(| $alias)* => Self::$variant,)+
                    _ => Self::Other(text),
                }
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.as_str().to_owned()
            }
        }

        impl FromStr for $name {
            type Err = Infallible;

            fn from_str(text: &str) -> Result<Self, Infallible> {
                Ok(Self::from(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Element type of a tensor. Short (`f32`), NumPy (`float32`) and protocol (`FP32`) spellings are read.
    Dtype {
        /// IEEE 754 binary32.
        F32 = "float32" | "f32" | "fp32" | "float",
        /// IEEE 754 binary64.
        F64 = "float64" | "f64" | "fp64" | "double",
        /// IEEE 754 binary16.
        F16 = "float16" | "f16" | "fp16" | "half",
        /// bfloat16.
        Bf16 = "bfloat16" | "bf16",
        /// Signed, 8 bits.
        I8 = "int8" | "i8",
        /// Signed, 16 bits.
        I16 = "int16" | "i16",
        /// Signed, 32 bits.
        I32 = "int32" | "i32" | "int",
        /// Signed, 64 bits.
        I64 = "int64" | "i64" | "long",
        /// Unsigned, 8 bits.
        U8 = "uint8" | "u8",
        /// Unsigned, 16 bits.
        U16 = "uint16" | "u16",
        /// Unsigned, 32 bits.
        U32 = "uint32" | "u32",
        /// Unsigned, 64 bits.
        U64 = "uint64" | "u64",
        /// One byte, 0 or 1.
        Bool = "bool" | "boolean",
        /// UTF-8 text.
        String = "string" | "str" | "bytes",
    }
}

words! {
    /// Format of a file that a plugin can run as it is.
    ExecutionFormat {
        /// ONNX graph.
        Onnx = "onnx",
        /// llama.cpp's container.
        Gguf = "gguf",
        /// TensorFlow Lite flat buffer.
        TfLite = "tflite",
        /// Core ML.
        CoreMl = "coreml",
        /// TorchScript or a pickled module.
        PyTorch = "pytorch" | "torchscript",
        /// SafeTensors weights.
        SafeTensors = "safetensors",
        /// TensorFlow SavedModel.
        SavedModel = "savedmodel" | "tensorflow",
    }
}

words! {
    /// What one executable file of a package is for.
    Role {
        /// The only one.
        Single = "single",
        /// Encoder of an encoder-decoder pair.
        Encoder = "encoder",
        /// Its decoder.
        Decoder = "decoder",
        /// Text half of a dual encoder.
        TextEncoder = "text_encoder",
        /// Image half of a dual encoder.
        VisionEncoder = "vision_encoder",
    }
}

words! {
    /// What turns a request's text or image into the tensor of an input.
    PreprocessingKind {
        /// A tokenizer file of the package.
        Tokenizer = "tokenizer",
        /// Decode, resize, normalise.
        Image = "image",
        /// Nothing: the client sends tensors.
        None = "none",
    }
}

words! {
    /// Scheduling class that a model's requests have when they name none.
    Priority {
        /// Served at once, ahead of everything.
        Realtime = "realtime",
        /// Ahead of normal work.
        High = "high",
        /// The default.
        Normal = "normal",
        /// Whenever the core has time.
        Batch = "batch",
    }
}
