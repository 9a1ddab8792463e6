//! The installation of one model: its files arrive, then its manifest makes it exist.

use super::{
    Installed, PartFile, Store,
    lock::{self, Lock},
    parent,
    part::Expected,
    sync_dir, tree,
};
use crate::{
    Error, FileEntry, MANIFEST_NAME, Manifest, ModelId, Result, Sha256, error::At, manifest::write_whole,
    path,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What [`Store::stage`] finds once it has the model's lock.
#[derive(Debug)]
pub enum Stage {
    /// The model is installed, perhaps by whoever had the lock before.
    Installed(Box<Installed>),
    /// It is to be installed.
    New(Staging),
}

/// The right to install one model, held against every other process. Files are added with [`Staging::file`] from
/// any number of threads; [`Staging::commit`] makes the model exist. Dropped before that, nothing is installed,
/// and what was downloaded is found again by the next try.
#[derive(Clone, Debug)]
pub struct Staging {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Store,
    /// Whether blobs that are there are hashed before they are used.
    pub(crate) distrust: bool,
    id: ModelId,
    finished: Mutex<BTreeMap<String, FileEntry>>,
    _install: Lock,
    _store: Lock,
}

impl Inner {
    pub(crate) fn finished(&self, entry: &FileEntry) {
        self.files().insert(entry.path.clone(), entry.clone());
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, FileEntry>> {
        // A panic elsewhere leaves the map whole: each change is one insert.
        self.finished.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Begins to install `id`, which has a version. Waits while another process installs it.
    ///
    /// # Errors
    /// [`Error::Id`] without a version; [`Error::Conflict`] when another model's directory is in the way.
    pub fn stage(&self, id: &ModelId) -> Result<Stage> {
        let install = lock::install(self, id)?;
        self.staged(id, install)
    }

    /// Like [`Store::stage`], but does not wait.
    ///
    /// # Errors
    /// Those of [`Store::stage`], and [`Error::Busy`] while another process installs it.
    pub fn try_stage(&self, id: &ModelId) -> Result<Stage> {
        let install = lock::try_install(self, id)?;
        self.staged(id, install)
    }

    /// Begins to install `id` although it may be installed: to repair it, or because its manifest changed. Files
    /// that the store has are hashed before they are used again. The old model stays until the commit.
    ///
    /// # Errors
    /// Those of [`Store::stage`].
    pub fn stage_again(&self, id: &ModelId) -> Result<Staging> {
        let install = lock::install(self, id)?;
        self.new_staging(id, install, true)
    }

    fn staged(&self, id: &ModelId, install: Lock) -> Result<Stage> {
        match self.get(id)? {
            Some(installed) => Ok(Stage::Installed(Box::new(installed))),
            None => Ok(Stage::New(self.new_staging(id, install, false)?)),
        }
    }

    fn new_staging(&self, id: &ModelId, install: Lock, distrust: bool) -> Result<Staging> {
        self.check_place(id)?;
        let finished = Mutex::default();
        let store_lock = lock::shared(self)?;
        let (store, id) = (self.clone(), id.clone());
        Ok(Staging {
            inner: Arc::new(Inner {
                store,
                distrust,
                id,
                finished,
                _install: install,
                _store: store_lock,
            }),
        })
    }

    /// Refuses a model whose directory would lie inside another's, or around one.
    fn check_place(&self, id: &ModelId) -> Result<()> {
        let dir = self.model_dir(id)?;
        let conflict = |what: String| Err(Error::Conflict { what });
        if self.is_inside_model(&dir) {
            return conflict(format!(
                "{id} would lie inside the directory of another installed model"
            ));
        }
        if tree::is_model(&dir) {
            return Ok(());
        }
        match super::scan(&dir)?.models.first() {
            Some(other) => conflict(format!("{id} would lie around the installed model {}", other.id)),
            None => Ok(()),
        }
    }
}

impl Staging {
    /// The model that is being installed.
    #[must_use]
    pub fn id(&self) -> &ModelId {
        &self.inner.id
    }

    /// Opens the file at `path` of the package. With a hash, a file that the store has is not written again, and a
    /// download that was cut goes on where it ended.
    ///
    /// # Errors
    /// [`Error::ManifestInvalid`] when the path may not stand in a package.
    pub fn file(&self, path: &str, sha256: Option<Sha256>, size: Option<u64>) -> Result<PartFile> {
        check_path(path)?;
        PartFile::open(self.inner.clone(), path, Expected { sha256, size }, None)
    }

    /// Like [`Staging::file`] for content whose hash is not known beforehand. `key` stands for the content: its URL
    /// with its `ETag` or commit, so that a cut download goes on only if the content is still the same.
    ///
    /// # Errors
    /// Those of [`Staging::file`].
    pub fn file_keyed(&self, path: &str, key: &str, size: Option<u64>) -> Result<PartFile> {
        check_path(path)?;
        PartFile::open(
            self.inner.clone(),
            path,
            Expected { sha256: None, size },
            Some(key),
        )
    }

    /// The files that are finished, sorted by path: what goes into the manifest.
    #[must_use]
    pub fn files(&self) -> Vec<FileEntry> {
        self.inner.files().values().cloned().collect()
    }

    /// Makes the model exist, with exactly the files that were finished.
    ///
    /// # Errors
    /// [`Error::ManifestInvalid`]; [`Error::Conflict`] when the manifest names another model or other files.
    pub fn commit(&self, manifest: &Manifest) -> Result<Installed> {
        let yaml = manifest.to_yaml()?;
        self.check_same(manifest)?;
        let store = &self.inner.store;
        let new = store.tmp_dir().join(format!("{}.model", crate::unique()));
        let placed = self.build(&new, manifest, &yaml).and_then(|()| self.place(&new));
        if placed.is_err() {
            // Best effort: `gc` finds it otherwise.
            let _ = fs::remove_dir_all(&new);
        }
        Installed::read(&placed?)
    }

    fn check_same(&self, manifest: &Manifest) -> Result<()> {
        let conflict = |what: String| Err(Error::Conflict { what });
        let id = manifest.id()?;
        if id != self.inner.id {
            return conflict(format!(
                "the manifest is of {id}, but {} is being installed",
                self.inner.id
            ));
        }
        let finished = self.inner.files();
        for file in &manifest.spec.format.files {
            let same = |it: &FileEntry| it.size == file.size && it.sha256.eq_ignore_ascii_case(&file.sha256);
            match finished.get(&file.path) {
                None => {
                    return conflict(format!(
                        "{id}: `{}` is in the manifest but did not arrive",
                        file.path
                    ));
                }
                Some(it) if same(it) => {}
                Some(it) if it.size != file.size => {
                    let (expected, actual) = (file.size, it.size);
                    return Err(Error::SizeMismatch {
                        path: file.path.clone(),
                        expected,
                        actual,
                    });
                }
                Some(it) => {
                    let (expected, actual) = (file.sha256.clone(), it.sha256.clone());
                    return Err(Error::HashMismatch {
                        path: file.path.clone(),
                        expected,
                        actual,
                    });
                }
            }
        }
        match finished.keys().find(|path| manifest.file(path).is_none()) {
            Some(extra) => conflict(format!("{id}: `{extra}` arrived but is not in the manifest")),
            None => Ok(()),
        }
    }

    /// Puts the whole directory together where nobody looks.
    fn build(&self, new: &Path, manifest: &Manifest, yaml: &str) -> Result<()> {
        let mut directories = BTreeSet::from([new.to_owned()]);
        fs::create_dir(new).at(new)?;
        for file in &manifest.spec.format.files {
            let target = new.join(&file.path);
            let directory = parent(&target);
            fs::create_dir_all(directory).at(directory)?;
            directories.extend(
                directory
                    .ancestors()
                    .take_while(|above| *above != new)
                    .map(Path::to_owned),
            );
            link(&self.inner.store.blob_path(&file.digest()?), &target)?;
        }
        write_whole(&new.join(MANIFEST_NAME), yaml.as_bytes())?;
        directories.iter().try_for_each(|directory| sync_dir(directory))
    }

    /// Moves it to where everybody looks.
    fn place(&self, new: &Path) -> Result<PathBuf> {
        let store = &self.inner.store;
        store.check_place(&self.inner.id)?;
        let target = store.model_dir(&self.inner.id)?;
        if tree::is_model(&target) {
            store.take_away(&target)?;
        }
        // A removal of the model's last version may delete the parents between the two steps, but not often.
        for last in [false, false, true] {
            fs::create_dir_all(parent(&target)).at(parent(&target))?;
            match fs::rename(new, &target) {
                Ok(()) => break,
                Err(e) if e.kind() == io::ErrorKind::NotFound && !last => {}
                Err(e) => return Err(e).at(&target),
            }
        }
        let models = store.models_dir();
        let above = target
            .ancestors()
            .skip(1)
            .take_while(|above| above.starts_with(&models));
        above.into_iter().try_for_each(sync_dir)?;
        Ok(target)
    }
}

fn check_path(path: &str) -> Result<()> {
    path::check(path).map_err(|what| Error::ManifestInvalid {
        origin: format!("file `{path}`"),
        problems: crate::Problems(vec![crate::Problem {
            at: "path".into(),
            what,
        }]),
    })
}

/// Links `target` to the blob, or copies it where the file system has no (more) hard links.
fn link(blob: &Path, target: &Path) -> Result<()> {
    use io::ErrorKind::{CrossesDevices, NotFound, PermissionDenied, StorageFull, TooManyLinks, Unsupported};
    match fs::hard_link(blob, target) {
        Ok(()) => Ok(()),
        Err(e)
            if matches!(
                e.kind(),
                CrossesDevices | TooManyLinks | Unsupported | PermissionDenied
            ) =>
        {
            fs::copy(blob, target).at(target)?;
            File::open(target).at(target)?.sync_all().at(target)
        }
        Err(e) if e.kind() == StorageFull => Err(e).at(target),
        Err(e) if e.kind() == NotFound => Err(e).at(blob),
        Err(e) => Err(e).at(target),
    }
}
