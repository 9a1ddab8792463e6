//! What lies on this machine: a directory, a model file, an `.axon` archive.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use axon_package::{
    FileEntry, MANIFEST_NAME, Manifest, ModelId, PartFile, Sha256, Staging, archive, detect,
    limits::FILES_MAX,
};

use crate::{
    About, Adapter, Answer, Checksum, Error, FormatChoice, Progress, Reference, RemoteFile, Resolved, Result,
    Source,
    choose::choose,
    download::blocking,
    limits,
    reference::{LOCAL, Target},
};

/// Version of models that come without a manifest.
const VERSION: &str = "latest";

/// The adapter for paths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Local;

impl Adapter for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn can_handle(&self, reference: &Reference) -> bool {
        matches!(reference.target(), Target::Path(_))
    }

    fn resolve<'a>(&'a self, reference: &'a Reference, choice: FormatChoice) -> Answer<'a, Resolved> {
        Box::pin(async move {
            let Target::Path(path) = reference.target() else {
                return Err(Error::NoAdapter {
                    text: reference.text().into(),
                });
            };
            let path = path.clone();
            blocking(move || resolve(&path, choice)).await
        })
    }

    fn fetch<'a>(
        &'a self,
        file: &'a RemoteFile,
        staging: &'a Staging,
        progress: &'a dyn Progress,
    ) -> Answer<'a, FileEntry> {
        Box::pin(fetch(file, staging, progress))
    }
}

/// Copies a file of this machine into the store.
pub(crate) async fn fetch(
    file: &RemoteFile,
    staging: &Staging,
    progress: &dyn Progress,
) -> Result<FileEntry> {
    progress.at(&file.path, 0, file.size);
    let (copied, staging) = (file.clone(), staging.clone());
    let entry = blocking(move || copy(&copied, &staging)).await?;
    progress.done(&file.path, file.size);
    Ok(entry)
}

fn resolve(path: &Path, choice: FormatChoice) -> Result<Resolved> {
    if path.is_dir() {
        let manifest_path = path.join(MANIFEST_NAME);
        if manifest_path.is_file() {
            return with_manifest(
                path,
                Manifest::read(&manifest_path)?,
                Source::Directory(path.into()),
            );
        }
        return directory(path, choice);
    }
    let is_archive = path.extension().is_some_and(|extension| extension == "axon");
    if is_archive {
        return with_manifest(path, archive::read_manifest(path)?, Source::Archive(path.into()));
    }
    single_file(path)
}

pub(crate) fn with_manifest(path: &Path, manifest: Manifest, source: Source) -> Result<Resolved> {
    let remote = |file: &FileEntry| -> Result<RemoteFile> {
        Ok(RemoteFile {
            path: file.path.clone(),
            size: file.size,
            checksum: Checksum::Sha256(file.digest()?),
            url: path.join(&file.path).display().to_string(),
        })
    };
    let files: Vec<RemoteFile> = manifest
        .spec
        .format
        .files
        .iter()
        .map(remote)
        .collect::<Result<_>>()?;
    Ok(Resolved {
        id: manifest.id()?,
        source,
        available: files.clone(),
        files,
        manifest: Some(manifest),
        about: About::default(),
    })
}

fn directory(path: &Path, choice: FormatChoice) -> Result<Resolved> {
    let mut paths = Vec::new();
    walk(path, "", limits::DIRECTORY_DEPTH_MAX, &mut paths)?;
    paths.sort();
    let names: Vec<&str> = paths.iter().map(String::as_str).collect();
    // What lies in a directory was put there on purpose: all of it, unless a format is asked for.
    let choice = if choice == FormatChoice::Auto {
        FormatChoice::All
    } else {
        choice
    };
    let chosen = choose(&names, choice);
    if chosen.is_empty() {
        return Err(Error::NoSuchFormat {
            model: path.display().to_string(),
            wanted: if choice == FormatChoice::All {
                "model"
            } else {
                choice.word()
            },
            found: if names.is_empty() {
                "no files".into()
            } else {
                names.join(", ")
            },
            hint: "",
        });
    }
    without_manifest(path, path, &chosen)
}

/// A model file, with the data files that it refers to.
fn single_file(path: &Path) -> Result<Resolved> {
    let format = detect::detect(path)?.require_model(path)?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let mut files = vec![name.to_owned()];
    if format == detect::Format::Onnx {
        files.extend(
            detect::external_files(path)?
                .into_iter()
                .map(|data| data.location),
        );
    }
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    without_manifest(path, directory, &files)
}

fn without_manifest(named_after: &Path, directory: &Path, paths: &[&str]) -> Result<Resolved> {
    let files: Vec<RemoteFile> = paths
        .iter()
        .map(|path| local_file(directory, path))
        .collect::<Result<_>>()?;
    Ok(Resolved {
        id: ModelId::new(LOCAL, &model_name(named_after), Some(VERSION))?,
        source: Source::Directory(named_after.into()),
        manifest: None,
        available: files.clone(),
        files,
        about: About::default(),
    })
}

fn local_file(directory: &Path, path: &str) -> Result<RemoteFile> {
    let source = directory.join(path);
    let (sha256, size) = Sha256::of_reader(&mut open(&source)?, &source)?;
    let url = source.display().to_string();
    Ok(RemoteFile {
        path: path.into(),
        size,
        checksum: Checksum::Sha256(sha256),
        url,
    })
}

/// A name that the rules of ids allow, from that of a file or directory.
fn model_name(path: &Path) -> String {
    let whole = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let stem = if whole.is_dir() {
        whole.file_name()
    } else {
        whole.file_stem()
    };
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() || "_-".contains(c) {
            c
        } else {
            '-'
        }
    };
    let name: String = stem
        .unwrap_or_default()
        .to_string_lossy()
        .chars()
        .map(allowed)
        .take(96)
        .collect();
    let name = name.trim_start_matches('-');
    if name.is_empty() {
        "model".into()
    } else {
        name.into()
    }
}

/// Files below a directory, hidden ones left out: they belong to editors, version control and systems.
fn walk(directory: &Path, prefix: &str, depth_left: usize, found: &mut Vec<String>) -> Result<()> {
    let at = |error| axon_package::Error::io(directory, error);
    for entry in fs::read_dir(directory).map_err(at)? {
        let entry = entry.map_err(at)?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
            continue;
        };
        let path = entry.path();
        if entry.file_type().map_err(at)?.is_dir() && depth_left > 0 {
            walk(&path, &format!("{prefix}{name}/"), depth_left - 1, found)?;
        } else if path.is_file() {
            found.push(format!("{prefix}{name}"));
        }
        if found.len() > FILES_MAX {
            let what = format!("{}: number of files", directory.display());
            return Err(axon_package::Error::Limit {
                what,
                max: FILES_MAX as u64,
            }
            .into());
        }
    }
    Ok(())
}

fn open(path: &Path) -> Result<fs::File> {
    Ok(fs::File::open(path).map_err(|error| axon_package::Error::io(path, error))?)
}

fn copy(file: &RemoteFile, staging: &Staging) -> Result<FileEntry> {
    let sha256 = match file.checksum {
        Checksum::Sha256(sha256) => Some(sha256),
        _ => None,
    };
    let mut part = staging.file(&file.path, sha256, Some(file.size))?;
    if !part.is_complete() {
        part.restart()?;
        let path = PathBuf::from(&file.url);
        fill(&mut part, &mut open(&path)?, &path)?;
    }
    Ok(part.finish()?)
}

fn fill(part: &mut PartFile, source: &mut dyn Read, path: &Path) -> Result<(), axon_package::Error> {
    let mut buffer = vec![0; limits::WRITE_BYTES];
    loop {
        match source
            .read(&mut buffer)
            .map_err(|error| axon_package::Error::io(path, error))?
        {
            0 => return Ok(()),
            n => part.append(&buffer[..n])?,
        }
    }
}

/// Brings the files of an `.axon` archive into the store, checked. Blocks.
///
/// # Errors
/// Everything that is wrong with the archive.
pub fn fetch_archive(path: &Path, staging: &Staging, progress: &dyn Progress) -> Result<()> {
    archive::Reader::open(path)?.for_each_file(|file, content| {
        progress.at(&file.path, 0, file.size);
        let mut part = staging.file(&file.path, Some(file.digest()?), Some(file.size))?;
        if !part.is_complete() {
            part.restart()?;
            fill(&mut part, content, path)?;
        }
        part.finish()?;
        progress.done(&file.path, file.size);
        Ok(())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_paths() {
        let check = |path: &str, expect: &str| assert_eq!(model_name(Path::new(path)), expect, "{path}");
        check("/x/My Model.v2.onnx", "My-Model-v2");
        check("/x/.onnx", "onnx");
        check("/x/...", "model");
        check("/x/ünder.onnx", "nder");
    }
}
