//! What is asked of a binding, may run on the front at once, and is over before anything else happens: most of what a
//! client in a hurry asks.
//!
//! The policy is told the same events in the same order as of every other job, and decides as always. Only if all that it
//! says is "run this one, here" and then "it has finished" is no job made of the question: what is known of it stays on
//! the stack from the ask to the answer, and nothing is put away to be found again. On any other word of the policy it
//! becomes a job like the others.

use std::cell::Cell;

use mlos_api::{Asker, Timing};
use mlos_plugin_host::{Call, Finished};
use mlos_scheduler::{Class, Decision, Decisions, Event, JobId, Thread};
use smallvec::SmallVec;

use super::counts::Ran;
use super::engine::{actions_of, plugin_error, restarted};
use super::job::{Answerer, Job};
use super::standing::{Asked, Held, Question};
use super::{Input, Shard};
use crate::class::{on_miss, to_policy};
use crate::clock;
use crate::config::PreemptionMode;
use crate::metrics::{add, bump};

const FRONT: Thread = Thread::FRONT;

impl Shard {
    /// Runs what is asked at once if the policy says so, else takes it in. A panic in here starts the shard's state anew.
    pub fn run_at_once(&self, id: JobId, question: &Question<'_>, held: Held) {
        bump(&self.counters.class(question.class).arrived);
        let arrival = Event::Arrive(mlos_scheduler::Job {
            id,
            model: held.ticket.graph().index,
            class: to_policy(question.class),
            deadline_ns: question.deadline_ns,
            on_miss: on_miss(question.on_miss),
            rows: question.rows,
            shape_key: question.shape_key,
        });
        // Until it is answered, or there is a job that will be.
        let owed = Cell::new(true);
        self.guarded(|| self.serve((id, question, &owed), held, arrival));
        if owed.get() {
            self.answer(
                question.whom(),
                Err(restarted()),
                Timing::default(),
                question.class,
            );
        }
    }

    fn serve(&self, asked: (JobId, &Question<'_>, &Cell<bool>), held: Held, arrival: Event) {
        let (id, question, owed) = asked;
        let otherwise = self.consult(question.arrived_ns, Input::Event(arrival), |decisions| {
            (!self.is_its_start(id, question, decisions)).then(|| actions_of(decisions))
        });
        if let Some(actions) = otherwise {
            self.jobs.borrow_mut().place(id, question.job(held));
            owed.set(false);
            return self.work_off(actions);
        }
        let Held { ticket, work } = held;
        bump(&ticket.graph().counters(self.index).runs);
        let finished = Call::run_whole(work, &self.pool);
        add(
            &ticket.graph().counters(self.index).compute_ns,
            finished.compute_ns,
        );
        let failure = finished.result.as_ref().err().map(plugin_error);
        let (end, now_ns) = match failure {
            None => (complete(&finished), clock::of_monotonic_ns(finished.ended_ns)),
            // Perhaps the plugin was never called.
            Some(_) => (Event::Failed { thread: FRONT }, clock::now_ns()),
        };
        let otherwise = self.consult(now_ns, Input::Event(end), |decisions| {
            let is_its_end = decisions.as_slice() == [Decision::Finished { job: id }];
            (!is_its_end).then(|| actions_of(decisions))
        });
        let held = Held {
            ticket,
            work: finished.work,
        };
        if let Some(actions) = otherwise {
            let job = Job {
                compute_ns: finished.compute_ns,
                parts: 1,
                failure,
                ..question.job(held)
            };
            self.jobs.borrow_mut().place(id, job);
            owed.set(false);
            return self.work_off(actions);
        }
        self.jobs.borrow_mut().release(id);
        let timing = self.note_finished(&Ran {
            graph: held.ticket.graph(),
            class: question.class,
            arrived_ns: question.arrived_ns,
            deadline_ns: question.deadline_ns,
            compute_ns: finished.compute_ns,
            preemptions: 0,
            parts: 1,
        });
        owed.set(false);
        self.answer(question.whom(), Ok(held), timing, question.class);
        self.fresh_ns.set(now_ns);
        self.work_off(SmallVec::new());
    }

    /// Whether all that is to be done is to run this job whole on the front, to its end.
    fn is_its_start(&self, id: JobId, question: &Question<'_>, decisions: &Decisions) -> bool {
        let [Decision::Dispatch(dispatch)] = decisions.as_slice() else {
            return false;
        };
        let runs_whole = self.mode == PreemptionMode::Lanes || dispatch.class == Class::Realtime;
        let [member] = decisions.members(dispatch) else {
            return false;
        };
        dispatch.thread == FRONT && runs_whole && member.job == id && member.rows == question.rows.max(1)
    }
}

fn complete(finished: &Finished) -> Event {
    Event::Complete {
        thread: FRONT,
        elapsed_ns: finished.compute_ns,
        longest_slice_ns: finished.longest_slice_ns,
    }
}

impl Question<'_> {
    fn whom(&self) -> (u32, u64, &dyn Asker) {
        (self.standing, self.number, &**self.asker)
    }

    /// The job that it is where it is not answered at once.
    fn job(&self, held: Held) -> Job {
        Job {
            ticket: held.ticket,
            work: Some(held.work),
            rows: self.rows,
            shape_key: self.shape_key,
            class: self.class,
            deadline_ns: self.deadline_ns,
            arrived_ns: self.arrived_ns,
            foreign: None,
            compute_ns: 0,
            preemptions: 0,
            parts: 0,
            failure: None,
            outputs: None,
            reply: Answerer::Asked(Asked {
                standing: self.standing,
                number: self.number,
                asker: self.asker.clone(),
            }),
        }
    }
}
