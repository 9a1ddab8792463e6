//! The threads of a shard, and the runs on them.

use alloc::vec;
use alloc::vec::Vec;

use crate::job::{Class, ClassSet, ModelIndex};
use crate::limits::{MEMBERS_MAX, RUNS_MAX};
use crate::shares::Shares;
use crate::slots::NONE;

/// A job's part in a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub slot: u32,
    pub rows: u32,
}

/// Jobs of one model that are computed together.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub model: ModelIndex,
    pub generation: u32,
    pub class: Class,
    pub rows: u32,
    /// The earliest deadline of its members.
    pub deadline_ns: u64,
    pub mean_ns: u64,
    pub bound_ns: u64,
    pub slice_ns: u64,
    /// The cost was known when it was started.
    pub known: bool,
    pub cancelled: bool,
    /// Time on the thread so far.
    pub ran_ns: u64,
    parts: [Part; MEMBERS_MAX],
    len: usize,
}

impl Run {
    pub const EMPTY: Self = Self {
        model: ModelIndex(0),
        generation: 0,
        class: Class::Normal,
        rows: 0,
        deadline_ns: u64::MAX,
        mean_ns: 0,
        bound_ns: 0,
        slice_ns: 0,
        known: false,
        cancelled: false,
        ran_ns: 0,
        parts: [Part { slot: NONE, rows: 0 }; MEMBERS_MAX],
        len: 0,
    };

    /// Makes it a new run without members.
    pub fn reset(&mut self, model: ModelIndex, generation: u32, class: Class) {
        self.model = model;
        self.generation = generation;
        self.class = class;
        self.rows = 0;
        self.deadline_ns = u64::MAX;
        self.cancelled = false;
        self.ran_ns = 0;
        self.len = 0;
    }

    pub fn parts(&self) -> &[Part] {
        &self.parts[..self.len]
    }

    pub fn is_full(&self) -> bool {
        self.len == MEMBERS_MAX
    }

    pub fn push(&mut self, slot: u32, rows: u32, deadline_ns: u64) {
        self.parts[self.len] = Part { slot, rows };
        self.len += 1;
        self.rows += rows;
        self.deadline_ns = self.deadline_ns.min(deadline_ns);
    }
}

/// All runs that can exist.
#[derive(Debug)]
pub(crate) struct Runs {
    runs: Vec<Run>,
    free: Vec<u8>,
}

impl Runs {
    pub fn new() -> Self {
        Self {
            runs: vec![Run::EMPTY; RUNS_MAX],
            free: (0..RUNS_MAX as u8).rev().collect(),
        }
    }

    pub fn take(&mut self) -> u8 {
        self.free
            .pop()
            .expect("each thread has a running run and one set aside in each class at most")
    }

    pub fn give_back(&mut self, run: u8) {
        self.free.push(run);
    }

    pub fn get(&self, run: u8) -> &Run {
        &self.runs[run as usize]
    }

    pub fn get_mut(&mut self, run: u8) -> &mut Run {
        &mut self.runs[run as usize]
    }
}

/// One thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadState {
    pub running: Option<u8>,
    /// Set aside at a checkpoint, one of each class.
    pub suspended: [Option<u8>; Class::COUNT],
    /// Jobs between two of their parts, one of each class; a slot or [`NONE`].
    pub resting: [u32; Class::COUNT],
    /// Of which classes anything waits: queued, resting or suspended.
    pub waiting: ClassSet,
    /// The running run has been asked for a checkpoint.
    pub preempt_asked: bool,
    /// What ran last.
    pub warm: Option<ModelIndex>,
    /// Runs in a row that went first for being warm.
    pub warm_streak: u32,
    pub shares: Shares,
    /// Up to when time has been accounted for.
    pub charged_ns: u64,
    /// When something must be decided without another event; `u64::MAX` for never.
    pub wake_ns: u64,
}

impl ThreadState {
    pub const IDLE: Self = Self {
        running: None,
        suspended: [None; Class::COUNT],
        resting: [NONE; Class::COUNT],
        waiting: ClassSet::EMPTY,
        preempt_asked: false,
        warm: None,
        warm_streak: 0,
        shares: Shares::NONE,
        charged_ns: 0,
        wake_ns: u64::MAX,
    };
}
