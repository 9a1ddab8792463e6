//! How a request shall be served, and how it was.

use std::time::Duration;

use mlos_shm::Response;

/// How urgent a request is. A more urgent class goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Served at once, admitted only up to a bound of the core's time.
    Realtime = 1,
    /// Interactive work.
    High = 2,
    /// What most requests are.
    Normal = 3,
    /// Throughput work that yields to everything else.
    Batch = 4,
}

impl Class {
    /// All classes, the most urgent first.
    pub const ALL: [Self; 4] = [Self::Realtime, Self::High, Self::Normal, Self::Batch];

    /// The class of that number on the wire; 0 is none.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|class| *class as u8 == number)
    }

    /// Lower-case name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Realtime => "realtime",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Batch => "batch",
        }
    }
}

/// What to do with a request that is predicted to miss its deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMiss {
    /// Answer at once, with the prediction.
    #[default]
    Reject = 0,
    /// Run it as best effort.
    Degrade = 1,
}

/// How a request shall be served. The default: in the model's class, without a deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The class; none is the model's.
    pub class: Option<Class>,
    /// From submission on, in microseconds on the wire.
    pub deadline: Option<Duration>,
    /// What to do when it would be missed.
    pub on_miss: OnMiss,
}

impl Terms {
    /// In a class.
    #[must_use]
    pub const fn class(class: Class) -> Self {
        Self {
            class: Some(class),
            deadline: None,
            on_miss: OnMiss::Reject,
        }
    }

    /// These terms, with a deadline.
    #[must_use]
    pub const fn within(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// These terms, but run it even if it will miss its deadline.
    #[must_use]
    pub const fn or_degrade(mut self) -> Self {
        self.on_miss = OnMiss::Degrade;
        self
    }

    pub(crate) fn deadline_us(&self) -> u64 {
        // 0 is none on the wire, so a deadline of less than a microsecond is one.
        let us = |deadline: Duration| u64::try_from(deadline.as_micros()).unwrap_or(u64::MAX).max(1);
        self.deadline.map_or(0, us)
    }
}

/// How a request was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The class that it was served in, if the daemon says so.
    pub class: Option<Class>,
    /// Before the first computation.
    pub queue: Duration,
    /// Of computation.
    pub compute: Duration,
    /// How often it was suspended.
    pub preemptions: u32,
    /// In how many parts it ran.
    pub parts: u32,
}

impl Timing {
    pub(crate) fn of(response: &Response) -> Self {
        Self {
            class: Class::from_u8(response.class),
            queue: Duration::from_nanos(response.queue_ns),
            compute: Duration::from_nanos(response.compute_ns),
            preemptions: response.preemptions,
            parts: response.parts,
        }
    }
}
