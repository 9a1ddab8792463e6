//! Whether an installed model still is what was installed: every byte is hashed again.

use super::{Installed, Store, files::walk};
use crate::{Error, FileEntry, ModelId, Result, digest::copy_chunks, error::At};
use sha2::Digest as _;
use std::fs::File;

/// How far a verification is.
#[derive(Clone, Copy, Debug)]
pub struct VerifyProgress<'a> {
    /// The file that is being hashed.
    pub path: &'a str,
    /// Bytes hashed, of all files.
    pub done_bytes: u64,
    /// Bytes of all files.
    pub total_bytes: u64,
}

/// What one file was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileState {
    /// Length and hash are those of the manifest.
    Intact,
    /// It is gone.
    Missing,
    /// It has another length.
    Resized {
        /// Length now, bytes.
        actual: u64,
    },
    /// It has the length and another content.
    Altered {
        /// Hash now.
        actual: String,
    },
    /// The system does not let it be read.
    Unreadable {
        /// The system's words.
        reason: String,
    },
    /// It is in the directory but not in the manifest.
    Unlisted,
}

/// One file and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileCheck {
    /// Path inside the package.
    pub path: String,
    /// What it was found to be.
    pub state: FileState,
}

/// Result of [`Store::verify`].
#[derive(Clone, Debug)]
pub struct VerifyReport {
    /// The model.
    pub id: ModelId,
    /// Every file of the manifest, in its order, then files that are not in it.
    pub files: Vec<FileCheck>,
}

impl VerifyReport {
    /// Whether every file is what it was.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.damaged().next().is_none()
    }

    /// The files that are not.
    pub fn damaged(&self) -> impl Iterator<Item = &FileCheck> {
        self.files.iter().filter(|file| file.state != FileState::Intact)
    }

    /// What to do about it; none when there is nothing to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        if self.is_intact() {
            return None;
        }
        let only_unlisted = self.damaged().all(|file| file.state == FileState::Unlisted);
        Some(if only_unlisted {
            "delete the files that do not belong there".into()
        } else {
            format!(
                "run `axon install --force {}` to fetch the damaged files again",
                self.id
            )
        })
    }
}

impl Store {
    /// Hashes every file of the model that `id` means (see [`Store::resolve`]).
    ///
    /// # Errors
    /// [`Error::ModelNotFound`]. Damage is not an error but is in the report.
    pub fn verify(&self, id: &ModelId, progress: &mut dyn FnMut(VerifyProgress<'_>)) -> Result<VerifyReport> {
        self.resolve(id)?.verify(progress)
    }
}

impl Installed {
    /// Hashes every file of this model.
    ///
    /// # Errors
    /// When its directory cannot be read. Damage is not an error but is in the report.
    pub fn verify(&self, progress: &mut dyn FnMut(VerifyProgress<'_>)) -> Result<VerifyReport> {
        let total_bytes = self.size_bytes();
        let mut done_bytes = 0;
        let mut files = Vec::new();
        for file in &self.manifest.spec.format.files {
            let mut tick = |bytes: u64| {
                done_bytes += bytes;
                progress(VerifyProgress {
                    path: &file.path,
                    done_bytes,
                    total_bytes,
                });
            };
            files.push(FileCheck {
                path: file.path.clone(),
                state: self.state(file, &mut tick),
            });
        }
        let present = walk(&self.dir)?;
        let unlisted = present
            .into_iter()
            .filter(|path| self.manifest.file(path).is_none());
        files.extend(unlisted.map(|path| FileCheck {
            path,
            state: FileState::Unlisted,
        }));
        Ok(VerifyReport {
            id: self.id.clone(),
            files,
        })
    }

    fn state(&self, file: &FileEntry, tick: &mut dyn FnMut(u64)) -> FileState {
        match self.hash(file, tick) {
            Ok(state) => state,
            Err(Error::FileNotFound { .. }) => FileState::Missing,
            Err(e) => FileState::Unreadable {
                reason: e.to_string(),
            },
        }
    }

    fn hash(&self, file: &FileEntry, tick: &mut dyn FnMut(u64)) -> Result<FileState> {
        let path = self.file_path(&file.path);
        let mut reader = File::open(&path).at(&path)?;
        let actual = reader.metadata().at(&path)?.len();
        if actual != file.size {
            return Ok(FileState::Resized { actual });
        }
        let mut hasher = sha2::Sha256::new();
        copy_chunks(&mut reader, &path, |chunk| {
            hasher.update(chunk);
            tick(chunk.len() as u64);
            Ok(())
        })?;
        let actual = crate::Sha256(hasher.finalize().into());
        let intact = actual == file.digest()?;
        Ok(if intact {
            FileState::Intact
        } else {
            FileState::Altered {
                actual: actual.to_string(),
            }
        })
    }
}
