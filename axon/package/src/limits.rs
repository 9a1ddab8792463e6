//! Every bound of this crate, in one place. A package comes from a stranger: nothing in it may decide how
//! much memory, disk or time is spent on it.

/// Longest `manifest.yaml`, bytes: room for [`FILES_MAX`] files.
pub const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// Most files in one package.
pub const FILES_MAX: usize = 16_384;
/// Longest path of a file inside a package, bytes.
pub const PATH_BYTES_MAX: usize = 1_024;
/// Longest component of a path, bytes: what every usual file system can store.
pub const COMPONENT_BYTES_MAX: usize = 255;
/// Deepest path inside a package, components.
pub const PATH_DEPTH_MAX: usize = 16;
/// Largest package once unpacked, bytes.
pub const PACKAGE_BYTES_MAX: u64 = 4 << 40;

/// Longest segment of a model's namespace or name, bytes: the hubs allow 96.
pub const ID_SEGMENT_BYTES_MAX: usize = 96;
/// Most segments in a model's name (`org/model`, publisher paths).
pub const ID_SEGMENTS_MAX: usize = 8;
/// Longest version, bytes: a commit's sha256 is 64.
pub const VERSION_BYTES_MAX: usize = 128;
/// Longest text that is compared when names are suggested, bytes: the comparison is quadratic.
pub const SUGGEST_BYTES_MAX: usize = 256;

/// Most inputs, and most outputs, of a model.
pub const PORTS_MAX: usize = 1_024;
/// Most dimensions of a tensor in a manifest.
pub const RANK_MAX: usize = 32;

/// An archive may unpack to this many times its own size …
pub const ARCHIVE_RATIO_MAX: u64 = 200;
/// … but a small one is not asked: below this a bomb does no harm, bytes.
pub const ARCHIVE_RATIO_FLOOR_BYTES: u64 = 64 << 20;
/// Largest window that a zstd frame may ask for, as a power of two (128 MiB).
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Unit of reading, hashing and writing, bytes.
pub const BUFFER_BYTES: usize = 1 << 20;

/// Deepest nesting that a protobuf walk follows; ONNX control flow nests graphs.
pub const WIRE_DEPTH_MAX: usize = 32;
/// Most fields that one protobuf walk reads.
pub const WIRE_FIELDS_MAX: u64 = 64 << 20;
/// Longest string taken out of a protobuf message, bytes.
pub const WIRE_TEXT_BYTES_MAX: u64 = 4_096;
/// Most external-data files that one graph may name.
pub const EXTERNAL_FILES_MAX: usize = 65_536;
/// Largest SafeTensors header, bytes: the reference implementation's own bound.
pub const SAFETENSORS_HEADER_BYTES_MAX: u64 = 100_000_000;
/// How much of a zip's end is searched for its directory, bytes: record plus longest comment.
pub const ZIP_TAIL_BYTES: u64 = 22 + 65_535;
/// Most entries of a zip's directory that are looked at.
pub const ZIP_ENTRIES_MAX: usize = 65_536;
