//! What a file is, by looking inside. File names do not count: hubs, caches and error pages misname things.

use crate::{Error, Result, error::At};
use std::{
    fmt,
    fs::File,
    io::{Read, Seek},
    path::Path,
};

pub(crate) mod onnx;
mod probe;
mod wire;
mod zip;

pub use onnx::{ExternalFile, external_files, graph_io};

/// What a file was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// ONNX `ModelProto`.
    Onnx,
    /// llama.cpp's container.
    Gguf,
    /// SafeTensors weights.
    SafeTensors,
    /// PyTorch checkpoint or TorchScript: a zip with `data.pkl`.
    PyTorchZip,
    /// A bare Python pickle, such as an old PyTorch checkpoint.
    Pickle,
    /// TensorFlow Lite flat buffer.
    TfLite,
    /// TensorFlow SavedModel: the directory, or its `saved_model.pb`.
    SavedModel,
    /// A zip of something else.
    Zip,
    /// The few lines that git-lfs leaves in place of a file.
    GitLfsPointer,
    /// A web page.
    Html,
    /// No bytes at all.
    Empty,
    /// None of these.
    Unknown,
}

impl Format {
    /// The word for `spec.format.type`; none for what is no model.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        Some(match self {
            Self::Onnx => "onnx",
            Self::Gguf => "gguf",
            Self::SafeTensors => "safetensors",
            Self::PyTorchZip | Self::Pickle => "pytorch",
            Self::TfLite => "tflite",
            Self::SavedModel => "savedmodel",
            Self::Zip | Self::GitLfsPointer | Self::Html | Self::Empty | Self::Unknown => return None,
        })
    }

    /// Whether it is a model's weights or graph.
    #[must_use]
    pub fn is_model(self) -> bool {
        self.word().is_some()
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Onnx => "ONNX",
            Self::Gguf => "GGUF",
            Self::SafeTensors => "SafeTensors",
            Self::PyTorchZip => "PyTorch (zip)",
            Self::Pickle => "Python pickle",
            Self::TfLite => "TensorFlow Lite",
            Self::SavedModel => "TensorFlow SavedModel",
            Self::Zip => "zip archive",
            Self::GitLfsPointer => "git-lfs pointer",
            Self::Html => "HTML page",
            Self::Empty => "empty file",
            Self::Unknown => "unknown",
        })
    }
}

/// A format, and why it is believed to be that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detection {
    /// The format.
    pub format: Format,
    /// What was seen, in words.
    pub evidence: String,
    /// Why the file cannot be whole, when its own header says so: cut short, lengths that lie. None is no proof of
    /// the opposite; only a hash is.
    pub damage: Option<String>,
}

impl Detection {
    pub(crate) fn sound(format: Format, evidence: impl Into<String>) -> Self {
        Self {
            format,
            evidence: evidence.into(),
            damage: None,
        }
    }

    pub(crate) fn damaged(format: Format, evidence: impl Into<String>, damage: impl Into<String>) -> Self {
        Self {
            damage: Some(damage.into()),
            ..Self::sound(format, evidence)
        }
    }

    /// The format, if it is a model's and nothing says that the file is damaged; `path` names the file in the error, which says what to do.
    ///
    /// # Errors
    /// [`Error::NotAModel`].
    pub fn require_model(&self, path: &Path) -> Result<Format> {
        if self.format.is_model() && self.damage.is_none() {
            return Ok(self.format);
        }
        if let Some(damage) = &self.damage {
            let reason = format!(
                "it begins as {} ({}), but {damage}; fetch it again",
                article(self.format),
                self.evidence
            );
            return Err(Error::NotAModel {
                path: path.display().to_string(),
                reason,
            });
        }
        let advice = match self.format {
            Format::GitLfsPointer => "; fetch the real file with `git lfs pull`, or install from the hub",
            Format::Html => {
                "; the server answered with a page instead of the file: check the address and the access rights"
            }
            Format::Empty => "; download it again",
            _ => "",
        };
        let reason = format!("it is {} ({}){advice}", article(self.format), self.evidence);
        Err(Error::NotAModel {
            path: path.display().to_string(),
            reason,
        })
    }
}

fn article(format: Format) -> String {
    match format {
        Format::Unknown => "of no known format".into(),
        Format::Html => "an HTML page".into(),
        Format::Empty => "an empty file".into(),
        other => format!("a {other}"),
    }
}

/// Looks at a file, or at a directory (a SavedModel is one).
///
/// # Errors
/// When it cannot be read. A file that is no model is not an error here; see [`Detection::require_model`].
pub fn detect(path: &Path) -> Result<Detection> {
    let mut file = File::open(path).at(path)?;
    let meta = file.metadata().at(path)?;
    if meta.is_dir() {
        return detect_dir(path);
    }
    detect_reader(&mut file, meta.len(), path)
}

/// Looks at `size_bytes` bytes of anything seekable; `path` names it in errors.
///
/// # Errors
/// When it cannot be read.
pub fn detect_reader<R: Read + Seek>(reader: &mut R, size_bytes: u64, path: &Path) -> Result<Detection> {
    probe::probe(reader, size_bytes).at(path)
}

fn detect_dir(dir: &Path) -> Result<Detection> {
    let graph = dir.join("saved_model.pb");
    if !graph.is_file() {
        let evidence = "a directory without saved_model.pb";
        return Ok(Detection::sound(Format::Unknown, evidence));
    }
    let inner = detect(&graph)?;
    let format = if inner.format == Format::SavedModel {
        Format::SavedModel
    } else {
        Format::Unknown
    };
    Ok(Detection {
        format,
        evidence: format!("saved_model.pb: {}", inner.evidence),
        damage: inner.damage,
    })
}
