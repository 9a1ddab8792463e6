//! `axon package`: a directory becomes one `.axon` file.

use std::path::PathBuf;

use axon_adapters::{Adapter as _, Checksum, FormatChoice, Local, Reference, Resolved, Source, describe};
use axon_package::{FileEntry, Manifest, ModelId, archive};
use serde_json::json;

use crate::{
    answer::Answer,
    error::{Error, Result},
    size,
};

/// Make an .axon archive of a directory or a model file
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  axon package ./models/digits                           with manifest.yaml: name and version from there
  axon package ./my-model --as local/mine@1.0.0          without: the manifest is made from the files
  axon package ./my-model --as local/mine@1.0.0 -o mine.axon --compression gzip

JSON: {\"id\",\"path\",\"size_bytes\",\"sha256\",\"files\"}")]
pub(crate) struct Package {
    /// A directory, with or without manifest.yaml
    directory: PathBuf,
    /// Where to write [default: NAME-VERSION.axon]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The model's id, version included; for directories without a manifest
    #[arg(long = "as", value_name = "ID")]
    named: Option<ModelId>,
    /// Compression
    #[arg(long, value_enum, default_value_t = Compression::Zstd)]
    compression: Compression,
}

/// How the archive is compressed.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Compression {
    Zstd,
    Gzip,
}

pub(crate) async fn run(arguments: &Package) -> Result<Answer> {
    let directory = &arguments.directory;
    if !directory.is_dir() {
        return Err(Error::Usage(format!("{}: not a directory", directory.display())));
    }
    let manifest = manifest(arguments).await?;
    let id = manifest.id()?;
    let output = arguments.output.clone().unwrap_or_else(|| {
        let name = id.name().replace('/', "-");
        PathBuf::from(format!("{name}-{}.axon", id.version().unwrap_or("latest")))
    });
    let compression = match arguments.compression {
        Compression::Zstd => archive::Compression::Zstd,
        Compression::Gzip => archive::Compression::Gzip,
    };
    let packed = archive::pack(directory, &manifest, &output, compression)?;
    let json = json!({
        "id": id.to_string(), "path": output, "size_bytes": packed.size_bytes, "sha256": packed.sha256.to_string(),
        "files": manifest.spec.format.files.len(),
    });
    let bytes = size::human(packed.size_bytes);
    Ok(Answer::new(
        json,
        format!(
            "{} ({bytes})\n  {id}\n  sha256 {}",
            output.display(),
            packed.sha256
        ),
    ))
}

async fn manifest(arguments: &Package) -> Result<Manifest> {
    // A path that has no `/` in it could be taken for something else.
    let path = std::path::absolute(&arguments.directory)
        .map_err(|error| crate::error::io(&arguments.directory, error))?;
    let reference = Reference::parse(&path.display().to_string())?;
    let mut resolved = Local.resolve(&reference, FormatChoice::Auto).await?;
    match (&arguments.named, &resolved.manifest) {
        (Some(_), Some(_)) => {
            return Err(Error::Usage(format!(
                "`--as`: the manifest names it {}; change it there",
                resolved.id
            )));
        }
        (Some(name), None) if name.version().is_some() => resolved.id = name.clone(),
        (_, None) => {
            return Err(Error::Usage(
                "it has no manifest.yaml; name it with `--as namespace/name@version`".into(),
            ));
        }
        (None, Some(_)) => {}
    }
    let entries = entries(&resolved)?;
    debug_assert!(
        matches!(resolved.source, Source::Directory(_)),
        "a directory was given"
    );
    Ok(describe(&resolved, entries, &|entry| Ok(path.join(&entry.path)))?)
}

fn entries(resolved: &Resolved) -> Result<Vec<FileEntry>> {
    let entry = |file: &axon_adapters::RemoteFile| match file.checksum {
        Checksum::Sha256(sha256) => Ok(FileEntry::new(file.path.clone(), file.size, sha256)),
        _ => Err(Error::Other(format!("{}: it was not hashed", file.path))),
    };
    resolved.files.iter().map(entry).collect()
}
