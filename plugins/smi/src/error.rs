use std::fmt;

/// The status codes of the ABI, less `SMI_OK`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Status {
    /// The caller broke a rule, or the request does not fit the model.
    InvalidArgument = -1,
    /// Memory is exhausted.
    NoMemory = -2,
    /// A file, a component or an index does not exist.
    NotFound = -3,
    /// Understood, and not possible here.
    Unsupported = -4,
    /// The engine behind the plugin failed.
    Runtime = -5,
    /// The host asked for it at a checkpoint.
    Cancelled = -6,
    /// The model file is damaged or of another format.
    BadModel = -7,
    /// The two sides were built for different versions.
    AbiMismatch = -8,
    /// A model that is not re-entrant is already running.
    Busy = -9,
}

impl Status {
    /// Its number in the ABI.
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// Reads a status: `None` is success. A number that this version does not know counts as [`Status::Runtime`].
    pub const fn from_code(code: i32) -> Option<Self> {
        Some(match code {
            0 => return None,
            -1 => Self::InvalidArgument,
            -2 => Self::NoMemory,
            -3 => Self::NotFound,
            -4 => Self::Unsupported,
            -6 => Self::Cancelled,
            -7 => Self::BadModel,
            -8 => Self::AbiMismatch,
            -9 => Self::Busy,
            _ => Self::Runtime,
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidArgument => "invalid argument",
            Self::NoMemory => "out of memory",
            Self::NotFound => "not found",
            Self::Unsupported => "unsupported",
            Self::Runtime => "runtime failure",
            Self::Cancelled => "cancelled",
            Self::BadModel => "bad model",
            Self::AbiMismatch => "interface version mismatch",
            Self::Busy => "busy",
        })
    }
}

/// Why a plugin could not do what it was asked: a status and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {message}")]
pub struct Failure {
    /// What kind of failure.
    pub status: Status,
    /// Lower case, says what to do about it if anything can be done.
    pub message: String,
}

impl Failure {
    /// A failure with its text.
    pub fn new(status: Status, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// [`Status::InvalidArgument`] with a text.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Status::InvalidArgument, message)
    }

    /// [`Status::Runtime`] with a text.
    pub fn runtime(message: impl Into<String>) -> Self {
        Self::new(Status::Runtime, message)
    }

    /// [`Status::BadModel`] with a text.
    pub fn bad_model(message: impl Into<String>) -> Self {
        Self::new(Status::BadModel, message)
    }
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn statuses_round_trip_and_unknown_ones_are_failures() {
        for code in -9..0 {
            assert_eq!(Status::from_code(code).map(Status::code), Some(code));
        }
        for (code, expect) in [
            (0, None),
            (1, Some(Status::Runtime)),
            (-10, Some(Status::Runtime)),
        ] {
            assert_eq!(Status::from_code(code), expect, "{code}");
        }
    }
}
