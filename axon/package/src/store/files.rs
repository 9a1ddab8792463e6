//! The files of a directory, as a package would list them.

use crate::{Error, FileEntry, MANIFEST_NAME, Result, Sha256, error::At, limits, path};
use std::{
    fs::{self, File},
    path::Path,
};

/// Hashes every file below `dir`: the `files` of a manifest for it, sorted by path. `manifest.yaml` at the top is
/// left out. Links to files are followed (hub caches consist of them), links to directories are not.
///
/// # Errors
/// When a file cannot be read, may not stand in a package, or is no regular file.
pub fn list_files(dir: &Path) -> Result<Vec<FileEntry>> {
    let entry = |relative: String| {
        let path = dir.join(&relative);
        let (sha256, size) = Sha256::of_reader(&mut File::open(&path).at(&path)?, &path)?;
        Ok(FileEntry::new(relative, size, sha256))
    };
    walk(dir)?.into_iter().map(entry).collect()
}

/// Paths of every file below `dir`, relative to it, sorted.
pub(crate) fn walk(dir: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    walk_into(dir, "", &mut found)?;
    found.sort_unstable();
    Ok(found)
}

fn walk_into(dir: &Path, prefix: &str, found: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(dir).at(dir)? {
        let entry = entry.at(dir)?;
        let refuse = |reason: &str| Error::ArchiveEntry {
            entry: entry.path().display().to_string(),
            reason: reason.to_owned(),
        };
        let name = entry.file_name();
        let relative = format!(
            "{prefix}{}",
            name.to_str().ok_or_else(|| refuse("its name is not UTF-8"))?
        );
        if relative == MANIFEST_NAME {
            continue;
        }
        path::check(&relative).map_err(|what| refuse(&format!("its path {what}")))?;
        let kind = entry.file_type().at(&entry.path())?;
        if kind.is_dir() {
            walk_into(&entry.path(), &format!("{relative}/"), found)?;
            continue;
        }
        if !fs::metadata(entry.path()).at(&entry.path())?.is_file() {
            return Err(refuse("it is neither a file nor a directory"));
        }
        if found.len() == limits::FILES_MAX {
            return Err(Error::Limit {
                what: format!("{}: number of files", dir.display()),
                max: limits::FILES_MAX as u64,
            });
        }
        found.push(relative);
    }
    Ok(())
}
