//! How a request ended, as a number on the wire.

/// How a request ended. The names and their meaning are the engine's kinds of errors; the numbers are this
/// protocol's, and only ever added to.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It succeeded.
    Ok = 0,
    /// The request is malformed; the same request will fail again.
    InvalidArgument = 1,
    /// No such model, version, component or binding.
    NotFound = 2,
    /// Not possible in the present state: the binding is in use.
    Conflict = 3,
    /// Larger than a limit, or than the room for it.
    TooLarge = 4,
    /// Not offered.
    Unsupported = 5,
    /// A queue or pool is full; try again later.
    Overloaded = 6,
    /// It would miss, or has missed, its deadline.
    DeadlineMiss = 7,
    /// Draining, or the model is still loading.
    Unavailable = 8,
    /// Cancelled by the client.
    Cancelled = 9,
    /// The plugin or the model failed.
    ModelFailed = 10,
    /// The daemon's mistake.
    Internal = 11,
}

impl Status {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::Ok,
        Self::InvalidArgument,
        Self::NotFound,
        Self::Conflict,
        Self::TooLarge,
        Self::Unsupported,
        Self::Overloaded,
        Self::DeadlineMiss,
        Self::Unavailable,
        Self::Cancelled,
        Self::ModelFailed,
        Self::Internal,
    ];

    /// The status of that number, if there is one.
    #[must_use]
    pub fn from_u16(number: u16) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// `snake_case` name, the same as the engine's kind of error; `ok` for success.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::InvalidArgument => "invalid_argument",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::TooLarge => "too_large",
            Self::Unsupported => "unsupported",
            Self::Overloaded => "overloaded",
            Self::DeadlineMiss => "deadline_miss",
            Self::Unavailable => "unavailable",
            Self::Cancelled => "cancelled",
            Self::ModelFailed => "model_failed",
            Self::Internal => "internal",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip() {
        for (number, status) in (0_u16..).zip(Status::ALL) {
            assert_eq!(status as u16, number);
            assert_eq!(Status::from_u16(number), Some(status));
        }
        assert_eq!(Status::from_u16(12), None);
        assert_eq!(Status::from_u16(u16::MAX), None);
    }
}
