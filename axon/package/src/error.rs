//! The crate's one error type.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it was: what a caller decides by (exit code, status code, retry or not).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The model, or a file that was named, does not exist.
    NotFound,
    /// The input breaks a rule of the format: another try cannot help.
    Invalid,
    /// Bytes are not the bytes that were promised: a new download may help.
    Corrupt,
    /// It would overwrite or contradict something that is there.
    Conflict,
    /// A limit of `limits.rs` is passed.
    TooLarge,
    /// The disk or the quota is full.
    NoSpace,
    /// Another process is using it; try again later.
    Busy,
    /// Anything else that the operating system refused.
    Io,
}

/// One rule that a manifest breaks, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the field, such as `spec.format.files[2].sha256`.
    pub at: String,
    /// What is wrong, and what is expected.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

/// All problems of one manifest; never empty inside an [`Error`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// Any failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is no model id.
    #[error("`{text}` is not a model id: {reason}; write namespace/name or namespace/name@version")]
    Id {
        /// What was given.
        text: String,
        /// Which rule it breaks.
        reason: String,
    },
    /// No such model is installed.
    #[error("model {id} is not installed{}", suggestion(nearest))]
    ModelNotFound {
        /// The id that was asked for.
        id: String,
        /// Installed ids that look like it.
        nearest: Vec<String>,
    },
    /// A file that should be there is not.
    #[error("{}: no such file", path.display())]
    FileNotFound {
        /// The file.
        path: PathBuf,
    },
    /// The manifest is not YAML (or JSON) of the schema.
    #[error("{origin} is not a manifest: {reason}")]
    ManifestSyntax {
        /// Where it was read from.
        origin: String,
        /// The parser's words, with line and column.
        reason: String,
    },
    /// The manifest is readable and breaks rules.
    #[error("{origin} is not valid: {problems}")]
    ManifestInvalid {
        /// Where it was read from.
        origin: String,
        /// Every broken rule.
        problems: Problems,
    },
    /// The archive holds something that a package must not hold.
    #[error("archive entry `{entry}`: {reason}")]
    ArchiveEntry {
        /// Name of the entry, as far as it could be read.
        entry: String,
        /// Why it is refused.
        reason: String,
    },
    /// The archive is not a readable package.
    #[error("{}: not a readable package: {reason}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The bytes have another hash than the one promised.
    #[error("{path}: sha256 is {actual}, expected {expected}: the file is damaged or is another file")]
    HashMismatch {
        /// The file.
        path: String,
        /// What the manifest or the hub says.
        expected: String,
        /// What was computed.
        actual: String,
    },
    /// The file has another length than the one promised.
    #[error("{path}: {actual} bytes, expected {expected}: the file is cut short, padded, or is another file")]
    SizeMismatch {
        /// The file.
        path: String,
        /// What the manifest or the hub says.
        expected: u64,
        /// What is there.
        actual: u64,
    },
    /// The file is readable and is not a model.
    #[error("{path} is not a model: {reason}")]
    NotAModel {
        /// The file.
        path: String,
        /// What it is instead, and what to do.
        reason: String,
    },
    /// A bound of `limits.rs` is passed.
    #[error("{what} exceeds the limit of {max}")]
    Limit {
        /// What is too large.
        what: String,
        /// The bound.
        max: u64,
    },
    /// Something is there already, or contradicts what is there.
    #[error("{what}")]
    Conflict {
        /// What collides with what.
        what: String,
    },
    /// Another process holds the lock.
    #[error("{what} is in use by another process; try again when it is done")]
    Busy {
        /// What is locked.
        what: String,
    },
    /// The disk or the quota is full. Everything that was installed before is untouched.
    #[error("no space left on the device for {}: free some, or run `axon cache clean`", path.display())]
    NoSpace {
        /// What was being written.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was being read or written.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

impl Error {
    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::ModelNotFound { .. } | Self::FileNotFound { .. } => ErrorKind::NotFound,
            Self::Id { .. }
            | Self::ManifestSyntax { .. }
            | Self::ManifestInvalid { .. }
            | Self::ArchiveEntry { .. }
            | Self::NotAModel { .. } => ErrorKind::Invalid,
            Self::Archive { .. } | Self::HashMismatch { .. } | Self::SizeMismatch { .. } => {
                ErrorKind::Corrupt
            }
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::Limit { .. } => ErrorKind::TooLarge,
            Self::NoSpace { .. } => ErrorKind::NoSpace,
            Self::Busy { .. } => ErrorKind::Busy,
            Self::Io { .. } => ErrorKind::Io,
        }
    }

    /// Wraps a system error with the path it is about. An [`Error`] that travelled inside an [`io::Error`]
    /// (through [`io::Write`], say) comes out as itself.
    #[must_use]
    pub fn io(path: &Path, source: io::Error) -> Self {
        match source.downcast::<Self>() {
            Ok(inner) => inner,
            Err(source) => match source.kind() {
                io::ErrorKind::NotFound => Self::FileNotFound {
                    path: path.to_owned(),
                },
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace {
                    path: path.to_owned(),
                },
                _ => Self::Io {
                    path: path.to_owned(),
                    source,
                },
            },
        }
    }
}

/// So that code behind [`io::Write`] and [`io::Read`] can pass a typed error through.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::NotFound => Self::from(io::ErrorKind::NotFound).kind(),
            ErrorKind::NoSpace => io::ErrorKind::StorageFull,
            ErrorKind::Invalid | ErrorKind::Corrupt => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// Attaches a path to the errors of `std`.
pub(crate) trait At<T> {
    fn at(self, path: &Path) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|source| Error::io(path, source))
    }
}

fn suggestion(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        names => format!("; did you mean {}?", names.join(" or ")),
    }
}
