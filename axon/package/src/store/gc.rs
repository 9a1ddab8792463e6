//! Collecting what nothing refers to: blobs of removed models, and what killed processes left behind.

use super::{Store, lock, scan};
use crate::{Result, Sha256, error::At};
use std::{
    collections::HashSet,
    fs::{self, DirEntry},
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

/// Whether downloads that were cut are kept, to be gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partials {
    /// Keep them.
    Keep,
    /// Delete them too.
    Delete,
}

/// What [`Store::gc`] deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs of no model.
    pub blobs: u64,
    /// Partial downloads and other leftovers.
    pub leftovers: u64,
    /// Disk space given back, bytes.
    pub bytes: u64,
}

impl Store {
    /// Deletes blobs that no model has, and leftovers of killed processes.
    ///
    /// # Errors
    /// [`Error::Busy`](crate::Error::Busy) while an install runs, for it may need what looks unused.
    pub fn gc(&self, partials: Partials) -> Result<Collected> {
        let _alone = lock::whole(self)?;
        let mut collected = Collected::default();
        for entry in entries(&self.tmp_dir())? {
            if partials == Partials::Keep && entry.path().extension().is_some_and(|it| it == "part") {
                continue;
            }
            collected.bytes += remove_any(&entry)?;
            collected.leftovers += 1;
        }
        let used = self.used()?;
        for fan in entries(&self.blobs_dir())? {
            for blob in entries(&fan.path())? {
                let meta = blob.metadata().at(&blob.path())?;
                let named = blob
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse::<Sha256>().ok());
                // Two independent signs of use, because deleting a model's only copy cannot be undone: a hard link,
                // and (for file systems without) a manifest that lists it.
                if meta.nlink() > 1 || named.is_some_and(|sha256| used.contains(&sha256)) {
                    continue;
                }
                fs::remove_file(blob.path()).at(&blob.path())?;
                collected.blobs += 1;
                collected.bytes += meta.len();
            }
        }
        Ok(collected)
    }

    /// Disk space of all blobs, and of partial downloads, bytes.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn disk_bytes(&self) -> Result<(u64, u64)> {
        let mut blobs = 0;
        for fan in entries(&self.blobs_dir())? {
            blobs += sizes(&fan.path())?;
        }
        Ok((blobs, sizes(&self.tmp_dir())?))
    }

    fn used(&self) -> Result<HashSet<Sha256>> {
        let models = scan(&self.models_dir())?.models;
        let files = models.iter().flat_map(|model| &model.manifest.spec.format.files);
        files.map(crate::FileEntry::digest).collect()
    }
}

fn entries(dir: &Path) -> Result<Vec<DirEntry>> {
    fs::read_dir(dir).and_then(Iterator::collect).at(dir)
}

fn sizes(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in entries(dir)? {
        match entry.metadata() {
            Ok(meta) if meta.is_file() => bytes += meta.len(),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).at(&entry.path()),
        }
    }
    Ok(bytes)
}

fn remove_any(entry: &DirEntry) -> Result<u64> {
    let path = entry.path();
    let meta = entry.metadata().at(&path)?;
    if meta.is_dir() {
        // Its files are links to blobs, which are counted when they go.
        fs::remove_dir_all(&path).at(&path)?;
        return Ok(0);
    }
    fs::remove_file(&path).at(&path)?;
    Ok(meta.len())
}
