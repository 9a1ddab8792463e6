use super::ExternalFile;
use crate::Result;
use std::path::Path;
pub(super) fn external(_path: &Path) -> Result<Vec<ExternalFile>> {
    Ok(Vec::new())
}
