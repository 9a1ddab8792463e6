//! Installing what lies on this machine: a directory, or an `.axon` archive.

use super::{Installed, PartFile, Stage, Staging, Store};
use crate::{FileEntry, Manifest, Result, archive, digest::copy_chunks, error::At};
use std::{fs::File, io::Read, path::Path};

impl Store {
    /// Installs the files of `manifest` from `dir`, copying them. A model that is installed already is left as it is.
    ///
    /// # Errors
    /// When a file is missing or is not the one that the manifest lists.
    pub fn import_dir(&self, dir: &Path, manifest: &Manifest) -> Result<Installed> {
        manifest.check(&dir.display().to_string())?;
        let staging = match self.stage(&manifest.id()?)? {
            Stage::Installed(installed) => return Ok(*installed),
            Stage::New(staging) => staging,
        };
        for file in &manifest.spec.format.files {
            let path = dir.join(&file.path);
            add(&staging, file, &mut File::open(&path).at(&path)?, &path)?;
        }
        staging.commit(manifest)
    }

    /// Installs an `.axon` archive. A model that is installed already is left as it is.
    ///
    /// # Errors
    /// Those of [`archive::unpack`], and of installing.
    pub fn import_archive(&self, path: &Path) -> Result<Installed> {
        let mut archive = archive::Reader::open(path)?;
        let manifest = archive.manifest().clone();
        let staging = match self.stage(&manifest.id()?)? {
            Stage::Installed(installed) => return Ok(*installed),
            Stage::New(staging) => staging,
        };
        archive.for_each_file(|file, content| add(&staging, file, content, path))?;
        staging.commit(&manifest)
    }
}

fn add(staging: &Staging, file: &FileEntry, content: &mut dyn Read, origin: &Path) -> Result<()> {
    let mut part = staging.file(&file.path, Some(file.digest()?), Some(file.size))?;
    if !part.is_complete() {
        part.restart()?;
        fill(&mut part, content, origin)?;
    }
    part.finish().map(drop)
}

fn fill(part: &mut PartFile, mut content: &mut dyn Read, origin: &Path) -> Result<()> {
    copy_chunks(&mut content, origin, |chunk| part.append(chunk))
}
