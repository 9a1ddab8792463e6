//! Weights that an ONNX graph keeps in files beside it.

use crate::Result;
use std::path::Path;

/// A file that a graph refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalFile {
    /// Its path, relative to the graph's directory.
    pub location: String,
    /// How long it must at least be, bytes: the end of the furthest tensor.
    pub needed_bytes: u64,
    /// How long it is; none when it is not there.
    pub actual_bytes: Option<u64>,
}

impl ExternalFile {
    /// Whether it is there and long enough.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.actual_bytes
            .is_some_and(|actual| actual >= self.needed_bytes)
    }
}

/// The external-data files that the ONNX graph at `path` names, sorted by location; empty when it has none.
///
/// # Errors
/// [`Error::NotAModel`](crate::Error::NotAModel) when the graph is damaged, or names a file outside its directory.
pub fn external_files(path: &Path) -> Result<Vec<ExternalFile>> {
    super::wire::external(path)
}
