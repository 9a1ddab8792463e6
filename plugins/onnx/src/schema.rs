//! Field numbers of `onnx.proto`, as far as they are needed here; each table names its message.

/// `ModelProto`
pub(crate) mod model {
    pub const GRAPH: u32 = 7;
    pub const OPSET_IMPORT: u32 = 8;
    pub const FUNCTIONS: u32 = 25;
}
/// `GraphProto`
pub(crate) mod graph {
    pub const NODE: u32 = 1;
    pub const INITIALIZER: u32 = 5;
    pub const OUTPUT: u32 = 12;
    pub const SPARSE_INITIALIZER: u32 = 15;
}
/// `FunctionProto`
pub(crate) mod function {
    pub const NODE: u32 = 7;
}
/// `SparseTensorProto`
pub(crate) mod sparse {
    pub const VALUES: u32 = 1;
    pub const INDICES: u32 = 2;
}
/// `NodeProto`
pub(crate) mod node {
    pub const INPUT: u32 = 1;
    pub const OUTPUT: u32 = 2;
    pub const NAME: u32 = 3;
    pub const OP_TYPE: u32 = 4;
    pub const ATTRIBUTE: u32 = 5;
    pub const DOMAIN: u32 = 7;
}
/// `AttributeProto`
pub(crate) mod attribute {
    pub const NAME: u32 = 1;
    pub const I: u32 = 3;
    pub const T: u32 = 5;
    pub const G: u32 = 6;
    pub const INTS: u32 = 8;
    pub const TENSORS: u32 = 10;
    pub const GRAPHS: u32 = 11;
    pub const TYPE: u32 = 20;
    /// Value of `TYPE` for integers.
    pub const TYPE_INTS: u64 = 7;
    pub const SPARSE_TENSOR: u32 = 22;
    pub const SPARSE_TENSORS: u32 = 23;
}
/// `TensorProto`
pub(crate) mod tensor {
    pub const DIMS: u32 = 1;
    pub const DATA_TYPE: u32 = 2;
    pub const INT64_DATA: u32 = 7;
    pub const NAME: u32 = 8;
    pub const RAW_DATA: u32 = 9;
    pub const EXTERNAL_DATA: u32 = 13;
    pub const DATA_LOCATION: u32 = 14;
    /// Value of `DATA_LOCATION` for data in another file.
    pub const LOCATION_EXTERNAL: u64 = 1;
    /// Value of `DATA_TYPE` for 32-bit floats.
    pub const TYPE_FLOAT: u64 = 1;
    /// The same for 64-bit integers.
    pub const TYPE_INT64: u64 = 7;
}
/// `StringStringEntryProto`
pub(crate) mod entry {
    pub const KEY: u32 = 1;
    pub const VALUE: u32 = 2;
}
/// `ValueInfoProto`
pub(crate) mod value_info {
    pub const NAME: u32 = 1;
    pub const TYPE: u32 = 2;
}
/// `TypeProto`
pub(crate) mod type_proto {
    pub const TENSOR: u32 = 1;
}
/// `TypeProto.Tensor`
pub(crate) mod tensor_type {
    pub const SHAPE: u32 = 2;
}
/// `TensorShapeProto`
pub(crate) mod shape {
    pub const DIM: u32 = 1;
}
/// `TensorShapeProto.Dimension`
pub(crate) mod dimension {
    pub const NAME: u32 = 2;
}
/// `OperatorSetIdProto`
pub(crate) mod opset {
    pub const DOMAIN: u32 = 1;
    pub const VERSION: u32 = 2;
}
