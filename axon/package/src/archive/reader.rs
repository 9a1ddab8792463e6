//! Reading archives that strangers made.

use super::entries::{Entries, read_up_to};
use crate::{
    Error, FileEntry, MANIFEST_NAME, Manifest, Result,
    error::At,
    limits::{ARCHIVE_RATIO_FLOOR_BYTES, ARCHIVE_RATIO_MAX, BUFFER_BYTES, ZSTD_WINDOW_LOG_MAX},
    store::{parent, sync_dir},
};
use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, BufReader, Read, SeekFrom},
    path::{Path, PathBuf},
};

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// An archive whose manifest has been read and validated.
pub struct Reader {
    path: PathBuf,
    entries: Entries<Box<dyn Read + Send>>,
    manifest: Manifest,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Reads only the manifest of an archive.
///
/// # Errors
/// Those of [`Reader::open`].
pub fn read_manifest(path: &Path) -> Result<Manifest> {
    Reader::open(path).map(|reader| reader.manifest)
}

/// Unpacks an archive into the new directory `target`, manifest included. Everything is checked while it is written
/// into a temporary directory beside it; an error leaves nothing behind.
///
/// # Errors
/// [`Error::Conflict`] when `target` exists; [`Error::ArchiveEntry`], [`Error::HashMismatch`] and others when the
/// archive is not what it says.
pub fn unpack(path: &Path, target: &Path) -> Result<Manifest> {
    if fs::symlink_metadata(target).is_ok() {
        return Err(Error::Conflict {
            what: format!("{} exists; remove it first", target.display()),
        });
    }
    let mut reader = Reader::open(path)?;
    let temporary = parent(target).join(format!(".{}.axon.tmp", crate::unique()));
    fs::create_dir(&temporary).at(&temporary)?;
    let unpacked = reader.unpack_into(&temporary).and_then(|()| {
        fs::rename(&temporary, target).at(target)?;
        sync_dir(parent(target))
    });
    if unpacked.is_err() {
        // Best effort: the error that counts is the one that is returned.
        let _ = fs::remove_dir_all(&temporary);
    }
    unpacked.map(|()| reader.manifest)
}

impl Reader {
    /// Opens an archive and reads its manifest.
    ///
    /// # Errors
    /// [`Error::Archive`] when it is none; [`Error::ManifestInvalid`]; [`Error::Limit`] for a bomb.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).at(path)?;
        let size_bytes = file.metadata().at(path)?.len();
        Self::new(file, size_bytes, path)
    }

    /// The same over any seekable source of `size_bytes`; `path` names it in errors.
    ///
    /// # Errors
    /// Those of [`Reader::open`].
    pub fn new<R: Read + io::Seek + Send + 'static>(
        mut source: R,
        size_bytes: u64,
        path: &Path,
    ) -> Result<Self> {
        let mut magic = [0; 4];
        let got = read_up_to(&mut source, &mut magic).at(path)?;
        source.seek(SeekFrom::Start(0)).at(path)?;
        let source = BufReader::with_capacity(BUFFER_BYTES, source);
        let content: Box<dyn Read + Send> = match &magic[..got] {
            magic if *magic == ZSTD_MAGIC => {
                let mut decoder = zstd::Decoder::with_buffer(source).at(path)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).at(path)?;
                Box::new(decoder)
            }
            magic if magic.starts_with(&GZIP_MAGIC) => Box::new(flate2::bufread::MultiGzDecoder::new(source)),
            _ => {
                let reason = "it starts with neither the zstd nor the gzip magic number".into();
                return Err(Error::Archive {
                    path: path.into(),
                    reason,
                });
            }
        };
        let mut entries = Entries::new(content, path);
        let manifest = entries.manifest()?;
        check_ratio(&manifest, size_bytes, path)?;
        entries.allow(&manifest);
        Ok(Self {
            path: path.to_owned(),
            entries,
            manifest,
        })
    }

    /// The manifest; it is valid.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Calls `take` for every file, in the archive's order. What `take` leaves unread is read for it, so that every
    /// hash is checked.
    ///
    /// # Errors
    /// What `take` returns, and everything that is wrong with the archive.
    pub fn for_each_file(
        &mut self,
        mut take: impl FnMut(&FileEntry, &mut dyn Read) -> Result<()>,
    ) -> Result<()> {
        let mut missing: HashMap<String, FileEntry> = self
            .manifest
            .spec
            .format
            .files
            .iter()
            .map(|file| (file.path.clone(), file.clone()))
            .collect();
        while let Some((name, size)) = self.entries.next_file()? {
            let Some(file) = missing.remove(&name) else {
                let reason = match self.manifest.file(&name) {
                    Some(_) => "it is there twice",
                    None => "it is not in the manifest",
                };
                return Err(Error::ArchiveEntry {
                    entry: name,
                    reason: reason.into(),
                });
            };
            if size != file.size {
                return Err(Error::SizeMismatch {
                    path: file.path,
                    expected: file.size,
                    actual: size,
                });
            }
            self.entries.content(&file, &mut take)?;
        }
        match missing.into_keys().min() {
            Some(path) => {
                let reason = format!("`{path}` is in the manifest but not in the archive");
                Err(Error::Archive {
                    path: self.path.clone(),
                    reason,
                })
            }
            None => Ok(()),
        }
    }

    fn unpack_into(&mut self, dir: &Path) -> Result<()> {
        let root = dir.to_owned();
        self.for_each_file(|file, content| {
            let target = root.join(&file.path);
            fs::create_dir_all(parent(&target)).at(&target)?;
            let mut out = File::create_new(&target).at(&target)?;
            io::copy(content, &mut out).at(&target)?;
            out.sync_all().at(&target)
        })?;
        self.manifest.write(&dir.join(MANIFEST_NAME))
    }
}

/// An archive that says it unpacks to very many times its size is made to fill the disk.
fn check_ratio(manifest: &Manifest, archive_bytes: u64, path: &Path) -> Result<()> {
    let total_bytes = manifest.size_bytes();
    if total_bytes > ARCHIVE_RATIO_FLOOR_BYTES && total_bytes / archive_bytes.max(1) > ARCHIVE_RATIO_MAX {
        let what = format!(
            "{}: {total_bytes} bytes out of {archive_bytes}: ratio",
            path.display()
        );
        return Err(Error::Limit {
            what,
            max: ARCHIVE_RATIO_MAX,
        });
    }
    Ok(())
}
