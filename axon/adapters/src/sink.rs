//! Where the bytes of one file go: into the store's partial file and through the checks, on a thread of its own, so
//! that hashing and writing overlap with the network.

use axon_package::{FileEntry, PartFile, Staging};
use reqwest::Url;
use sha1::{Digest as _, Sha1};
use tokio::sync::mpsc;

use crate::{Checksum, Error, RemoteFile, Result, limits};

/// One file on its way into the store.
#[derive(Debug)]
pub(crate) struct Sink {
    part: PartFile,
    /// The id that git would give the content, as far as it came; for files that have no SHA-256 beforehand.
    blob: Option<Sha1>,
}

impl Sink {
    /// Opens the partial file. `key` stands for the content where its SHA-256 is unknown.
    pub(crate) fn open(file: &RemoteFile, staging: &Staging, key: &str) -> Result<Self> {
        let part = match file.checksum {
            Checksum::Sha256(sha256) => staging.file(&file.path, Some(sha256), Some(file.size))?,
            _ => staging.file_keyed(&file.path, key, Some(file.size))?,
        };
        let mut sink = Self { part, blob: None };
        if let Checksum::GitBlob(_) = file.checksum {
            // Git's hash of what an earlier try left is not known, and such files are small.
            sink.part.restart()?;
            sink.blob = Some(new_blob(file.size));
        }
        Ok(sink)
    }

    pub(crate) fn len_bytes(&self) -> u64 {
        self.part.len_bytes()
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.part.is_complete()
    }

    pub(crate) fn restart(&mut self, file: &RemoteFile) -> Result<()> {
        self.blob = self.blob.take().map(|_| new_blob(file.size));
        Ok(self.part.restart()?)
    }

    /// Takes chunks until the sender is dropped.
    pub(crate) fn drain(&mut self, mut chunks: mpsc::Receiver<bytes::Bytes>) -> Result<()> {
        while let Some(chunk) = chunks.blocking_recv() {
            self.append(&chunk)?;
        }
        Ok(())
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.part.append(bytes)?;
        if let Some(blob) = &mut self.blob {
            blob.update(bytes);
        }
        Ok(())
    }

    /// Checks the content and moves it into the store.
    pub(crate) fn finish(mut self, file: &RemoteFile) -> Result<FileEntry> {
        if let (Some(blob), Checksum::GitBlob(expected)) = (self.blob.take(), file.checksum) {
            let actual: [u8; 20] = blob.finalize().into();
            if self.part.is_complete() && actual != expected {
                // Kept bytes would be gone on with by the next try.
                self.part.restart()?;
                let (expected, actual) = (hex::encode(expected), hex::encode(actual));
                return Err(Error::Hash {
                    path: file.path.clone(),
                    algorithm: "git blob id",
                    expected,
                    actual,
                });
            }
        }
        Ok(self.part.finish()?)
    }
}

fn new_blob(size: u64) -> Sha1 {
    Sha1::new_with_prefix(format!("blob {size}\0"))
}

/// A key for partial files whose SHA-256 is unknown: the same only while the content is.
pub(crate) fn content_key(file: &RemoteFile, url: &Url) -> String {
    match file.checksum {
        Checksum::GitBlob(id) => format!("git-blob {}", hex::encode(id)),
        _ => format!("{url} {}", file.size),
    }
}

/// A bounded way for chunks from the network to the disk.
pub(crate) fn channel() -> (mpsc::Sender<bytes::Bytes>, mpsc::Receiver<bytes::Bytes>) {
    mpsc::channel(limits::CHUNKS_QUEUED)
}
