//! What can go wrong in this plugin, and who has to act.

use std::path::PathBuf;

use crate::wire::WireError;

/// An error of the ONNX plugin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No ONNX Runtime library was found.
    #[error(
        "no onnx runtime library found (tried {tried}); run `cargo xtask setup`, or install onnxruntime 1.31 and set ORT_DYLIB_PATH to its libonnxruntime.so"
    )]
    LibraryMissing {
        /// The places that were looked at.
        tried: String,
    },
    /// The library is there but cannot be used.
    #[error("{}: not a usable onnx runtime library: {reason}", path.display())]
    LibraryUnusable {
        /// The library.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// The plugin's configuration or the options of a load are wrong.
    #[error("{what}: {reason}")]
    Options {
        /// Which text: "plugin configuration", "load options".
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The model file cannot be used.
    #[error("{}: {reason}", path.display())]
    BadModel {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The thread budget of the process is spent.
    #[error(
        "{asked} threads asked, {free} of the process budget of {budget} are free; ask fewer, or raise `threads_max` in the plugin configuration"
    )]
    Threads {
        /// Threads asked for.
        asked: u32,
        /// Threads left.
        free: u32,
        /// Threads in all.
        budget: u32,
    },
    /// The caller's inputs do not fit the model.
    #[error("{0}")]
    BadInput(String),
    /// The host asked to stop.
    #[error("the inference was cancelled")]
    Cancelled,
    /// ONNX Runtime failed.
    #[error("onnx runtime: {0}")]
    Runtime(String),
    /// A graph that ONNX Runtime wrote could not be read back: our mistake or a new format.
    #[error("prepared graph: {0}")]
    Graph(String),
}

/// Who has to act on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The operator of the machine: library, disk, budget.
    Environment,
    /// Whoever wrote the configuration or the load options.
    Options,
    /// Whoever made the model.
    Model,
    /// The caller of this inference.
    Input,
    /// Nobody: it was asked for.
    Cancelled,
    /// Us, or ONNX Runtime.
    Internal,
}

impl Error {
    /// Who has to act.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::LibraryMissing { .. }
            | Self::LibraryUnusable { .. }
            | Self::Io { .. }
            | Self::Threads { .. } => ErrorKind::Environment,
            Self::Options { .. } => ErrorKind::Options,
            Self::BadModel { .. } => ErrorKind::Model,
            Self::BadInput(_) => ErrorKind::Input,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Runtime(_) | Self::Graph(_) => ErrorKind::Internal,
        }
    }

    pub(crate) fn bad_model(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::BadModel {
            path: path.into(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io {
            path: path.into(),
            source,
        }
    }
}

impl From<WireError> for Error {
    fn from(error: WireError) -> Self {
        Self::Graph(error.to_string())
    }
}

impl<R> From<ort::Error<R>> for Error {
    fn from(error: ort::Error<R>) -> Self {
        Self::Runtime(error.message().to_owned())
    }
}

/// The result of most functions here.
pub type Result<T, E = Error> = std::result::Result<T, E>;
