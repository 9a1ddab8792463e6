//! The content-addressed store of installed models.
//!
//! ```text
//! <root>/blobs/sha256/ab/abcdef…            every file once, read-only
//!        models/<ns>/<name…>/<version>/…    hard links to blobs, and manifest.yaml
//!        tmp/                               partial downloads, models being put together or taken away
//!        locks/                             flock files, never deleted (deleting one is a race)
//! ```
//!
//! A model exists when its `manifest.yaml` does: the directory is put together under `tmp/` and renamed into place
//! whole. Blobs are written, synced and renamed. So a kill or a power cut at any instruction leaves the model
//! either installed or not, and never half. What it may leave is garbage in `tmp/`, which [`Store::gc`] collects.

mod files;
mod gc;
mod import;
mod lock;
mod part;
mod staging;
mod tree;
mod verify;

pub use files::list_files;
pub use gc::{Collected, Partials};
pub use part::PartFile;
pub use staging::{Stage, Staging};
pub use tree::{Installed, Scan, scan};
pub use verify::{FileCheck, FileState, VerifyProgress, VerifyReport};

use crate::{Error, ModelId, Result, Sha256, error::At, nearest};
use std::{
    cmp::Ordering,
    fs::{self, File},
    path::{Path, PathBuf},
};

/// Names the directory of the store, over `~/.axon`.
pub const HOME_VARIABLE: &str = "AXON_HOME";

/// A store of models under one directory. Cheap to clone; any number of processes may use one at a time.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens the store under `root`, creating it when it is not there.
    ///
    /// # Errors
    /// When the directories cannot be created.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let store = Self { root: root.into() };
        for directory in [
            store.blobs_dir(),
            store.models_dir(),
            store.tmp_dir(),
            store.locks_dir(),
        ] {
            fs::create_dir_all(&directory).at(&directory)?;
        }
        Ok(store)
    }

    /// Where the store is when nobody says otherwise: `$AXON_HOME`, else `~/.axon`.
    ///
    /// # Errors
    /// [`Error::FileNotFound`] when there is no home directory.
    pub fn default_root() -> Result<PathBuf> {
        let named = std::env::var_os(HOME_VARIABLE)
            .filter(|path| !path.is_empty())
            .map(PathBuf::from);
        named
            .or_else(|| std::env::home_dir().map(|home| home.join(".axon")))
            .ok_or_else(|| Error::FileNotFound {
                path: PathBuf::from("~"),
            })
    }

    /// The directory of the store.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory with one directory per model, as [`scan`] takes it.
    #[must_use]
    pub fn models_dir(&self) -> PathBuf {
        self.root.join("models")
    }

    pub(crate) fn blobs_dir(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    pub(crate) fn tmp_dir(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(crate) fn locks_dir(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// Where the blob of this digest is, or would be.
    #[must_use]
    pub fn blob_path(&self, sha256: &Sha256) -> PathBuf {
        let hex = sha256.to_string();
        self.blobs_dir().join(&hex[..2]).join(hex)
    }

    /// Every installed model, sorted by id. Models whose manifest cannot be read are left out; [`scan`] of
    /// [`Store::models_dir`] names them.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> Result<Vec<Installed>> {
        Ok(scan(&self.models_dir())?.models)
    }

    /// Exactly this model and version, if it is installed.
    ///
    /// # Errors
    /// [`Error::Id`] when the id has no version; what reading its manifest returns.
    pub fn get(&self, id: &ModelId) -> Result<Option<Installed>> {
        let dir = self.model_dir(id)?;
        // A file of another model may lie under this path and be called manifest.yaml.
        if self.is_inside_model(&dir) {
            return Ok(None);
        }
        match Installed::read(&dir) {
            Ok(installed) if installed.id == *id => Ok(Some(installed)),
            Ok(_) | Err(Error::FileNotFound { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The installed model that `id` means. Without a version, or with `latest`: the highest semantic version, or
    /// the one installed last when the versions are not semantic. Upper and lower case may differ when no other
    /// model is meant by that.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`] with names that look like it.
    pub fn resolve(&self, id: &ModelId) -> Result<Installed> {
        if id.version().is_some()
            && let Some(installed) = self.get(id)?
        {
            return Ok(installed);
        }
        let models = self.list()?;
        let version = id.version().filter(|&version| version != "latest");
        let matching = |same: fn(&str, &str) -> bool| {
            let of_version =
                |m: &&Installed| version.is_none_or(|v| m.id.version().is_some_and(|it| same(it, v)));
            models
                .iter()
                .filter(|m| same(&m.id.base(), &id.base()))
                .filter(of_version)
                .collect::<Vec<_>>()
        };
        let mut found = matching(|a, b| a == b);
        if found.is_empty() {
            found = matching(str::eq_ignore_ascii_case);
            found.dedup_by_key(|m| m.id.base());
            if found.len() == 1 {
                found = matching(str::eq_ignore_ascii_case);
            } else {
                found.clear();
            }
        }
        newest(&found).cloned().ok_or_else(|| not_found(id, &models))
    }

    /// Every installed version of the model, or the one that `id` names, sorted by id.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`] when there is none.
    pub fn versions(&self, id: &ModelId) -> Result<Vec<Installed>> {
        let models = self.list()?;
        let wanted = |m: &&Installed| m.id.base() == id.base() && (id.version().is_none() || m.id == *id);
        let found: Vec<_> = models.iter().filter(wanted).cloned().collect();
        if found.is_empty() {
            Err(not_found(id, &models))
        } else {
            Ok(found)
        }
    }

    /// Uninstalls the version that `id` names, or every version when it names none. Files that no other model has
    /// are deleted, at once or, while an install runs, by the next [`Store::gc`].
    ///
    /// # Errors
    /// [`Error::ModelNotFound`]; [`Error::Busy`] while the model is being installed.
    pub fn remove(&self, id: &ModelId) -> Result<Vec<ModelId>> {
        let mut removed = Vec::new();
        for installed in self.versions(id)? {
            let _install = lock::try_install(self, &installed.id)?;
            self.take_away(&installed.dir)?;
            self.prune(&installed.dir);
            removed.push(installed.id);
        }
        match self.gc(Partials::Keep) {
            Ok(_) | Err(Error::Busy { .. }) => Ok(removed),
            Err(e) => Err(e),
        }
    }

    /// Where the model of this id is, or would be.
    pub(crate) fn model_dir(&self, id: &ModelId) -> Result<PathBuf> {
        let Some(version) = id.version() else {
            return Err(Error::Id {
                text: id.to_string(),
                reason: "it has no version".into(),
            });
        };
        Ok(self
            .models_dir()
            .join(id.namespace())
            .join(id.name())
            .join(version))
    }

    /// Whether a directory above `dir` is a model of its own: `ns/a@b` and `ns/a/b@c` cannot both exist.
    pub(crate) fn is_inside_model(&self, dir: &Path) -> bool {
        let models = self.models_dir();
        dir.ancestors()
            .skip(1)
            .take_while(|above| **above != models)
            .any(tree::is_model)
    }

    /// Moves a model's directory out of sight in one step, then deletes it.
    pub(crate) fn take_away(&self, dir: &Path) -> Result<()> {
        let trash = self.tmp_dir().join(format!("{}.old", crate::unique()));
        fs::rename(dir, &trash).at(dir)?;
        sync_dir(parent(dir))?;
        fs::remove_dir_all(&trash).at(&trash)
    }

    /// Removes the directories above a removed model that are empty now.
    fn prune(&self, dir: &Path) {
        let models = self.models_dir();
        // Stops at the first one that is not empty, which is what makes it fail.
        let _ = dir
            .ancestors()
            .skip(1)
            .take_while(|above| **above != models)
            .try_for_each(fs::remove_dir);
    }
}

fn not_found(id: &ModelId, models: &[Installed]) -> Error {
    let bases: Vec<String> = models.iter().map(|m| m.id.base()).collect();
    let known: Vec<String> = models.iter().map(|m| m.id.to_string()).collect();
    let nearest = match id.version() {
        Some(_) => nearest(&id.to_string(), known.iter().map(String::as_str), 3),
        None => nearest(&id.base(), bases.iter().map(String::as_str), 3),
    };
    Error::ModelNotFound {
        id: id.to_string(),
        nearest,
    }
}

/// By semantic version when all have one, else by time of installation.
fn newest<'a>(models: &[&'a Installed]) -> Option<&'a Installed> {
    fn numbers(m: &Installed) -> Option<(Vec<u64>, bool, &str)> {
        semantic(m.id.version().unwrap_or_default())
    }
    if models.iter().all(|m| numbers(m).is_some()) {
        return models.iter().copied().max_by(|a, b| numbers(a).cmp(&numbers(b)));
    }
    let by_time = |a: &&Installed, b: &&Installed| match a.installed_at.cmp(&b.installed_at) {
        Ordering::Equal => a.id.cmp(&b.id),
        unequal => unequal,
    };
    models.iter().copied().max_by(by_time)
}

/// `1.2.3`, `v1.2`, `1.2.3-rc.1`: the numbers, then whether it is a release, then the pre-release text.
fn semantic(version: &str) -> Option<(Vec<u64>, bool, &str)> {
    let version = version.strip_prefix('v').unwrap_or(version);
    let version = version.split('+').next().unwrap_or(version);
    let (numbers, pre) = version.split_once('-').unwrap_or((version, ""));
    let numbers: Option<Vec<u64>> = numbers.split('.').map(|number| number.parse().ok()).collect();
    numbers
        .filter(|n| n.len() <= 4)
        .map(|numbers| (numbers, pre.is_empty(), pre))
}

/// The directory that `path` is in. Every path here is under the store's root, so there always is one.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Makes renames into `dir` survive a power cut.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).at(dir)?.sync_all().at(dir)
}
