//! A request inside a shard, from arrival to its answer.

use futures_channel::oneshot;
use mlos_api::{Class, Error, OnMiss, Timing};
use mlos_plugin_host::Work;
use mlos_scheduler::JobId;

use super::run::OutputTensors;
use super::standing::Asked;
use crate::registry::Ticket;

/// What a shard is asked to run. May come from another core, so everything in it is `Send`.
#[derive(Debug)]
pub(crate) struct Submission {
    /// The graph, kept from being unloaded.
    pub ticket: Ticket,
    /// Inputs, checked against the graph.
    pub work: Work,
    /// Rows of dimension 0; 1 where rows are not independent.
    pub rows: u32,
    /// Jobs may run together when theirs are equal.
    pub shape_key: u64,
    pub class: Class,
    /// Absolute.
    pub deadline_ns: Option<u64>,
    pub on_miss: OnMiss,
    pub arrived_ns: u64,
    pub arrival: Arrival,
}

/// How a job came to a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// From a client: admission judges it.
    New,
    /// From another shard, which has admitted it: it is only queued.
    Adopted,
}

/// The answer to a [`Submission`].
pub(crate) type Reply = Result<Done, Error>;

/// Where the answer goes.
#[derive(Debug)]
pub(crate) enum Answerer {
    /// To a future, on this core or another.
    Channel(oneshot::Sender<Reply>),
    /// To whoever asked for a binding of this shard.
    Asked(Asked),
}

impl Answerer {
    /// Whether nobody waits for the answer any more.
    pub fn is_canceled(&self) -> bool {
        matches!(self, Self::Channel(reply) if reply.is_canceled())
    }
}

/// A finished job.
#[derive(Debug)]
pub(crate) struct Done {
    /// The job's own: so the graph is not unloaded before the answer has been made of the outputs.
    pub ticket: Ticket,
    /// One for each output of the graph; none where it was not asked for.
    pub outputs: OutputTensors,
    pub timing: Timing,
    /// BATCH or NORMAL where it was degraded.
    pub class: Class,
}

/// A job of this shard.
#[derive(Debug)]
pub(crate) struct Job {
    pub ticket: Ticket,
    /// Away while a thread runs it.
    pub work: Option<Work>,
    pub rows: u32,
    pub shape_key: u64,
    pub class: Class,
    pub deadline_ns: Option<u64>,
    pub arrived_ns: u64,
    /// What another shard knows it by, if it came from there.
    pub foreign: Option<u64>,
    pub compute_ns: u64,
    pub preemptions: u32,
    pub parts: u32,
    /// Its outputs, where they are not in the work: it was joined with others.
    pub outputs: Option<OutputTensors>,
    /// Why its run failed, until the policy says that the job has ended.
    pub failure: Option<Error>,
    pub reply: Answerer,
}

/// The jobs of a shard, by id. An id is a slot and a generation, so that a late word about a job that has ended
/// never reaches its successor.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    slots: Vec<(u32, Option<Job>)>,
    free: Vec<u32>,
}

impl Jobs {
    pub fn insert(&mut self, job: Job) -> JobId {
        let id = self.reserve();
        self.place(id, job);
        id
    }

    /// An id for a job that is not there yet.
    pub fn reserve(&mut self) -> JobId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            u32::try_from(self.slots.len() - 1).expect("jobs are bounded by the policy's queues")
        });
        let generation = &mut self.slots[slot as usize].0;
        *generation = generation.wrapping_add(1);
        JobId(u64::from(*generation) << 32 | u64::from(slot))
    }

    /// The job of an id that was reserved.
    pub fn place(&mut self, id: JobId, job: Job) {
        self.slots[slot_of(id)].1 = Some(job);
    }

    /// The id was reserved, and there is not going to be a job.
    pub fn release(&mut self, id: JobId) {
        debug_assert!(self.slots[slot_of(id)].1.is_none(), "its job would be lost");
        self.give_back(slot_of(id));
    }

    fn give_back(&mut self, slot: usize) {
        self.free
            .push(u32::try_from(slot).expect("slots are counted in u32"));
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    pub fn get_mut(&mut self, id: JobId) -> Option<&mut Job> {
        let (generation, job) = self.slots.get_mut(slot_of(id))?;
        if u64::from(*generation) == id.0 >> 32 {
            job.as_mut()
        } else {
            None
        }
    }

    pub fn remove(&mut self, id: JobId) -> Option<Job> {
        let slot = slot_of(id);
        let (generation, job) = self.slots.get_mut(slot)?;
        if u64::from(*generation) != id.0 >> 32 {
            return None;
        }
        let job = job.take()?;
        self.give_back(slot);
        Some(job)
    }

    /// Takes all jobs out.
    pub fn drain(&mut self) -> Vec<Job> {
        let jobs = self.slots.iter_mut().filter_map(|(_, job)| job.take()).collect();
        self.free = (0..u32::try_from(self.slots.len()).expect("slots are counted in u32")).collect();
        jobs
    }
}

fn slot_of(id: JobId) -> usize {
    (id.0 & u64::from(u32::MAX)) as usize
}
