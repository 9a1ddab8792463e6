//! Element types: ONNX Runtime's names for the interface's.

use mlos_smi::DType;
use ort::sys::ONNXTensorElementDataType as ElementType;
use ort::value::TensorElementType;

/// ONNX Runtime's name.
pub(crate) fn to_onnx(dtype: DType) -> ElementType {
    match dtype {
        DType::Bool => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
        DType::U8 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
        DType::U16 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
        DType::U32 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,
        DType::U64 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
        DType::I8 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
        DType::I16 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
        DType::I32 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
        DType::I64 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
        DType::F16 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
        DType::BF16 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
        DType::F32 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        DType::F64 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
        DType::String => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
    }
}

/// The interface's type; `None` for those that it does not carry (complex, 8-bit floats, 4-bit integers).
pub(crate) fn from_onnx(element: TensorElementType) -> Option<DType> {
    Some(match element {
        TensorElementType::Bool => DType::Bool,
        TensorElementType::Uint8 => DType::U8,
        TensorElementType::Uint16 => DType::U16,
        TensorElementType::Uint32 => DType::U32,
        TensorElementType::Uint64 => DType::U64,
        TensorElementType::Int8 => DType::I8,
        TensorElementType::Int16 => DType::I16,
        TensorElementType::Int32 => DType::I32,
        TensorElementType::Int64 => DType::I64,
        TensorElementType::Float16 => DType::F16,
        TensorElementType::Bfloat16 => DType::BF16,
        TensorElementType::Float32 => DType::F32,
        TensorElementType::Float64 => DType::F64,
        TensorElementType::String => DType::String,
        _ => return None,
    })
}

/// The safe crate's name.
pub(crate) fn to_element(dtype: DType) -> TensorElementType {
    match dtype {
        DType::Bool => TensorElementType::Bool,
        DType::U8 => TensorElementType::Uint8,
        DType::U16 => TensorElementType::Uint16,
        DType::U32 => TensorElementType::Uint32,
        DType::U64 => TensorElementType::Uint64,
        DType::I8 => TensorElementType::Int8,
        DType::I16 => TensorElementType::Int16,
        DType::I32 => TensorElementType::Int32,
        DType::I64 => TensorElementType::Int64,
        DType::F16 => TensorElementType::Float16,
        DType::BF16 => TensorElementType::Bfloat16,
        DType::F32 => TensorElementType::Float32,
        DType::F64 => TensorElementType::Float64,
        DType::String => TensorElementType::String,
    }
}

/// The type by its name in ONNX Runtime's reports.
pub(crate) fn from_report(name: &str) -> Option<DType> {
    Some(match name {
        "bool" => DType::Bool,
        "uint8" => DType::U8,
        "uint16" => DType::U16,
        "uint32" => DType::U32,
        "uint64" => DType::U64,
        "int8" => DType::I8,
        "int16" => DType::I16,
        "int32" => DType::I32,
        "int64" => DType::I64,
        "float16" => DType::F16,
        "bfloat16" => DType::BF16,
        "float" => DType::F32,
        "double" => DType::F64,
        "string" => DType::String,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_agree() {
        for dtype in DType::ALL {
            assert_eq!(from_onnx(to_element(dtype)), Some(dtype));
            assert_eq!(ElementType::from(to_element(dtype)), to_onnx(dtype));
        }
    }
}
