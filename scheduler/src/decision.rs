//! What the policy answers.

use alloc::vec::Vec;

use crate::job::{Class, JobId, ModelIndex, Thread};

/// Why a job was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Why {
    /// It is predicted to miss its deadline.
    DeadlineMiss,
    /// The queue of its class is full: overloaded.
    QueueFull,
    /// REALTIME work already fills the part of the window that it may.
    UtilisationBound,
    /// No such model on this shard.
    UnknownModel,
    /// The model was removed while the job waited.
    ModelRemoved,
    /// A job of this id has not ended yet.
    DuplicateJob,
}

/// Rows of one job within a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// The job.
    pub job: JobId,
    /// The first of its rows that this run computes.
    pub first_row: u32,
    /// How many of them.
    pub rows: u32,
}

/// A run to start. [`Decisions::members`] has its members, in row order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// Where.
    pub thread: Thread,
    /// The class it counts for.
    pub class: Class,
    /// What to run.
    pub model: ModelIndex,
    /// Rows of all members together.
    pub rows: u32,
    pub(crate) first_member: u32,
    pub(crate) members: u32,
}

/// What to do now. The caller carries decisions out in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Start a run.
    Dispatch(Dispatch),
    /// Set aside the run that stands at a checkpoint on this thread; at most one for each class and thread.
    Suspend {
        /// Where.
        thread: Thread,
        /// The place where it is kept.
        class: Class,
    },
    /// Go on with the run that was set aside.
    Resume {
        /// Where.
        thread: Thread,
        /// The place where it was kept.
        class: Class,
        /// Its first member.
        job: JobId,
    },
    /// Go on with the run that stands at a checkpoint.
    Continue {
        /// Where.
        thread: Thread,
    },
    /// Ask the run on this thread to report its next checkpoint.
    Preempt {
        /// Where.
        thread: Thread,
    },
    /// The job ends: it is not run, or not any further.
    Reject {
        /// Which.
        job: JobId,
        /// Why.
        why: Why,
        /// When it would have been done, absolute; 0 if not known.
        predicted_ns: u64,
    },
    /// The job was accepted as best effort, in this class.
    Degrade {
        /// Which.
        job: JobId,
        /// The class that it now has.
        class: Class,
        /// When it would have been done, absolute; 0 if not known.
        predicted_ns: u64,
    },
    /// Stop the run with this job at its next checkpoint, then report `Failed` (or `Complete`, if it was faster). A run
    /// that is set aside is resumed in its turn, to stop.
    CancelRunning {
        /// Where.
        thread: Thread,
        /// Which.
        job: JobId,
    },
    /// The job ends without a result: it was cancelled, or its run failed.
    Dropped {
        /// Which.
        job: JobId,
    },
    /// The job ends: all its rows are done.
    Finished {
        /// Which.
        job: JobId,
    },
    /// Bring the model's memory close, it is used next.
    Prefetch {
        /// Which.
        model: ModelIndex,
    },
    /// Send [`crate::Event::Tick`] at this time at the latest. Replaces any earlier one; an answer without it lifts it.
    IdleUntil {
        /// When, absolute.
        at_ns: u64,
    },
}

/// The answer to one event.
#[derive(Debug, Default)]
pub struct Decisions {
    list: Vec<Decision>,
    members: Vec<Member>,
}

impl Decisions {
    pub(crate) fn with_capacity(decisions_max: usize, members_max: usize) -> Self {
        Self {
            list: Vec::with_capacity(decisions_max),
            members: Vec::with_capacity(members_max),
        }
    }

    /// The decisions in the order in which they must be carried out.
    pub fn iter(&self) -> core::slice::Iter<'_, Decision> {
        self.list.iter()
    }

    /// The decisions as a slice.
    pub fn as_slice(&self) -> &[Decision] {
        &self.list
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Who takes part in a run of this answer, in row order.
    pub fn members(&self, dispatch: &Dispatch) -> &[Member] {
        let first = dispatch.first_member as usize;
        self.members
            .get(first..first + dispatch.members as usize)
            .unwrap_or(&[])
    }

    pub(crate) fn clear(&mut self) {
        self.list.clear();
        self.members.clear();
    }

    pub(crate) fn push(&mut self, decision: Decision) {
        debug_assert!(
            self.list.len() < self.list.capacity(),
            "decisions never outgrow their buffer"
        );
        self.list.push(decision);
    }

    pub(crate) fn members_len(&self) -> u32 {
        self.members.len() as u32
    }

    pub(crate) fn push_member(&mut self, member: Member) {
        debug_assert!(
            self.members.len() < self.members.capacity(),
            "members never outgrow their buffer"
        );
        self.members.push(member);
    }
}

impl<'a> IntoIterator for &'a Decisions {
    type Item = &'a Decision;
    type IntoIter = core::slice::Iter<'a, Decision>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// What would become of a job that arrived now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// When it would be done, absolute: now, what must run first, and its own bound.
    pub completion_ns: u64,
    /// The bound of its own run time: mean and three deviations.
    pub bound_ns: u64,
    /// The completion is past the deadline. Never so without a deadline or with an unknown cost.
    pub would_miss: bool,
    /// The cost model has seen the model at this size; else `bound_ns` is an extrapolation or the configured default.
    pub known: bool,
    /// Where it would run.
    pub placement: Thread,
}
