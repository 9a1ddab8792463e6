//! Reading and writing manifests.

use super::{API_VERSION, FileEntry, Format, Framework, KIND, Manifest, Metadata, Spec};
use crate::{Error, ModelId, Result, Sha256, error::At, limits::MANIFEST_BYTES_MAX};
use std::{
    fs::{self, File},
    io::{Read, Write},
    path::Path,
};

impl Manifest {
    /// A manifest without files. The id's version is taken, `latest` if it has none.
    #[must_use]
    pub fn new(id: &ModelId, framework: &str, format: &str) -> Self {
        let metadata = Metadata {
            name: id.name().into(),
            namespace: id.namespace().into(),
            version: id.version().unwrap_or("latest").into(),
            ..Metadata::default()
        };
        let spec = Spec {
            framework: Framework {
                name: framework.into(),
                version: String::new(),
            },
            format: Format {
                kind: format.into(),
                ..Format::default()
            },
            ..Spec::default()
        };
        Self {
            api_version: API_VERSION.into(),
            kind: KIND.into(),
            metadata,
            spec,
            distribution: super::Distribution::default(),
            extra: super::Values::new(),
        }
    }

    /// The model's id, version included.
    ///
    /// # Errors
    /// [`Error::Id`]; never for a manifest that validates.
    pub fn id(&self) -> Result<ModelId> {
        ModelId::new(
            &self.metadata.namespace,
            &self.metadata.name,
            Some(&self.metadata.version),
        )
    }

    /// Parses YAML or JSON without judging it; `origin` names it in errors. See [`Manifest::validate`].
    ///
    /// # Errors
    /// [`Error::ManifestSyntax`], or [`Error::Limit`] past [`MANIFEST_BYTES_MAX`].
    pub fn parse(bytes: &[u8], origin: &str) -> Result<Self> {
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(Error::Limit {
                what: format!("{origin}: length in bytes"),
                max: MANIFEST_BYTES_MAX,
            });
        }
        let syntax = |reason: String| Error::ManifestSyntax {
            origin: origin.into(),
            reason,
        };
        let text = std::str::from_utf8(bytes).map_err(|e| syntax(e.to_string()))?;
        super::budget::check(text).map_err(|e| syntax(e.to_string()))?;
        serde_norway::from_str(text).map_err(|e| syntax(e.to_string()))
    }

    /// Parses and validates.
    ///
    /// # Errors
    /// Those of [`Manifest::parse`], or [`Error::ManifestInvalid`] with every problem.
    pub fn parse_valid(bytes: &[u8], origin: &str) -> Result<Self> {
        let manifest = Self::parse(bytes, origin)?;
        manifest.check(origin)?;
        Ok(manifest)
    }

    /// Reads, parses and validates a file.
    ///
    /// # Errors
    /// Those of [`Manifest::parse_valid`], and of reading.
    pub fn read(path: &Path) -> Result<Self> {
        let mut bytes = Vec::new();
        let file = File::open(path).at(path)?;
        file.take(MANIFEST_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .at(path)?;
        Self::parse_valid(&bytes, &path.display().to_string())
    }

    /// The manifest as YAML, if it is valid: what is written can always be read.
    ///
    /// # Errors
    /// [`Error::ManifestInvalid`] with every problem.
    pub fn to_yaml(&self) -> Result<String> {
        let origin = format!("manifest of {}/{}", self.metadata.namespace, self.metadata.name);
        self.check(&origin)?;
        let yaml = serde_norway::to_string(self);
        let yaml = yaml.map_err(|e| Error::ManifestSyntax {
            origin: origin.clone(),
            reason: e.to_string(),
        })?;
        if yaml.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(Error::Limit {
                what: format!("{origin}: length in bytes"),
                max: MANIFEST_BYTES_MAX,
            });
        }
        Ok(yaml)
    }

    /// Writes the manifest so that a reader sees the old file or the new one, also after a crash.
    ///
    /// # Errors
    /// Those of [`Manifest::to_yaml`], and of writing.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_whole(path, self.to_yaml()?.as_bytes())
    }

    /// The entry of one file.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&FileEntry> {
        self.spec.format.files.iter().find(|file| file.path == path)
    }

    /// Length of all files together, bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.spec
            .format
            .files
            .iter()
            .fold(0, |sum, file| sum.saturating_add(file.size))
    }
}

impl FileEntry {
    /// An entry from its parts.
    #[must_use]
    pub fn new(path: impl Into<String>, size: u64, sha256: Sha256) -> Self {
        Self {
            path: path.into(),
            size,
            sha256: sha256.to_string(),
        }
    }

    /// The digest as a value.
    ///
    /// # Errors
    /// [`Error::ManifestInvalid`]; never for an entry of a manifest that validates.
    pub fn digest(&self) -> Result<Sha256> {
        self.sha256
            .parse()
            .map_err(|e: crate::digest::NotSha256| Error::ManifestInvalid {
                origin: self.path.clone(),
                problems: crate::Problems(vec![crate::Problem {
                    at: "sha256".into(),
                    what: e.to_string(),
                }]),
            })
    }
}

/// Replaces `path` by `bytes` in one step: written beside it, synced, renamed, directory synced.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let parent = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = parent.join(format!(".{name}.{}.tmp", crate::unique()));
    let written = (|| {
        let mut file = File::create_new(&temporary).at(&temporary)?;
        file.write_all(bytes).at(path)?;
        file.sync_all().at(path)?;
        fs::rename(&temporary, path).at(path)?;
        File::open(parent).at(parent)?.sync_all().at(parent)
    })();
    if written.is_err() {
        // Best effort: the error that counts is the one that is returned.
        let _ = fs::remove_file(&temporary);
    }
    written
}
