//! What stands ready to be asked: tensors that were checked once, and the work that was made of them.

use std::rc::Rc;
use std::sync::Arc;

use mlos_api::{Asker, Binding, Class, Error, OnMiss, Outcome, Terms, Timing};
use mlos_plugin_host::{Outputs, Work};
use mlos_scheduler::{Event, JobId};
use mlos_tensor_mem::Shape;

use super::Shard;
use super::job::{Answerer, Submission};
use crate::clock;
use crate::registry::{Bound, Graph, Ticket};

/// The bindings of a shard, by number.
#[derive(Default)]
pub(crate) struct Standings {
    slots: Vec<Option<Standing>>,
    free: Vec<u32>,
}

/// One binding.
struct Standing {
    binding: Binding,
    /// Checked against a graph; none when that graph has gone.
    ready: Option<Ready>,
    /// Of which models it was checked.
    era: u64,
    /// Asked, and not answered.
    job: Option<JobId>,
    /// Nobody will ask again: it goes when the job has ended.
    released: bool,
}

/// A graph and the work for it.
struct Ready {
    graph: Arc<Graph>,
    class_default: Class,
    rows: u32,
    shape_key: u64,
    /// None while it runs.
    held: Option<Held>,
}

/// What goes with a job and comes back with its answer. The ticket too: to take a new one each time would be two
/// atomic operations, each of which waits until what was last written for the client has left this core's cache.
pub(crate) struct Held {
    pub ticket: Ticket,
    pub work: Work,
}

/// What is asked of a binding, before a job is made of it.
pub(crate) struct Question<'a> {
    pub standing: u32,
    pub number: u64,
    pub asker: &'a Rc<dyn Asker>,
    pub rows: u32,
    pub shape_key: u64,
    pub class: Class,
    /// Absolute.
    pub deadline_ns: Option<u64>,
    pub on_miss: OnMiss,
    pub arrived_ns: u64,
}

/// Who asked for a job, by binding.
pub(crate) struct Asked {
    pub standing: u32,
    pub number: u64,
    pub asker: Rc<dyn Asker>,
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Asked({} of binding {})", self.number, self.standing)
    }
}

impl Standings {
    fn insert(&mut self, standing: Standing) -> u32 {
        if let Some(free) = self.free.pop() {
            self.slots[free as usize] = Some(standing);
            return free;
        }
        self.slots.push(Some(standing));
        u32::try_from(self.slots.len() - 1).expect("edges bound their bindings")
    }

    fn get(&mut self, index: u32) -> &mut Standing {
        self.slots[index as usize]
            .as_mut()
            .expect("a binding stays until it is released")
    }

    fn remove(&mut self, index: u32) -> Option<Standing> {
        self.free.push(index);
        self.slots[index as usize].take()
    }
}

impl Shard {
    /// Checks a binding, and keeps it under a number.
    pub fn bind(&self, binding: Binding) -> Result<u32, Error> {
        self.fresh_ns.set(0);
        let ready = self.ready(&binding)?;
        Ok(self.standings.borrow_mut().insert(Standing {
            binding,
            ready: Some(ready),
            era: self.era.get(),
            job: None,
            released: false,
        }))
    }

    /// Runs what is bound. The answer comes through the asker, perhaps before this returns.
    pub fn ask(&self, index: u32, terms: Terms, asker: &Rc<dyn Asker>, number: u64) -> Result<(), Error> {
        let arrived_ns = match self.fresh_ns.take() {
            0 => clock::now_ns(),
            fresh_ns => fresh_ns,
        };
        let mut standings = self.standings.borrow_mut();
        let standing = standings.get(index);
        if standing.job.is_some() {
            return Err(Error::Conflict(
                "the binding is being asked already; wait for the answer, or bind other memory".to_owned(),
            ));
        }
        let ready = self.renewed(standing)?;
        let question = Question {
            standing: index,
            number,
            asker,
            rows: ready.rows,
            shape_key: ready.shape_key,
            class: terms.class.unwrap_or(ready.class_default),
            deadline_ns: terms.deadline.map(|deadline| clock::after(arrived_ns, deadline)),
            on_miss: terms.on_miss,
            arrived_ns,
        };
        let held = ready.held.take().expect("nobody else runs it");
        let id = self.jobs.borrow_mut().reserve();
        standing.job = Some(id);
        drop(standings);
        self.run_at_once(id, &question, held);
        Ok(())
    }

    /// Ends a burst: what is asked next has come later, and the time is read anew for it.
    pub fn asked_all(&self) {
        self.fresh_ns.set(0);
    }

    /// Takes a job in again that was taken out of the queue.
    pub fn ask_again(&self, submission: Submission, asked: Asked) {
        let index = asked.standing;
        let (job, arrival) = self.enter(submission, None, Answerer::Asked(asked));
        self.standings.borrow_mut().get(index).job = Some(job);
        self.feed(arrival);
    }

    /// Cancels what is being asked.
    pub fn cancel_asked(&self, index: u32) {
        let job = self.standings.borrow_mut().get(index).job;
        if let Some(job) = job {
            self.feed(Event::Cancel { job });
        }
    }

    /// Nobody will ask again.
    pub fn release(&self, index: u32) {
        let job = {
            let mut standings = self.standings.borrow_mut();
            let standing = standings.get(index);
            standing.released = true;
            standing.job
        };
        match job {
            Some(job) => self.feed(Event::Cancel { job }),
            None => drop(self.standings.borrow_mut().remove(index)),
        }
    }

    /// Tells the asker how its request ended, and has the work stand ready again.
    pub fn answer_asked(&self, asked: &Asked, result: Result<Held, Error>, timing: Timing, class: Class) {
        self.answer(
            (asked.standing, asked.number, &*asked.asker),
            result,
            timing,
            class,
        );
    }

    /// The same, to the asker of this binding under this number.
    pub fn answer(
        &self,
        (standing, number, asker): (u32, u64, &dyn Asker),
        result: Result<Held, Error>,
        timing: Timing,
        class: Class,
    ) {
        let tell = |result: Result<&[Option<Shape>], &Error>| {
            asker.answered(
                number,
                &Outcome {
                    result,
                    timing,
                    class,
                },
            );
        };
        match result {
            Ok(mut held) => {
                tell(Ok(held.work.shapes()));
                held.work.again();
                self.stand_again(standing, Some(held));
            }
            Err(error) => {
                self.stand_again(standing, None);
                tell(Err(&error));
            }
        }
    }

    fn stand_again(&self, index: u32, held: Option<Held>) {
        let mut standings = self.standings.borrow_mut();
        let standing = standings.get(index);
        standing.job = None;
        if standing.released {
            let gone = standings.remove(index);
            drop(standings);
            drop(gone);
            return;
        }
        match (&mut standing.ready, held) {
            (Some(ready), Some(held)) if standing.era == self.era.get() => ready.held = Some(held),
            // The models have changed, or it failed: what is left is not used again.
            (ready, _) => *ready = None,
        }
    }

    /// Has the bindings whose requests were lost in a panic stand ready again.
    pub fn free_standings(&self) {
        let mut standings = self.standings.borrow_mut();
        let mut gone = Vec::new();
        for index in 0..standings.slots.len() {
            let Some(standing) = &mut standings.slots[index] else {
                continue;
            };
            if standing.job.take().is_some() {
                standing.ready = None;
                if standing.released {
                    gone.push(standings.remove(index as u32));
                }
            }
        }
        drop(standings);
    }

    /// Lets go of every graph that a binding would not get any more: it may be waiting to be unloaded. What runs lets go
    /// when it has ended.
    pub fn refresh_standings(&self) {
        let mut standings = self.standings.borrow_mut();
        for standing in standings.slots.iter_mut().flatten() {
            if standing.job.is_none() && !self.is_current(standing) {
                standing.ready = None;
            }
        }
    }

    /// Whether what stands ready is what the models as they are now would give.
    fn is_current(&self, standing: &Standing) -> bool {
        let Some(ready) = &standing.ready else {
            return false;
        };
        let binding = &standing.binding;
        let snapshot = self.snapshot.borrow();
        let entry = snapshot.find_ready(&binding.model);
        entry
            .and_then(|entry| entry.graph(binding.component.as_deref()))
            .is_ok_and(|graph| Arc::ptr_eq(graph, &ready.graph))
    }

    /// The graph and the work, of the models as they are now.
    fn renewed<'s>(&self, standing: &'s mut Standing) -> Result<&'s mut Ready, Error> {
        let era = self.era.get();
        if standing.era != era || standing.ready.is_none() {
            if !self.is_current(standing) {
                standing.ready = Some(self.ready(&standing.binding)?);
            }
            standing.era = era;
        }
        Ok(standing.ready.as_mut().expect("it was just made"))
    }

    fn ready(&self, binding: &Binding) -> Result<Ready, Error> {
        let entry = self.snapshot.borrow().find_ready(&binding.model)?.clone();
        let graph = entry.graph(binding.component.as_deref())?;
        let Bound {
            work,
            rows,
            shape_key,
        } = graph.fit(binding.inputs.clone(), Outputs::Into(&binding.outputs))?;
        Ok(Ready {
            graph: graph.clone(),
            class_default: entry.detail.class_default,
            rows,
            shape_key,
            held: Some(Held {
                ticket: Ticket::new(graph),
                work,
            }),
        })
    }
}
