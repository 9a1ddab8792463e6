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
