//! The `.axon` archive: a tar, compressed with zstd or gzip, whose first entry is `manifest.yaml` and whose other
//! entries are exactly the files that the manifest lists.
//!
//! The writer is deterministic: same files and manifest, same bytes. The reader trusts nothing: it takes regular
//! files with listed names only (no directory, link, device, or extended header), once each, with the listed size
//! and hash, and stops decompressing where the listed sizes end. So there is no name to escape with, and the only
//! bomb left is an honest one, which the ratio limit catches before the first byte is written.

mod entries;
mod reader;
mod writer;

pub use reader::{Reader, read_manifest, unpack};
pub use writer::{Packed, pack, write};

/// How an archive is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// zstd, level 3: the default.
    #[default]
    Zstd,
    /// gzip, for tools that know no zstd.
    Gzip,
}
