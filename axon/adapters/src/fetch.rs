//! All files of a model, several at a time.

use std::{cmp::Reverse, collections::HashSet, path::Path, sync::Arc};

use axon_package::{
    Staging, Store,
    detect::{self, Format},
};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{Adapter, Error, Progress, RemoteFile, Resolved, Result, download::blocking, limits};

/// How the files of a model come into the store.
#[derive(Clone)]
pub struct Fetch {
    /// Where they are from.
    pub adapter: Arc<dyn Adapter>,
    /// Where they go.
    pub store: Store,
    /// The model that they become.
    pub staging: Staging,
    /// How many at the same time.
    pub parallel: usize,
    /// Who hears about it.
    pub progress: Arc<dyn Progress>,
}

impl Fetch {
    /// Fetches every file, the largest first. The first failure ends it; what came so far is found again by the
    /// next try. Data files that a graph refers to and that no name told of are fetched too.
    ///
    /// # Errors
    /// Those of [`Adapter::fetch`]; [`Error::NotFound`] for data that a graph refers to and the source does not have.
    pub async fn run(&self, resolved: &Resolved) -> Result<()> {
        self.fetch(&resolved.files).await?;
        let missing = self.referred(resolved).await?;
        self.fetch(&missing).await
    }

    async fn fetch(&self, files: &[RemoteFile]) -> Result<()> {
        let mut files = files.to_vec();
        // Short ones fill the gaps at the end, when fewer streams than cores are left.
        files.sort_by_key(|file| Reverse(file.size));
        let turns = Arc::new(Semaphore::new(self.parallel.clamp(1, limits::PARALLEL_MAX)));
        let mut running = JoinSet::new();
        for file in files {
            let (turns, fetch) = (turns.clone(), self.clone());
            running.spawn(async move {
                let _turn = turns.acquire().await.expect("never closed");
                fetch.adapter.fetch(&file, &fetch.staging, &*fetch.progress).await
            });
        }
        while let Some(ended) = running.join_next().await {
            ended.expect("a fetch does not panic")?;
        }
        Ok(())
    }

    /// The data files that the graphs refer to and that were not chosen by name.
    async fn referred(&self, resolved: &Resolved) -> Result<Vec<RemoteFile>> {
        let files = self.staging.files();
        let fetched: HashSet<&str> = files.iter().map(|entry| entry.path.as_str()).collect();
        let mut missing: Vec<RemoteFile> = Vec::new();
        for graph in files.iter().filter(|entry| entry.path.ends_with(".onnx")) {
            let blob = self.store.blob_path(&graph.digest()?);
            let named = graph.path.clone();
            for location in blocking(move || data_of(&blob, &named)).await? {
                let path = beside(&graph.path, &location);
                if fetched.contains(path.as_str()) || missing.iter().any(|file| file.path == path) {
                    continue;
                }
                let found = resolved.available.iter().find(|file| file.path == path).cloned();
                missing.push(found.ok_or_else(|| incomplete(&path, &graph.path))?);
            }
        }
        Ok(missing)
    }
}

/// Where a graph says that its data lies. What is no graph after all is said when the manifest is made.
fn data_of(blob: &Path, named: &str) -> Result<Vec<String>> {
    if detect::detect(blob)?.format != Format::Onnx {
        return Ok(Vec::new());
    }
    let files = detect::external_files(blob).map_err(|error| with_name(error, named))?;
    Ok(files.into_iter().map(|data| data.location).collect())
}

/// The name of a blob means nothing to a person.
pub(crate) fn with_name(error: axon_package::Error, named: &str) -> Error {
    Error::Package(match error {
        axon_package::Error::NotAModel { reason, .. } => axon_package::Error::NotAModel {
            path: named.to_owned(),
            reason,
        },
        other => other,
    })
}

fn incomplete(path: &str, graph: &str) -> Error {
    Error::NotFound {
        what: format!("{path}, which {graph} refers to,"),
        host: "the model's source".into(),
        hint: "; the model is incomplete there",
    }
}

/// A location in a graph is relative to the graph's directory.
fn beside(graph: &str, location: &str) -> String {
    let location = location.trim_start_matches("./");
    match graph.rsplit_once('/') {
        Some((directory, _)) => format!("{directory}/{location}"),
        None => location.to_owned(),
    }
}
