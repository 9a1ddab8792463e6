//! Bounds that every edge applies before the engine sees a request.

/// Longest model id, in bytes.
pub const MODEL_ID_BYTES_MAX: usize = 512;
/// Most inputs a request may carry.
pub const INPUTS_MAX: usize = 64;
/// Longest tensor name, in bytes.
pub const TENSOR_NAME_BYTES_MAX: usize = 256;
/// Longest deadline that is accepted: an hour.
pub const DEADLINE_MAX_MS: u64 = 3_600_000;
/// Names suggested for an unknown model.
pub const NEAREST_MAX: usize = 3;
/// Bytes that an edge decodes or encodes between two calls of `Service::breathe`: about 100 us of parsing.
pub const BREATHE_BYTES: usize = 64 * 1024;
