//! What every hub can do, and which hub a reference goes to.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use axon_package::{FileEntry, Staging};

use crate::{Error, FormatChoice, Reference, RemoteFile, Resolved, Result};

/// A future that may be kept in a box: the trait must be usable as an object.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// One kind of source for models: a hub, a registry, the local disk.
///
/// Adding a hub is one type with these methods and one line in [`Adapters`]. A hub whose models are archives or
/// need conversion resolves to files as well: what it fetches is up to [`Adapter::fetch`].
pub trait Adapter: Send + Sync + fmt::Debug {
    /// Short name, as it stands in messages.
    fn name(&self) -> &'static str;

    /// Whether this adapter takes the reference. The first one that does gets it.
    fn can_handle(&self, reference: &Reference) -> bool;

    /// Finds the model, pins its revision, and lists the files to fetch.
    fn resolve<'a>(&'a self, reference: &'a Reference, choice: FormatChoice) -> Answer<'a, Resolved>;

    /// Brings one file into the store, checked. A try that was cut before is gone on with.
    fn fetch<'a>(
        &'a self,
        file: &'a RemoteFile,
        staging: &'a Staging,
        progress: &'a dyn Progress,
    ) -> Answer<'a, FileEntry>;

    /// Ids of models that match the words; hubs without a search find nothing.
    fn search<'a>(&'a self, words: &'a str, max: usize) -> Answer<'a, Vec<String>> {
        let _ = (words, max);
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// Hears how far the files are. Called from several threads.
pub trait Progress: Send + Sync {
    /// A file begins, or begins again, with so many bytes here already.
    fn at(&self, path: &str, have_bytes: u64, total_bytes: u64);
    /// So many more bytes came.
    fn advance(&self, path: &str, bytes: u64);
    /// A file is complete and checked.
    fn done(&self, path: &str, total_bytes: u64);
}

/// For callers that do not look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn at(&self, _path: &str, _have_bytes: u64, _total_bytes: u64) {}
    fn advance(&self, _path: &str, _bytes: u64) {}
    fn done(&self, _path: &str, _total_bytes: u64) {}
}

/// The adapters, in the order in which they are asked.
#[derive(Clone, Debug, Default)]
pub struct Adapters(Vec<Arc<dyn Adapter>>);

impl Adapters {
    /// No adapters.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one behind the others.
    #[must_use]
    pub fn with(mut self, adapter: impl Adapter + 'static) -> Self {
        self.0.push(Arc::new(adapter));
        self
    }

    /// The first one that takes the reference.
    ///
    /// # Errors
    /// [`Error::NoAdapter`].
    pub fn find(&self, reference: &Reference) -> Result<Arc<dyn Adapter>> {
        let found = self
            .0
            .iter()
            .find(|adapter| adapter.can_handle(reference))
            .cloned();
        found.ok_or_else(|| Error::NoAdapter {
            text: reference.text().to_owned(),
        })
    }
}
