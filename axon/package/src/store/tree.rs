//! A tree of model directories: the store's own, or one that was made by hand for the daemon.

use crate::{Error, MANIFEST_NAME, Manifest, ModelId, Result, error::At, limits};
use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// An installed model.
#[derive(Clone, Debug)]
pub struct Installed {
    /// Its id, version included.
    pub id: ModelId,
    /// Its directory: the manifest and every file that it lists.
    pub dir: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// When it was installed.
    pub installed_at: SystemTime,
}

impl Installed {
    /// Reads the model whose manifest lies in `dir`.
    ///
    /// # Errors
    /// [`Error::FileNotFound`] without a manifest, and what [`Manifest::read`] returns.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(MANIFEST_NAME);
        let manifest = Manifest::read(&path)?;
        let installed_at = fs::metadata(&path).and_then(|meta| meta.modified()).at(&path)?;
        Ok(Self {
            id: manifest.id()?,
            dir: dir.to_owned(),
            manifest,
            installed_at,
        })
    }

    /// Path of the manifest on disk.
    #[must_use]
    pub fn manifest_path(&self) -> PathBuf {
        self.dir.join(MANIFEST_NAME)
    }

    /// Path on disk of one of the package's files.
    #[must_use]
    pub fn file_path(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }

    /// Length of all files together, bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.manifest.size_bytes()
    }
}

/// What [`scan`] found.
#[derive(Debug, Default)]
pub struct Scan {
    /// Models, sorted by id.
    pub models: Vec<Installed>,
    /// Directories whose manifest cannot be used, and why.
    pub broken: Vec<(PathBuf, Error)>,
}

/// Finds every model below `root`. Symbolic links to directories are not followed, and a model's own directory is
/// not searched further. A missing `root` holds no models.
///
/// # Errors
/// When `root` itself cannot be read.
pub fn scan(root: &Path) -> Result<Scan> {
    let mut found = Scan::default();
    match walk(root, 0, &mut found) {
        Ok(()) | Err(Error::FileNotFound { .. }) => {}
        Err(e) => return Err(e),
    }
    found.models.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

pub(crate) fn is_model(dir: &Path) -> bool {
    dir.join(MANIFEST_NAME).is_file()
}

fn walk(dir: &Path, depth: usize, found: &mut Scan) -> Result<()> {
    if is_model(dir) {
        match Installed::read(dir) {
            Ok(installed) => found.models.push(installed),
            // Removed between the look and the read.
            Err(Error::FileNotFound { .. }) => {}
            Err(e) => found.broken.push((dir.to_owned(), e)),
        }
        return Ok(());
    }
    // Namespace, name, version.
    if depth > limits::ID_SEGMENTS_MAX + 2 {
        return Ok(());
    }
    for entry in fs::read_dir(dir).at(dir)? {
        let entry = entry.at(dir)?;
        if !entry.file_type().at(&entry.path())?.is_dir() {
            continue;
        }
        match walk(&entry.path(), depth + 1, found) {
            Ok(()) | Err(Error::FileNotFound { .. }) => {}
            Err(e) => found.broken.push((entry.path(), e)),
        }
    }
    Ok(())
}
