//! The crate's one error type.

use std::time::Duration;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it was: what a caller decides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The model, revision or file does not exist.
    NotFound,
    /// The input, or what the hub said, breaks a rule: another try cannot help.
    Invalid,
    /// Bytes are not those that were promised.
    Corrupt,
    /// A token is missing, wrong, or has no access.
    Access,
    /// The hub cannot be reached, stopped in the middle, or asks to come later.
    Network,
    /// It contradicts something that is there.
    Conflict,
    /// The disk or the quota is full.
    NoSpace,
    /// Another process is using it.
    Busy,
    /// Anything else.
    Io,
}

/// Any failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What was asked for is neither a path nor an id.
    #[error("`{text}` is neither a path nor a model: {reason}")]
    Reference {
        /// What was given.
        text: String,
        /// Why it is neither.
        reason: String,
    },
    /// No adapter takes it.
    #[error("no adapter takes `{text}`; name a directory, a file, or hf/organisation/model")]
    NoAdapter {
        /// What was given.
        text: String,
    },
    /// The hub does not have it.
    #[error("{what} does not exist on {host}{hint}")]
    NotFound {
        /// Model, revision or file.
        what: String,
        /// Which hub.
        host: String,
        /// What to try, with its punctuation; may be empty.
        hint: &'static str,
    },
    /// The model's licence must be accepted first.
    #[error("{model} is gated: accept its licence at {page}, then set HF_TOKEN to a token of that account")]
    Gated {
        /// The model.
        model: String,
        /// Where to accept.
        page: String,
    },
    /// The token is not accepted.
    #[error("{host} refused access to {what} ({status}); {advice}")]
    Access {
        /// Which hub.
        host: String,
        /// Model or file.
        what: String,
        /// HTTP status.
        status: u16,
        /// What to do.
        advice: &'static str,
    },
    /// The server answered with an error, as often as it was asked.
    #[error("{host} answered {status} for {what}{}", shown(message))]
    Status {
        /// Which server.
        host: String,
        /// What was asked for.
        what: String,
        /// HTTP status.
        status: u16,
        /// Its words.
        message: String,
        /// How long it asked to wait.
        retry_after: Option<Duration>,
    },
    /// The connection failed or broke.
    #[error("{what} from {host}: {reason}; try again later: a download goes on where it stopped")]
    Connection {
        /// Which server.
        host: String,
        /// What was asked for.
        what: String,
        /// The deepest cause.
        reason: String,
    },
    /// The network is switched off.
    #[error("{what} is not here and HF_HUB_OFFLINE is set; unset it to download")]
    Offline {
        /// What would have been asked for.
        what: String,
    },
    /// The server said something that the protocol does not allow.
    #[error("{host} sent {what}")]
    Protocol {
        /// Which server.
        host: String,
        /// What is wrong.
        what: String,
    },
    /// The bytes have another hash than the hub states.
    #[error("{path}: {algorithm} is {actual}, the hub says {expected}: damaged on the way, or replaced")]
    Hash {
        /// The file.
        path: String,
        /// `sha256` or `git blob id`.
        algorithm: &'static str,
        /// What the hub says.
        expected: String,
        /// What was computed.
        actual: String,
    },
    /// The model has no file in a format that was asked for.
    #[error("{model} has no {wanted} file; it has {found}{hint}")]
    NoSuchFormat {
        /// The model.
        model: String,
        /// What was looked for.
        wanted: &'static str,
        /// Some of what is there.
        found: String,
        /// What to try, with its punctuation; may be empty.
        hint: &'static str,
    },
    /// Package, store or local file.
    #[error(transparent)]
    Package(#[from] axon_package::Error),
}

impl Error {
    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        use axon_package::ErrorKind as Package;
        match self {
            Self::NotFound { .. } | Self::NoSuchFormat { .. } => ErrorKind::NotFound,
            Self::Reference { .. } | Self::NoAdapter { .. } => ErrorKind::Invalid,
            Self::Gated { .. } | Self::Access { .. } => ErrorKind::Access,
            Self::Status { .. } | Self::Connection { .. } | Self::Offline { .. } | Self::Protocol { .. } => {
                ErrorKind::Network
            }
            Self::Hash { .. } => ErrorKind::Corrupt,
            Self::Package(error) => match error.kind() {
                Package::NotFound => ErrorKind::NotFound,
                Package::Invalid | Package::TooLarge => ErrorKind::Invalid,
                Package::Corrupt => ErrorKind::Corrupt,
                Package::Conflict => ErrorKind::Conflict,
                Package::NoSpace => ErrorKind::NoSpace,
                Package::Busy => ErrorKind::Busy,
                _ => ErrorKind::Io,
            },
        }
    }

    /// Whether another try may help.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            Self::Connection { .. } => true,
            _ => false,
        }
    }

    /// How long the server asked to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

fn shown(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(": {message}")
    }
}
