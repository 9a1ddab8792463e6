//! One file on its way into the store: hashed while it is written, resumable, moved into place when it is right.

use super::{Store, parent, staging::Inner, sync_dir};
use crate::{Error, FileEntry, Result, Sha256, error::At, limits::BUFFER_BYTES};
use sha2::Digest as _;
use std::{
    fs::{self, File, Permissions, TryLockError},
    io::{self, BufWriter, Seek as _, SeekFrom, Write},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A file that is being downloaded or copied into the store. Write its bytes with [`Write`] or
/// [`PartFile::append`], then call [`PartFile::finish`]. Dropped before that, what was written stays, and the next
/// [`Staging::file`](super::Staging::file) for the same content goes on from there.
#[derive(Debug)]
pub struct PartFile {
    staging: Arc<Inner>,
    path: String,
    expected: Expected,
    state: State,
}

/// What is known of the file beforehand.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Expected {
    pub(crate) sha256: Option<Sha256>,
    pub(crate) size: Option<u64>,
}

#[derive(Debug)]
enum State {
    /// The store has these bytes already.
    Stored { sha256: Sha256, size: u64 },
    /// They are being written.
    Open(Writing),
}

#[derive(Debug)]
struct Writing {
    out: BufWriter<File>,
    temporary: PathBuf,
    hasher: sha2::Sha256,
    len_bytes: u64,
}

impl PartFile {
    /// Finds the blob, or opens the partial file and hashes what is there. `key` names partial files of content
    /// whose hash is unknown; without either, the partial file is not found again.
    pub(crate) fn open(
        staging: Arc<Inner>,
        path: &str,
        expected: Expected,
        key: Option<&str>,
    ) -> Result<Self> {
        if let Some(state) = stored(&staging, expected)? {
            return Ok(Self {
                staging,
                path: path.into(),
                expected,
                state,
            });
        }
        let name = expected
            .sha256
            .or_else(|| key.map(|key| Sha256::of(key.as_bytes())));
        let writing = Writing::open(&staging.store, name, expected)?;
        Ok(Self {
            staging,
            path: path.into(),
            expected,
            state: State::Open(writing),
        })
    }

    /// Path of the file inside the package.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// How many bytes are there already: where a download goes on.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        match &self.state {
            State::Stored { size, .. } => *size,
            State::Open(writing) => writing.len_bytes,
        }
    }

    /// Whether nothing needs to be written any more: the store has the file, or all of it was written before.
    /// [`PartFile::finish`] is still to be called.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        match &self.state {
            State::Stored { .. } => true,
            State::Open(writing) => self.expected.size == Some(writing.len_bytes),
        }
    }

    /// Throws away what was written, for a server that cannot go on in the middle.
    ///
    /// # Errors
    /// When the file cannot be truncated.
    pub fn restart(&mut self) -> Result<()> {
        match &mut self.state {
            State::Stored { .. } => Ok(()),
            State::Open(writing) => writing.truncate(),
        }
    }

    /// Writes the next bytes of the file.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`] as soon as there are more than expected; [`Error::NoSpace`].
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let State::Open(writing) = &mut self.state else {
            // A caller that does not ask `is_complete` downloads for nothing, but harms nothing.
            return Ok(());
        };
        let after = writing.len_bytes + bytes.len() as u64;
        if let Some(expected) = self.expected.size.filter(|&size| after > size) {
            return Err(Error::SizeMismatch {
                path: self.path.clone(),
                expected,
                actual: after,
            });
        }
        writing.out.write_all(bytes).at(&writing.temporary)?;
        writing.hasher.update(bytes);
        writing.len_bytes = after;
        Ok(())
    }

    /// Checks length and hash, and moves the file into the store.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`]: what was written stays, to be gone on with, unless it is too long.
    /// [`Error::HashMismatch`]: what was written is deleted, for it is wrong somewhere.
    pub fn finish(self) -> Result<FileEntry> {
        let (sha256, size) = match self.state {
            State::Stored { sha256, size } => {
                check_size(&self.path, self.expected, size)?;
                (sha256, size)
            }
            State::Open(writing) => writing.finish(&self.staging, &self.path, self.expected)?,
        };
        let entry = FileEntry::new(self.path, size, sha256);
        self.staging.finished(&entry);
        Ok(entry)
    }
}

impl Write for PartFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.state {
            State::Stored { .. } => Ok(()),
            State::Open(writing) => writing.out.flush(),
        }
    }
}

/// The blob with the expected hash, if the store has it and it can be trusted.
fn stored(staging: &Inner, expected: Expected) -> Result<Option<State>> {
    let Some(sha256) = expected.sha256 else {
        return Ok(None);
    };
    let path = staging.store.blob_path(&sha256);
    let size = match fs::metadata(&path) {
        Ok(meta) => meta.len(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).at(&path),
    };
    let suspicious = staging.distrust || expected.size.is_some_and(|expected| expected != size);
    if !suspicious || Sha256::of_reader(&mut File::open(&path).at(&path)?, &path)?.0 == sha256 {
        return Ok(Some(State::Stored { sha256, size }));
    }
    // Unlinked, not overwritten: other models may have it open, and they are told by `verify`.
    fs::remove_file(&path).at(&path)?;
    Ok(None)
}

impl Writing {
    fn open(store: &Store, name: Option<Sha256>, expected: Expected) -> Result<Self> {
        let (file, temporary) = match name {
            Some(name) => open_locked(&store.tmp_dir().join(format!("{name}.part")))?,
            None => None,
        }
        .map_or_else(|| open_private(store), Ok)?;
        let mut writing = Self {
            out: BufWriter::with_capacity(BUFFER_BYTES, file),
            temporary,
            hasher: sha2::Sha256::new(),
            len_bytes: 0,
        };
        writing.hash_prefix()?;
        if expected.size.is_some_and(|size| writing.len_bytes > size) {
            writing.truncate()?;
        }
        Ok(writing)
    }

    fn hash_prefix(&mut self) -> Result<()> {
        let Self {
            out,
            temporary,
            hasher,
            len_bytes,
        } = self;
        crate::digest::copy_chunks(out.get_mut(), temporary, |chunk| {
            hasher.update(chunk);
            *len_bytes += chunk.len() as u64;
            Ok(())
        })
    }

    fn truncate(&mut self) -> Result<()> {
        self.out.flush().at(&self.temporary)?;
        let file = self.out.get_mut();
        file.set_len(0).at(&self.temporary)?;
        file.seek(SeekFrom::Start(0)).at(&self.temporary)?;
        self.hasher = sha2::Sha256::new();
        self.len_bytes = 0;
        Ok(())
    }

    fn finish(mut self, staging: &Inner, path: &str, expected: Expected) -> Result<(Sha256, u64)> {
        self.out.flush().at(&self.temporary)?;
        let (sha256, size) = (Sha256(self.hasher.finalize().into()), self.len_bytes);
        if let Some(expected) = expected.size.filter(|&expected| expected != size) {
            return Err(Error::SizeMismatch {
                path: path.into(),
                expected,
                actual: size,
            });
        }
        if let Some(expected) = expected.sha256.filter(|&expected| expected != sha256) {
            fs::remove_file(&self.temporary).at(&self.temporary)?;
            let (expected, actual) = (expected.to_string(), sha256.to_string());
            return Err(Error::HashMismatch {
                path: path.into(),
                expected,
                actual,
            });
        }
        // The lock on the file is held until `self.out` goes, after the rename.
        place(staging, self.out.get_ref(), &self.temporary, &sha256)?;
        Ok((sha256, size))
    }
}

fn check_size(path: &str, expected: Expected, actual: u64) -> Result<()> {
    match expected.size.filter(|&expected| expected != actual) {
        Some(expected) => Err(Error::SizeMismatch {
            path: path.into(),
            expected,
            actual,
        }),
        None => Ok(()),
    }
}

/// Moves a complete file to where its digest says.
fn place(staging: &Inner, file: &File, temporary: &Path, sha256: &Sha256) -> Result<()> {
    let blob = staging.store.blob_path(sha256);
    let size = file.metadata().at(temporary)?.len();
    // Whoever else stored it has the models that link to it; replacing theirs would only cost space.
    if !staging.distrust && fs::metadata(&blob).is_ok_and(|meta| meta.len() == size) {
        return fs::remove_file(temporary).at(temporary);
    }
    file.sync_all().at(temporary)?;
    let directory = parent(&blob);
    if !directory.exists() {
        fs::create_dir_all(directory).at(directory)?;
        sync_dir(parent(directory))?;
    }
    fs::rename(temporary, &blob).at(&blob)?;
    // Not before: a partial file that a killed process left read-only could not be opened again.
    file.set_permissions(Permissions::from_mode(0o444)).at(&blob)?;
    sync_dir(directory)
}

/// A partial file of its own, for content without a name to find it by or that another process is writing.
fn open_private(store: &Store) -> Result<(File, PathBuf)> {
    let path = store.tmp_dir().join(format!("{}.new", crate::unique()));
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .at(&path)?;
    Ok((file, path))
}

/// The partial file at `path`, locked; none when another process has it. That one is not waited for: two installs
/// that wait for each other's files would never end.
fn open_locked(path: &Path) -> Result<Option<(File, PathBuf)>> {
    loop {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .at(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(e).at(path),
        }
        // Whoever had it before may have moved it into place while we opened it: then it is not ours to write.
        let is_ours = |meta: fs::Metadata| file.metadata().is_ok_and(|ours| ours.ino() == meta.ino());
        if fs::metadata(path).is_ok_and(is_ours) {
            return Ok(Some((file, path.to_owned())));
        }
    }
}
