//! `axon install`: from a hub, a directory, a file or an archive into the store.

use std::{path::Path, time::Instant};

use axon_adapters::{
    Error as AdapterError, Fetch, FormatChoice, Reference, Resolved, Source, describe, fetch_archive,
};
use axon_package::{Installed, Manifest, ModelId, Stage, Staging, Store};
use serde_json::json;

use crate::{
    answer::Answer,
    bars, cmd,
    context::Context,
    error::{Error, Result},
    size,
};

/// Install a model from a hub, a directory, a model file or an .axon archive
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  axon install hf/distilbert/distilbert-base-uncased       the branch `main`, pinned to its commit
  axon install hf/org/model@v1.0 --format onnx             a tag, branch or commit; ONNX files only
  axon install ./models/digits                             a directory, with or without manifest.yaml
  axon install ./model.onnx --as local/mine@1.0            one file, with the data files it refers to
  axon install ./digits-1.0.0.axon                         an archive made by `axon package`

Environment:
  HF_TOKEN         token for gated and private models; sent to the hub's own host only
  HF_ENDPOINT      another hub that speaks the same protocol
  HF_HUB_OFFLINE   1: use what is installed, never the network

A download that was cut, or killed, goes on where it stopped when the command is run again.
JSON: {\"id\",\"status\":\"installed\"|\"present\"|\"replaced\",\"size_bytes\",\"files\",\"path\",\"manifest_path\",...}")]
pub(crate) struct Install {
    /// hf/organisation/model, with @revision or without, or a path
    source: String,
    /// Which files to fetch: auto, onnx, gguf, safetensors, pytorch, tflite, all
    #[arg(long, short, default_value = "auto", value_name = "FORMAT")]
    format: FormatChoice,
    /// Fetch again what is damaged, and replace what is installed
    #[arg(long)]
    force: bool,
    /// The name to install it under; for sources without a manifest
    #[arg(long = "as", value_name = "ID")]
    named: Option<ModelId>,
    /// Files to download at the same time [default: download.parallel]
    #[arg(long, value_name = "N")]
    parallel: Option<usize>,
}

/// What becomes of a model of the same name that is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Keep,
    Replace,
}

/// What there is to do.
enum Task {
    Nothing(Box<Installed>),
    Install(Staging),
    Replace(Staging),
}

pub(crate) async fn run(context: &Context, arguments: Install) -> Result<Answer> {
    let started = Instant::now();
    let existing = if arguments.force {
        Existing::Replace
    } else {
        Existing::Keep
    };
    let store = context.store()?;
    let reference = Reference::parse(&arguments.source)?;
    let adapter = context.adapters()?.find(&reference)?;
    let mut resolved = match adapter.resolve(&reference, arguments.format).await {
        Err(AdapterError::Offline { .. }) if existing == Existing::Keep => {
            let installed = cmd::find(&store, &arguments.source)?;
            return Ok(answer(&installed, "present", started));
        }
        result => result?,
    };
    if let Some(name) = &arguments.named {
        rename(&mut resolved, name)?;
    }
    let (staging, status) = match task(context, &store, &resolved, existing).await? {
        Task::Nothing(installed) => return Ok(answer(&installed, "present", started)),
        Task::Install(staging) => (staging, "installed"),
        Task::Replace(staging) => (staging, "replaced"),
    };
    let fetch = Fetch {
        adapter,
        store: store.clone(),
        staging: staging.clone(),
        parallel: arguments.parallel.unwrap_or(context.config.download.parallel),
        progress: bars::progress(context),
    };
    let installed = blocking_install(fetch, resolved).await?;
    Ok(answer(&installed, status, started))
}

/// A manifest's own name stands: it is part of what was hashed and signed off by its maker.
fn rename(resolved: &mut Resolved, name: &ModelId) -> Result<()> {
    if resolved.manifest.is_some() {
        return Err(Error::Usage(format!(
            "`--as`: the manifest names it {}; change it there",
            resolved.id
        )));
    }
    resolved.id = match name.version() {
        Some(_) => name.clone(),
        None => name.with_version(resolved.id.version().unwrap_or("latest"))?,
    };
    Ok(())
}

async fn task(context: &Context, store: &Store, resolved: &Resolved, existing: Existing) -> Result<Task> {
    if existing == Existing::Replace {
        return again(store, &resolved.id).await.map(Task::Replace);
    }
    let stage = match store.try_stage(&resolved.id) {
        Err(axon_package::Error::Busy { .. }) => {
            context.note(&format!("waiting for another `axon install` of {}", resolved.id));
            let (store, id) = (store.clone(), resolved.id.clone());
            blocking(move || Ok(store.stage(&id)?)).await?
        }
        result => result?,
    };
    match stage {
        Stage::New(staging) => Ok(Task::Install(staging)),
        Stage::Installed(installed) if is_same(&installed.manifest, resolved) => Ok(Task::Nothing(installed)),
        Stage::Installed(installed) => match &resolved.source {
            // A version that is a promise, and two that make it.
            Source::Directory(path) | Source::Archive(path) if resolved.manifest.is_some() => {
                Err(Error::Conflict(format!(
                    "{} is installed and {} differs from it; raise its version, or replace it with --force",
                    installed.id,
                    path.display()
                )))
            }
            // A branch that moved, another choice of files, a file that was saved again.
            _ => again(store, &resolved.id).await.map(Task::Replace),
        },
    }
}

async fn again(store: &Store, id: &ModelId) -> Result<Staging> {
    let (store, id) = (store.clone(), id.clone());
    blocking(move || Ok(store.stage_again(&id)?)).await
}

/// Whether what is installed is what was found.
fn is_same(manifest: &Manifest, resolved: &Resolved) -> bool {
    if let Some(theirs) = &resolved.manifest {
        return theirs == manifest;
    }
    let has = |file: &axon_adapters::RemoteFile| {
        manifest.file(&file.path).is_some_and(|entry| {
            let hash = match file.checksum {
                axon_adapters::Checksum::Sha256(sha256) => Some(sha256.to_string()),
                _ => None,
            };
            entry.size == file.size && hash.is_none_or(|hash| hash == entry.sha256)
        })
    };
    let commit = manifest
        .metadata
        .extra
        .get("commit")
        .and_then(|commit| commit.as_str());
    commit == resolved.commit() && resolved.files.iter().all(has)
}

async fn blocking_install(fetch: Fetch, resolved: Resolved) -> Result<Installed> {
    match resolved.source.clone() {
        Source::Archive(path) => {
            let (staging, progress) = (fetch.staging.clone(), fetch.progress.clone());
            blocking(move || Ok(fetch_archive(&path, &staging, &*progress)?)).await?;
        }
        _ => fetch.run(&resolved).await?,
    }
    blocking(move || {
        let store = fetch.store;
        let manifest = describe(&resolved, fetch.staging.files(), &|entry| {
            Ok(store.blob_path(&entry.digest()?))
        })?;
        Ok(fetch.staging.commit(&manifest)?)
    })
    .await
}

/// Runs what touches the disk where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::Other(error.to_string())))
}

fn answer(installed: &Installed, status: &str, started: Instant) -> Answer {
    let mut json = cmd::summary(installed);
    json["status"] = json!(status);
    json["seconds"] = json!(started.elapsed().as_secs_f64());
    let shown = match status {
        "present" => "is installed",
        other => other,
    };
    let (id, bytes) = (&installed.id, size::human(installed.size_bytes()));
    let text = format!(
        "{shown} {id} ({bytes})\n  at {}\n{}",
        shorten(&installed.dir),
        next_step(installed)
    );
    Answer::new(json, text.replacen("is installed ", "already installed: ", 1))
}

fn shorten(path: &Path) -> String {
    path.display().to_string()
}

fn next_step(installed: &Installed) -> String {
    match installed.manifest.spec.format.execution_format {
        Some(_) => format!("  next: axon register {}", installed.id),
        None => "  note: no plugin runs this format as it is; it has to be converted first".into(),
    }
}
