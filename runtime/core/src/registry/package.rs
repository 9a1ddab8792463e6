//! From a folder to what can be loaded: which model it is, which files run, how it wants to be served.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use axon_package::detect::{self, Format as FileFormat};
use axon_package::manifest::{Priority, Role};
use axon_package::{MANIFEST_NAME, Manifest};
use mlos_api::{Class, Error, ModelRef, RegisterRequest};
use sha2::{Digest, Sha256};

use crate::limits;

/// A version for model files that come without a manifest.
const BARE_VERSION: &str = "1";

/// One file that a plugin loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Executable {
    /// `encoder`, `decoder` …; empty for a package of one graph.
    pub component: String,
    /// The file.
    pub path: PathBuf,
    /// `onnx`, `gguf` …, what a plugin is chosen by.
    pub format: String,
}

/// How the manifest wants the model to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Serving {
    pub class_default: Class,
    pub max_batch_rows: Option<u32>,
    pub max_queue_delay_us: Option<u64>,
    pub rows_independent: Option<bool>,
}

/// A package that has been read, but not loaded.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub model: ModelRef,
    pub root: PathBuf,
    pub manifest: Option<Manifest>,
    pub executables: Vec<Executable>,
    pub serving: Serving,
    pub fingerprint: String,
}

impl Package {
    /// Reads a package's folder or a bare model file.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] naming the file and what is wrong with it.
    pub fn read(request: &RegisterRequest) -> Result<Self, Error> {
        let path = &request.path;
        let meta = std::fs::metadata(path).map_err(|error| invalid(path, &error))?;
        let beside = path.join(MANIFEST_NAME);
        let manifest_path = request
            .manifest_path
            .clone()
            .or_else(|| beside.is_file().then_some(beside));
        match manifest_path {
            Some(manifest) if meta.is_dir() => Self::from_manifest(request, &manifest),
            _ if meta.is_dir() => Err(invalid(path, &format!("the folder has no {MANIFEST_NAME}"))),
            _ => Self::from_file(request, &meta),
        }
    }

    fn from_manifest(request: &RegisterRequest, manifest_path: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(manifest_path).map_err(|error| invalid(manifest_path, &error))?;
        let manifest = Manifest::parse_valid(&bytes, &manifest_path.display().to_string())
            .map_err(|error| Error::InvalidArgument(error.to_string()))?;
        let metadata = &manifest.metadata;
        let declared = ModelRef::parse(&format!(
            "{}/{}@{}",
            metadata.namespace, metadata.name, metadata.version
        ))?;
        let model = match &request.model {
            None => declared,
            Some(asked) => ModelRef {
                id: asked.id.clone(),
                version: asked.version.clone().or(declared.version),
            },
        };
        let executables = executables(&manifest, &request.path)?;
        let serving = serving(&manifest);
        let fingerprint = fingerprint(&[&bytes, request.path.as_os_str().as_encoded_bytes()]);
        Ok(Self {
            model,
            root: request.path.clone(),
            manifest: Some(manifest),
            executables,
            serving,
            fingerprint,
        })
    }

    fn from_file(request: &RegisterRequest, meta: &std::fs::Metadata) -> Result<Self, Error> {
        let path = &request.path;
        let Some(asked) = &request.model else {
            return Err(invalid(path, &"a model file without a manifest needs a model_id"));
        };
        let version = asked.version.clone().unwrap_or_else(|| BARE_VERSION.to_owned());
        let format = format_of(path)?;
        let changed_ns = meta
            .modified()
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
            .map_or(0, |since| since.as_nanos());
        let fingerprint = fingerprint(&[
            path.as_os_str().as_encoded_bytes(),
            &meta.len().to_le_bytes(),
            &changed_ns.to_le_bytes(),
        ]);
        Ok(Self {
            model: ModelRef {
                id: asked.id.clone(),
                version: Some(version),
            },
            root: path.parent().unwrap_or(path).to_owned(),
            manifest: None,
            executables: vec![Executable {
                component: String::new(),
                path: path.clone(),
                format,
            }],
            serving: Serving::default(),
            fingerprint,
        })
    }
}

/// The files to run: those the manifest names, else the one of its files that a plugin could run.
fn executables(manifest: &Manifest, root: &Path) -> Result<Vec<Executable>, Error> {
    let named = &manifest.spec.format.execution_files;
    if !named.is_empty() {
        return named
            .iter()
            .map(|file| {
                let component = if file.role == Role::Single {
                    String::new()
                } else {
                    file.role.as_str().to_owned()
                };
                Ok(Executable {
                    component,
                    path: root.join(&file.path),
                    format: file.format.as_str().to_owned(),
                })
            })
            .collect();
    }
    let runnable =
        |file: &&axon_package::FileEntry| file.path.ends_with(".onnx") || file.path.ends_with(".gguf");
    let mut found = manifest.spec.format.files.iter().filter(runnable);
    let format = manifest.spec.format.execution_format.as_ref();
    match (found.next(), found.next(), manifest.spec.format.files.as_slice()) {
        (Some(one), None, _) => {
            let path = root.join(&one.path);
            Ok(vec![Executable {
                component: String::new(),
                format: format_of(&path)?,
                path,
            }])
        }
        (None, _, [only]) if format.is_some() => Ok(vec![Executable {
            component: String::new(),
            path: root.join(&only.path),
            format: format
                .map(|format| format.as_str().to_owned())
                .unwrap_or_default(),
        }]),
        (None, _, _) => Err(invalid(
            root,
            &"none of its files can be run as it is; convert it to ONNX first",
        )),
        (Some(_), Some(_), _) => Err(invalid(
            root,
            &"it has several files to run; its manifest must name them in spec.format.execution_files",
        )),
    }
}

fn serving(manifest: &Manifest) -> Serving {
    let wanted = &manifest.spec.serving;
    let class_default = match &wanted.priority {
        Some(Priority::Realtime) => Class::Realtime,
        Some(Priority::High) => Class::High,
        Some(Priority::Batch) => Class::Batch,
        _ => Class::Normal,
    };
    Serving {
        class_default,
        max_batch_rows: wanted.max_batch_rows,
        max_queue_delay_us: wanted.max_queue_delay_us,
        rows_independent: wanted.splittable,
    }
}

/// By content; the extension decides only for formats that this project does not know.
fn format_of(path: &Path) -> Result<String, Error> {
    let detection = detect::detect(path).map_err(|error| Error::InvalidArgument(error.to_string()))?;
    if let Some(word) = detection.format.word() {
        return Ok(word.to_owned());
    }
    match path.extension() {
        Some(extension) if detection.format == FileFormat::Unknown => {
            Ok(extension.to_string_lossy().to_lowercase())
        }
        _ => Err(invalid(path, &format!("it is no model: {}", detection.evidence))),
    }
}

fn fingerprint(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn invalid(path: &Path, reason: &dyn std::fmt::Display) -> Error {
    Error::InvalidArgument(format!("{}: {reason}", path.display()))
}

/// Folders with a manifest, below the models folder.
pub fn below(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = open.pop() {
        if found.len() >= limits::SCAN_PACKAGES_MAX {
            break;
        }
        if folder.join(MANIFEST_NAME).is_file() {
            found.push(folder);
        } else if depth < limits::SCAN_DEPTH_MAX {
            let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            open.extend(folders.map(|entry| (entry.path(), depth + 1)));
        }
    }
    found.sort();
    found
}
