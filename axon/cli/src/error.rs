//! The program's one error type, and what each kind is to the shell.

use axon_adapters::ErrorKind as Fetching;
use axon_package::ErrorKind as Packaging;

/// Result of this program.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, by its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Failure,
    Usage,
    NotFound,
    Integrity,
    Network,
    Server,
    Conflict,
    Access,
    NoSpace,
    Invalid,
}

/// Exit codes, as `axon help` shows them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  other failure
  2  the command line is wrong
  3  the model, file or revision does not exist
  4  bytes are not what they should be (also: `verify` found damage)
  5  a hub or the daemon could not be reached
  6  the daemon refused the request
  7  it contradicts what is installed, or another process is at it
  8  a token or the acceptance of a licence is missing
  9  no space left on the device
  10 the input is not a valid model, package or manifest";

impl Kind {
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Kind::Failure => 1,
            Kind::Usage => 2,
            Kind::NotFound => 3,
            Kind::Integrity => 4,
            Kind::Network => 5,
            Kind::Server => 6,
            Kind::Conflict => 7,
            Kind::Access => 8,
            Kind::NoSpace => 9,
            Kind::Invalid => 10,
        }
    }

    /// The word in `{"error":{"kind"}}`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Failure => "failure",
            Kind::Usage => "usage",
            Kind::NotFound => "not_found",
            Kind::Integrity => "integrity",
            Kind::Network => "network",
            Kind::Server => "server",
            Kind::Conflict => "conflict",
            Kind::Access => "access",
            Kind::NoSpace => "no_space",
            Kind::Invalid => "invalid",
        }
    }
}

/// Any failure of a command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command line asks for something that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// An input file is not what it should be.
    #[error("{0}")]
    Invalid(String),
    /// It would change what is installed.
    #[error("{0}")]
    Conflict(String),
    /// The daemon did not answer.
    #[error("no answer from mlosd at {endpoint}: {reason}; start it with `mlosd`, or set {variable}")]
    Unreachable {
        /// Where it was looked for.
        endpoint: String,
        /// The deepest cause.
        reason: String,
        /// Says where else to look.
        variable: &'static str,
    },
    /// The daemon answered with an error.
    #[error("mlosd refused ({}{kind}): {message}", status.map_or(String::new(), |status| format!("{status}, ")))]
    Refused {
        /// HTTP status, if it was asked over HTTP.
        status: Option<u16>,
        /// The daemon's word for it.
        kind: String,
        /// The daemon's words.
        message: String,
    },
    /// Hub, network or local source.
    #[error(transparent)]
    Adapter(#[from] axon_adapters::Error),
    /// Package or store.
    #[error(transparent)]
    Package(#[from] axon_package::Error),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Error {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Error::Usage(_) => Kind::Usage,
            Error::Invalid(_) => Kind::Invalid,
            Error::Conflict(_) => Kind::Conflict,
            Error::Unreachable { .. } => Kind::Network,
            Error::Refused {
                status: Some(404), ..
            } => Kind::NotFound,
            Error::Refused {
                status: None, kind, ..
            } if kind == "not_found" => Kind::NotFound,
            Error::Refused { .. } => Kind::Server,
            Error::Adapter(axon_adapters::Error::Reference { .. }) => Kind::Usage,
            Error::Adapter(error) => adapter_kind(error.kind()),
            // An id is typed, so a wrong one is a matter of the command line.
            Error::Package(axon_package::Error::Id { .. }) => Kind::Usage,
            Error::Package(error) => package_kind(error.kind()),
            Error::Other(_) => Kind::Failure,
        }
    }
}

fn adapter_kind(kind: Fetching) -> Kind {
    match kind {
        Fetching::NotFound => Kind::NotFound,
        Fetching::Invalid => Kind::Invalid,
        Fetching::Corrupt => Kind::Integrity,
        Fetching::Access => Kind::Access,
        Fetching::Network => Kind::Network,
        Fetching::Conflict | Fetching::Busy => Kind::Conflict,
        Fetching::NoSpace => Kind::NoSpace,
        _ => Kind::Failure,
    }
}

fn package_kind(kind: Packaging) -> Kind {
    match kind {
        Packaging::NotFound => Kind::NotFound,
        Packaging::Invalid | Packaging::TooLarge => Kind::Invalid,
        Packaging::Corrupt => Kind::Integrity,
        Packaging::Conflict | Packaging::Busy => Kind::Conflict,
        Packaging::NoSpace => Kind::NoSpace,
        _ => Kind::Failure,
    }
}

/// A system error with the path it is about.
pub(crate) fn io(path: &std::path::Path, error: std::io::Error) -> Error {
    Error::Package(axon_package::Error::io(path, error))
}
