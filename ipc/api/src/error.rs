//! What can go wrong, and whose fault it is.

use crate::model::ModelRef;

/// Coarse kind of an [`Error`]: what each edge maps to its own codes, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request is malformed; the same request will fail again. HTTP 400.
    InvalidArgument,
    /// No such model, version or component. HTTP 404.
    NotFound,
    /// Already there, or not possible in the present state. HTTP 409.
    Conflict,
    /// The request is larger than a limit, or an output than the room for it. HTTP 413.
    TooLarge,
    /// What it asks for is not offered. HTTP 501.
    Unsupported,
    /// A queue or pool is full; try again later. HTTP 429.
    Overloaded,
    /// It would miss, or has missed, its deadline. HTTP 504.
    DeadlineMiss,
    /// Draining, or the model is still loading. HTTP 503.
    Unavailable,
    /// The client went away, or cancelled. HTTP 499.
    Cancelled,
    /// The plugin or the model failed. HTTP 500.
    ModelFailed,
    /// Our mistake. HTTP 500.
    Internal,
}

impl Kind {
    /// `snake_case` name for error bodies and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
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

/// An answer that is not a result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The request is malformed.
    #[error("{0}")]
    InvalidArgument(String),
    /// An input of the request does not fit the model.
    #[error("input '{name}': {reason}")]
    InvalidInput {
        /// The input.
        name: String,
        /// What is wrong, and what is expected.
        reason: String,
    },
    /// The model is not registered.
    #[error("model '{asked}' is not registered{}", suggestion(.nearest))]
    ModelNotFound {
        /// What was asked for.
        asked: ModelRef,
        /// Registered ids that are spelled alike.
        nearest: Vec<String>,
    },
    /// The state of the model does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// Larger than a limit.
    #[error("{what} is {got} bytes; the limit is {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        got: u64,
        /// The limit.
        limit: u64,
    },
    /// The memory that was given for an output is smaller than the output.
    #[error("{0}; bind with as much room")]
    NoRoom(String),
    /// Not offered.
    #[error("{0}")]
    Unsupported(String),
    /// A queue or pool is full.
    #[error("{what} is full; retry in {retry_after_ms} ms")]
    Overloaded {
        /// What is full.
        what: String,
        /// When a place is expected to be free.
        retry_after_ms: u64,
    },
    /// Predicted to miss its deadline.
    #[error("would complete in {predicted_us} us, after its deadline of {deadline_us} us")]
    DeadlineMiss {
        /// Predicted time from arrival to completion.
        predicted_us: u64,
        /// The deadline of the request, from arrival.
        deadline_us: u64,
    },
    /// Not serving at the moment.
    #[error("{0}")]
    Unavailable(String),
    /// The client went away, or cancelled.
    #[error("the request was cancelled")]
    Cancelled,
    /// The plugin or the model failed.
    #[error("{0}")]
    ModelFailed(String),
    /// Our mistake.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// The coarse kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::InvalidArgument(_) | Self::InvalidInput { .. } => Kind::InvalidArgument,
            Self::ModelNotFound { .. } => Kind::NotFound,
            Self::Conflict(_) => Kind::Conflict,
            Self::TooLarge { .. } | Self::NoRoom(_) => Kind::TooLarge,
            Self::Unsupported(_) => Kind::Unsupported,
            Self::Overloaded { .. } => Kind::Overloaded,
            Self::DeadlineMiss { .. } => Kind::DeadlineMiss,
            Self::Unavailable(_) => Kind::Unavailable,
            Self::Cancelled => Kind::Cancelled,
            Self::ModelFailed(_) => Kind::ModelFailed,
            Self::Internal(_) => Kind::Internal,
        }
    }
}

fn suggestion(nearest: &[String]) -> String {
    if nearest.is_empty() {
        String::from("; see GET /models, or register it with `axon register`")
    } else {
        format!(
            "; did you mean {}?",
            nearest
                .iter()
                .map(|id| format!("'{id}'"))
                .collect::<Vec<_>>()
                .join(" or ")
        )
    }
}
