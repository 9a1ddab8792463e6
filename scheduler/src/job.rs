//! What the policy is told: jobs, and the events of their lives.

use crate::config::OnMiss;

/// How urgent a job is. Strict between classes: a more urgent one always goes first, except for the guaranteed shares.
///
/// `Ord` follows urgency: [`Class::Realtime`] is the smallest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Never held back for a batch, always on the front, admitted up to a utilisation bound.
    Realtime = 0,
    /// Interactive work.
    High = 1,
    /// What a request gets that says nothing.
    #[default]
    Normal = 2,
    /// Bulk work: takes what is left, and its guaranteed share.
    Batch = 3,
}

impl Class {
    /// How many classes there are.
    pub const COUNT: usize = 4;
    /// All of them, most urgent first.
    pub const ALL: [Self; Self::COUNT] = [Self::Realtime, Self::High, Self::Normal, Self::Batch];

    /// The class with this number, if there is one.
    pub const fn from_index(index: usize) -> Option<Self> {
        if index < Self::COUNT {
            Some(Self::ALL[index])
        } else {
            None
        }
    }

    /// Its number: 0 for the most urgent.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Some of the classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClassSet(u8);

impl ClassSet {
    pub const EMPTY: Self = Self(0);

    pub const fn contains(self, class: Class) -> bool {
        self.0 >> class as u8 & 1 == 1
    }

    #[must_use]
    pub const fn with(self, class: Class) -> Self {
        Self(self.0 | 1 << class as u8)
    }

    #[must_use]
    pub const fn without(self, class: Class) -> Self {
        Self(self.0 & !(1 << class as u8))
    }

    /// The most urgent of them.
    pub fn first(self) -> Option<Class> {
        Class::from_index(self.0.trailing_zeros() as usize)
    }
}

/// Names a job; chosen by the caller, unique among the jobs that have not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// Names a model of the shard: a small dense number below `Config::models_max`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelIndex(pub u32);

/// A thread of the shard: the front, or the lane of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thread(pub u8);

impl Thread {
    /// The executor's own thread.
    pub const FRONT: Self = Self(0);

    /// The lane of a class. REALTIME has none: it runs on the front.
    pub const fn lane_of(class: Class) -> Self {
        Self(class as u8)
    }

    /// Its number: 0 for the front.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A request to run a model once over some rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its name in events and decisions.
    pub id: JobId,
    /// The model to run.
    pub model: ModelIndex,
    /// Its urgency.
    pub class: Class,
    /// When it must be done, absolute. Without one it is ordered by its class's default budget and never rejected as late.
    pub deadline_ns: Option<u64>,
    /// What to do if the deadline cannot be met.
    pub on_miss: OnMiss,
    /// Rows along the batch dimension; 0 counts as 1.
    pub rows: u32,
    /// Jobs of one model run together only if their keys are equal; a hash of everything but the batch dimension.
    pub shape_key: u64,
}

/// What happened. Times inside are durations; when it happened is the first argument of `Policy::on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A job was asked for.
    Arrive(Job),
    /// Another shard's policy gave this job away (`Policy::take_queued`). It is queued like an arrival, but judged no more.
    Adopt(Job),
    /// The run on a thread stands at a checkpoint and waits for `Continue`, or for `Suspend` and the thread's next run. Due after
    /// `Decision::Preempt`; it may be reported at every checkpoint, and then nothing depends on ticks being on time.
    Checkpoint {
        /// Where.
        thread: Thread,
    },
    /// The run on a thread is done.
    Complete {
        /// Where.
        thread: Thread,
        /// Compute time of this run, suspensions excluded.
        elapsed_ns: u64,
        /// The longest time between two of its checkpoints.
        longest_slice_ns: u64,
    },
    /// The run on a thread ended without a result: it failed, or stopped because it was cancelled.
    Failed {
        /// Where.
        thread: Thread,
    },
    /// Nobody wants this job any more.
    Cancel {
        /// Which.
        job: JobId,
    },
    /// The data of an earlier `Decision::Prefetch` has arrived. The lead time learns from it.
    Prefetched {
        /// Of which model.
        model: ModelIndex,
    },
    /// Time has passed: due at the latest `Decision::IdleUntil`.
    Tick,
}
