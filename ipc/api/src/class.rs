//! Urgency of a request.

use serde::{Deserialize, Serialize};

/// How urgent a request is. Strict: a more urgent class goes first, except for the shares guaranteed below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Served at once, admitted only up to a bound of the core's time.
    Realtime,
    /// Interactive work.
    High,
    /// What a request is that says nothing.
    #[default]
    Normal,
    /// Throughput work that yields to everything else.
    Batch,
}

impl Class {
    /// All classes, the most urgent first.
    pub const ALL: [Self; 4] = [Self::Realtime, Self::High, Self::Normal, Self::Batch];

    /// Lower-case name, as in requests and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Realtime => "realtime",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Batch => "batch",
        }
    }

    /// Position in [`Class::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Reads a class by name, in any case, or by Triton's number (1 = most urgent … 4; 0 = the default).
    #[must_use]
    pub fn parse(text: &str) -> Option<Option<Self>> {
        let found = match text.to_ascii_lowercase().as_str() {
            "0" => return Some(None),
            "realtime" | "rt" | "1" => Self::Realtime,
            "high" | "2" => Self::High,
            "normal" | "3" => Self::Normal,
            "batch" | "low" | "4" => Self::Batch,
            _ => return None,
        };
        Some(Some(found))
    }
}

/// What to do with a request that is predicted to miss its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnMiss {
    /// Answer at once, with the prediction.
    #[default]
    Reject,
    /// Run it as best effort.
    Degrade,
}
