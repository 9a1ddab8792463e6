//! A registry in a directory: models with their manifests, as a team shares them on a file server, or as the store of
//! another user or machine holds them.

use std::path::PathBuf;

use axon_package::{FileEntry, Installed, ModelId, Staging, scan};

use crate::{
    Adapter, Answer, Error, FormatChoice, Progress, Reference, RemoteFile, Resolved, Result, Source,
    download::blocking,
    local::{self, with_manifest},
    reference::Target,
};

/// The adapter. It takes the models that lie in its directory, under whatever namespace.
#[derive(Clone, Debug)]
pub struct Registry {
    root: PathBuf,
}

impl Registry {
    /// The registry in this directory: any tree in which models lie in directories with a `manifest.yaml`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The model that is meant: the version that was named, else the one that was put there last.
    fn find(&self, reference: &Reference) -> Result<Option<Installed>> {
        let (Target::Model(_), Ok(id)) = (reference.target(), ModelId::parse(reference.text())) else {
            return Ok(None);
        };
        let version = id.version().filter(|&version| version != "latest");
        let is_meant = |model: &Installed| {
            model.id.base() == id.base() && version.is_none_or(|version| model.id.version() == Some(version))
        };
        let models = scan(&self.root)?.models.into_iter().filter(is_meant);
        Ok(models.max_by_key(|model| model.installed_at))
    }
}

impl Adapter for Registry {
    fn name(&self) -> &'static str {
        "registry"
    }

    fn can_handle(&self, reference: &Reference) -> bool {
        // A registry that cannot be read is an error of its own, which `resolve` tells.
        self.find(reference).map_or(true, |found| found.is_some())
    }

    fn resolve<'a>(&'a self, reference: &'a Reference, _choice: FormatChoice) -> Answer<'a, Resolved> {
        Box::pin(async move {
            let (registry, wanted) = (self.clone(), reference.clone());
            let found = blocking(move || registry.find(&wanted)).await?;
            let found = found.ok_or_else(|| Error::NoAdapter {
                text: reference.text().into(),
            })?;
            with_manifest(&found.dir, found.manifest, Source::Directory(found.dir.clone()))
        })
    }

    fn fetch<'a>(
        &'a self,
        file: &'a RemoteFile,
        staging: &'a Staging,
        progress: &'a dyn Progress,
    ) -> Answer<'a, FileEntry> {
        Box::pin(local::fetch(file, staging, progress))
    }
}
