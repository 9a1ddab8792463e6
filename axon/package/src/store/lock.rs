//! Locks between processes, by `flock(2)`: the kernel drops them when their holder dies, however it dies.
//!
//! Two kinds. An *install lock* per model and version: whoever comes second waits, then finds the work done. And
//! one *store lock*: shared by every install, exclusive for [`Store::gc`], which must not delete a blob that an
//! install has just found. Order: install lock first, store lock second.

use super::Store;
use crate::{Error, ModelId, Result, Sha256, error::At};
use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
};

/// A held lock; dropped with the value.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Locks the installation of `id`; waits for whoever holds it.
pub(crate) fn install(store: &Store, id: &ModelId) -> Result<Lock> {
    let (file, path) = open(&install_path(store, id))?;
    file.lock().at(&path)?;
    Ok(Lock { _file: file })
}

/// Locks the installation of `id`, or says that it is busy.
pub(crate) fn try_install(store: &Store, id: &ModelId) -> Result<Lock> {
    exclusive(&install_path(store, id), &format!("the installation of {id}"))
}

/// Keeps [`Store::gc`] away; waits while it runs, which is short.
pub(crate) fn shared(store: &Store) -> Result<Lock> {
    let (file, path) = open(&store.locks_dir().join("store.lock"))?;
    file.lock_shared().at(&path)?;
    Ok(Lock { _file: file })
}

/// The whole store for oneself, or busy.
pub(crate) fn whole(store: &Store) -> Result<Lock> {
    exclusive(
        &store.locks_dir().join("store.lock"),
        &format!("the store {}", store.root().display()),
    )
}

fn exclusive(path: &Path, what: &str) -> Result<Lock> {
    let (file, path) = open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { _file: file }),
        Err(TryLockError::WouldBlock) => Err(Error::Busy { what: what.into() }),
        Err(TryLockError::Error(e)) => Err(e).at(&path),
    }
}

fn open(path: &Path) -> Result<(File, PathBuf)> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .at(path)?;
    Ok((file, path.to_owned()))
}

/// Ids may be longer than a file name, so their hash is the name.
fn install_path(store: &Store, id: &ModelId) -> PathBuf {
    store
        .locks_dir()
        .join(format!("{}.lock", Sha256::of(id.to_string().as_bytes())))
}
