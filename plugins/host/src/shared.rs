//! Which tensors a plugin may use where another process writes them.
//!
//! The host itself never makes a reference to such memory (see `mlos_tensor_mem::Region`). A plugin gets its address, and
//! the other process may change what lies there in the middle of a kernel. For a number that is computed with, that only
//! makes the result wrong, in memory of whoever did it. But engines check an index, a size or a condition first and
//! read it again when they use it (ONNX Runtime's `Gather` looks at all indices before it copies, its `Compress` counts the true
//! ones before it writes), and a value that has changed in between leads outside of their own memory. So element types
//! that engines use for those are copied: inputs before the call, outputs, which later nodes of a graph may read, after it.
//! They are small (token ids, masks, labels); what is large, images and embeddings, stays where it is.

use mlos_tensor_mem::DType;

/// Whether a plugin works on tensors of this type in place.
pub(crate) const fn stays_in_place(dtype: DType) -> bool {
    match dtype {
        DType::F16 | DType::BF16 | DType::F32 | DType::F64 => true,
        // Samples of images and sound, quantised activations. No engine that we know takes an index of these types.
        DType::U8 | DType::I8 | DType::U16 | DType::I16 => true,
        DType::Bool | DType::U32 | DType::I32 | DType::U64 | DType::I64 => false,
        // Lengths inside.
        DType::String => false,
    }
}
