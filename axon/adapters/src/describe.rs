//! The manifest of a model that came without one: what its files are by their content, what the graph takes and
//! gives, and how text or an image becomes that.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use axon_package::{
    Error as PackageError, FileEntry, Manifest,
    detect::{self, Format},
    manifest::{Author, ExecutionFile, ExecutionFormat, Io, Role, Values},
};
use serde::de::DeserializeOwned;

use crate::{Error, Resolved, Result, Source, fetch::with_name, limits, preprocess};

/// The files of one model, and where each lies: in the store under its hash, or in a directory.
pub(crate) struct Files<'a> {
    locate: &'a dyn Fn(&FileEntry) -> Result<PathBuf>,
    entries: Vec<FileEntry>,
}

/// Makes the manifest of these files, or takes the one that came with the model. Reads from the disk, where
/// `locate` says.
///
/// # Errors
/// [`PackageError::NotAModel`] when a file is not what its name says, such as a page saved in its place.
pub fn describe(
    resolved: &Resolved,
    entries: Vec<FileEntry>,
    locate: &dyn Fn(&FileEntry) -> Result<PathBuf>,
) -> Result<Manifest> {
    if let Some(manifest) = &resolved.manifest {
        return Ok(manifest.clone());
    }
    let files = Files { locate, entries };
    let models = files.models()?;
    let Some((_, format)) = models.first() else {
        return Err(no_model(resolved));
    };
    let execution = execution_files(&models);
    let framework = framework(*format, &resolved.about.library);
    let mut manifest = Manifest::new(&resolved.id, &framework, format.word().unwrap_or("unknown"));
    manifest.spec.io = io(&files, &execution)?;
    let spec = &mut manifest.spec.format;
    spec.execution_format = execution.first().map(|file| file.format.clone());
    spec.multi_encoder = execution.len() > 1;
    spec.execution_files = execution;
    spec.files = files.entries;
    credit(&mut manifest, resolved);
    Ok(manifest)
}

impl Files<'_> {
    pub(crate) fn find(&self, path: &str) -> Option<&FileEntry> {
        self.entries.iter().find(|entry| entry.path == path)
    }

    /// A JSON file of the package, if it is there, not too large, and says what is expected.
    pub(crate) fn json<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        let Some(entry) = self
            .find(path)
            .filter(|entry| entry.size <= limits::CONFIG_BYTES_MAX)
        else {
            return Ok(None);
        };
        let blob = (self.locate)(entry)?;
        let mut bytes = Vec::new();
        let read =
            File::open(&blob).and_then(|file| file.take(limits::CONFIG_BYTES_MAX).read_to_end(&mut bytes));
        read.map_err(|error| PackageError::io(&blob, error))?;
        // A configuration that cannot be read describes nothing, which is no reason to refuse the model.
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// The files that are models, the runnable ones first.
    fn models(&self) -> Result<Vec<(&FileEntry, Format)>> {
        let mut models = Vec::new();
        for entry in self.entries.iter().filter(|entry| could_be_model(&entry.path)) {
            let found = detect::detect(&(self.locate)(entry)?)?;
            if found.format.is_model() {
                models.push((entry, found.format));
            } else if promises_a_model(&entry.path) {
                found.require_model(Path::new(&entry.path))?;
            }
        }
        models.sort_by_key(|(_, format)| match format {
            Format::Gguf => 0,
            Format::Onnx => 1,
            Format::TfLite => 2,
            _ => 3,
        });
        Ok(models)
    }

    fn graph(&self, file: &ExecutionFile) -> Result<Io> {
        let Some(entry) = self.find(&file.path) else {
            return Ok(Io::default());
        };
        let blob = (self.locate)(entry)?;
        detect::graph_io(&blob).map_err(|error| with_name(error, &file.path))
    }
}

/// Text and pictures are not looked into: there are many, and none is a model.
fn could_be_model(path: &str) -> bool {
    const OTHERS: [&str; 12] = [
        ".json",
        ".txt",
        ".md",
        ".py",
        ".yaml",
        ".yml",
        ".png",
        ".jpg",
        ".jpeg",
        ".onnx_data",
        ".jinja",
        ".data",
    ];
    !OTHERS.iter().any(|ending| path.to_lowercase().ends_with(ending))
}

fn promises_a_model(path: &str) -> bool {
    [".onnx", ".gguf", ".safetensors", ".tflite"]
        .iter()
        .any(|ending| path.to_lowercase().ends_with(ending))
}

fn no_model(resolved: &Resolved) -> Error {
    let found: Vec<&str> = resolved
        .files
        .iter()
        .take(8)
        .map(|file| file.path.as_str())
        .collect();
    Error::NoSuchFormat {
        model: resolved.id.base(),
        wanted: "model",
        found: found.join(", "),
        hint: "",
    }
}

fn framework(format: Format, library: &str) -> String {
    match format {
        Format::Onnx => "onnx".into(),
        Format::Gguf => "llama.cpp".into(),
        Format::TfLite | Format::SavedModel => "tensorflow".into(),
        // Most libraries of the hub are layers over it.
        _ if matches!(library, "keras" | "tf-keras" | "tensorflow") => "tensorflow".into(),
        _ if library == "jax" || library == "flax" => "jax".into(),
        _ => "pytorch".into(),
    }
}

fn execution_files(models: &[(&FileEntry, Format)]) -> Vec<ExecutionFile> {
    let Some(&(_, first)) = models.first() else {
        return Vec::new();
    };
    let format = match first {
        Format::Onnx => ExecutionFormat::Onnx,
        Format::Gguf => ExecutionFormat::Gguf,
        Format::TfLite => ExecutionFormat::TfLite,
        _ => return Vec::new(),
    };
    let same = models.iter().filter(|(_, other)| *other == first);
    // The first part of a split GGUF leads to the others.
    let count = if first == Format::Onnx { usize::MAX } else { 1 };
    same.take(count)
        .map(|(entry, _)| ExecutionFile {
            path: entry.path.clone(),
            format: format.clone(),
            role: role(&entry.path),
        })
        .collect()
}

fn role(path: &str) -> Role {
    let name = path.rsplit('/').next().unwrap_or(path).to_lowercase();
    match name {
        name if name.starts_with("text_") => Role::TextEncoder,
        name if name.starts_with("vision_") => Role::VisionEncoder,
        name if name.starts_with("encoder") => Role::Encoder,
        name if name.starts_with("decoder") => Role::Decoder,
        _ => Role::Single,
    }
}

fn io(files: &Files<'_>, execution: &[ExecutionFile]) -> Result<Io> {
    let mut io = Io::default();
    for file in execution
        .iter()
        .filter(|file| file.format == ExecutionFormat::Onnx)
    {
        let graph = files.graph(file)?;
        // Between encoder and decoder runs a loop of the plugin's: its tensors are not the client's.
        let (takes_inputs, takes_outputs) = match file.role {
            Role::Encoder => (true, false),
            Role::Decoder => (false, true),
            _ => (true, true),
        };
        let is_new =
            |known: &[axon_package::manifest::Port], name: &str| known.iter().all(|port| port.name != name);
        for port in graph.inputs.into_iter().filter(|_| takes_inputs) {
            if is_new(&io.inputs, &port.name) {
                io.inputs.push(port);
            }
        }
        for port in graph.outputs.into_iter().filter(|_| takes_outputs) {
            if is_new(&io.outputs, &port.name) {
                io.outputs.push(port);
            }
        }
    }
    preprocess::declare(files, &mut io.inputs)?;
    Ok(io)
}

/// Who made it and where it is from.
fn credit(manifest: &mut Manifest, resolved: &Resolved) {
    let (about, metadata) = (&resolved.about, &mut manifest.metadata);
    metadata.description.clone_from(&about.description);
    metadata.license.clone_from(&about.license);
    metadata.tags.clone_from(&about.tags);
    if !about.author.is_empty() {
        metadata.authors = vec![Author {
            organization: about.author.clone(),
            ..Author::default()
        }];
    }
    if let Source::Hub {
        page,
        revision,
        commit,
    } = &resolved.source
    {
        metadata.homepage.clone_from(page);
        metadata.extra = Values::from([
            ("commit".to_owned(), commit.as_str().into()),
            ("revision".to_owned(), revision.as_str().into()),
        ]);
    }
}
