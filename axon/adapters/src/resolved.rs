//! A model as an adapter found it: pinned, with its files, before anything is fetched.

use std::path::PathBuf;

use axon_package::{Manifest, ModelId, Sha256};

/// A model that can be fetched.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What it will be called, version included.
    pub id: ModelId,
    /// Where its bytes are.
    pub source: Source,
    /// The manifest that came with it, if one did.
    pub manifest: Option<Manifest>,
    /// The files to fetch.
    pub files: Vec<RemoteFile>,
    /// Every file that the source has, the ones to fetch among them.
    pub available: Vec<RemoteFile>,
    /// What the source says about it.
    pub about: About,
}

/// Where the bytes of a model are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A revision of a hub's repository.
    Hub {
        /// The page of the model.
        page: String,
        /// Branch, tag or commit that was asked for.
        revision: String,
        /// The commit that it is, 40 hexadecimal digits.
        commit: String,
    },
    /// A directory, or a file in one.
    Directory(PathBuf),
    /// An `.axon` archive.
    Archive(PathBuf),
}

/// What a source says about a model, as far as it says anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// One line.
    pub description: String,
    /// SPDX id or the hub's word.
    pub license: String,
    /// Who made it.
    pub author: String,
    /// Framework that the hub names.
    pub library: String,
    /// Free words.
    pub tags: Vec<String>,
}

/// One file at its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// Path inside the package.
    pub path: String,
    /// Length, bytes.
    pub size: u64,
    /// What its content must hash to.
    pub checksum: Checksum,
    /// URL, or path on this machine.
    pub url: String,
}

/// What is known of a file's content beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// SHA-256 of the bytes: LFS objects.
    Sha256(Sha256),
    /// Git's id of the content as a blob: all other files of a repository.
    GitBlob([u8; 20]),
    /// Nothing: files of this machine.
    Unknown,
}

impl Resolved {
    /// Length of the files to fetch, bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.files
            .iter()
            .fold(0, |sum, file| sum.saturating_add(file.size))
    }

    /// The commit, if the source is a hub.
    #[must_use]
    pub fn commit(&self) -> Option<&str> {
        match &self.source {
            Source::Hub { commit, .. } => Some(commit),
            _ => None,
        }
    }
}
