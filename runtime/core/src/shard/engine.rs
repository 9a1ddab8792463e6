//! Carries out what the policy decides.
//!
//! [`Shard::feed`] is the only way in: an event goes to the policy, its decisions are done one after the other, and
//! what they cause — a run on the front that has ended — becomes the next event. Nothing here decides anything.

use futures_channel::oneshot;
use mlos_api::{Class, Error, Timing};
use mlos_plugin_host::{ErrorKind, Work};
use mlos_scheduler::{Decision, Decisions, Dispatch, Event, JobId, Member, ModelIndex, Thread, Why};
use smallvec::SmallVec;
use tracing::trace;

use super::counts::Ran;
use super::job::{Answerer, Arrival, Done, Job, Reply, Submission};
use super::lane::Command;
use super::run::{Ended, Load, OutputTensors, Run};
use super::standing::Held;
use super::{Input, Shard, front};
use crate::class::{from_policy, on_miss, to_policy};
use crate::config::PreemptionMode;
use crate::metrics::{add, bump};
use crate::{clock, executor};

/// A decision with what it refers to, copied out of the policy.
pub(crate) struct Action {
    decision: Decision,
    members: SmallVec<[Member; 1]>,
}

/// What the policy has said, in its order.
pub(crate) type Actions = SmallVec<[Action; 4]>;

/// Copies an answer of the policy out.
pub(crate) fn actions_of(decisions: &Decisions) -> Actions {
    let action = |decision: &Decision| Action {
        decision: *decision,
        members: match decision {
            Decision::Dispatch(dispatch) => SmallVec::from_slice(decisions.members(dispatch)),
            _ => SmallVec::new(),
        },
    };
    decisions.iter().map(action).collect()
}

impl Shard {
    /// Takes a job in. The answer comes through the channel, perhaps before this returns.
    pub fn submit(
        &self,
        submission: Submission,
        foreign: Option<u64>,
        reply: oneshot::Sender<Reply>,
    ) -> JobId {
        let (id, arrival) = self.enter(submission, foreign, Answerer::Channel(reply));
        self.feed(arrival);
        id
    }

    /// Makes a job of a submission, and the event that the policy is to be told of it.
    pub fn enter(&self, submission: Submission, foreign: Option<u64>, reply: Answerer) -> (JobId, Event) {
        let Submission {
            ticket,
            work,
            rows,
            shape_key,
            class,
            deadline_ns,
            on_miss: late,
            arrived_ns,
            arrival,
        } = submission;
        let model = ticket.graph().index;
        if arrival == Arrival::New {
            bump(&self.counters.class(class).arrived);
        }
        let id = self.jobs.borrow_mut().insert(Job {
            ticket,
            work: Some(work),
            rows,
            shape_key,
            class,
            deadline_ns,
            arrived_ns,
            foreign,
            compute_ns: 0,
            preemptions: 0,
            parts: 0,
            failure: None,
            outputs: None,
            reply,
        });
        if let Some(ticket) = foreign {
            self.foreign.borrow_mut().insert(ticket, id);
        }
        let class = to_policy(class);
        let on_miss = on_miss(late);
        let job = mlos_scheduler::Job {
            id,
            model,
            class,
            deadline_ns,
            on_miss,
            rows,
            shape_key,
        };
        let event = match arrival {
            Arrival::New => Event::Arrive(job),
            Arrival::Adopted => Event::Adopt(job),
        };
        (id, event)
    }

    /// Tells the policy what happened, and does what it says. A panic in here starts the shard's state anew.
    pub fn feed(&self, event: Event) {
        self.take_in(Input::Event(event));
    }

    /// Tells the policy that a model is gone. What it decides on that account is done like everything else.
    pub fn remove_model(&self, model: ModelIndex) {
        self.take_in(Input::Remove(model));
    }

    fn take_in(&self, input: Input) {
        self.fresh_ns.set(0);
        self.inputs.borrow_mut().push_back(input);
        if !self.feeding.get() {
            self.guarded(|| self.work_off(SmallVec::new()));
        }
    }

    /// Does what feeds the policy. A panic in it starts the shard's state anew.
    pub fn guarded(&self, feed: impl FnOnce()) {
        debug_assert!(!self.feeding.get(), "what is fed meanwhile is put in line");
        self.feeding.set(true);
        let fed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(feed));
        self.feeding.set(false);
        if fed.is_err() {
            self.start_anew();
        }
        self.publish_gauges();
        self.share_bulk();
    }

    /// Does what the policy has said, and then tells it what is in line.
    pub fn work_off(&self, mut actions: Actions) {
        loop {
            actions.into_iter().for_each(|action| self.carry_out(action));
            let Some(input) = self.next_input() else { return };
            actions = self.consult(clock::now_ns(), input, actions_of);
        }
    }

    fn next_input(&self) -> Option<Input> {
        self.inputs.borrow_mut().pop_front()
    }

    /// Comes next, after what has been said before.
    fn say_next(&self, event: Event) {
        self.inputs.borrow_mut().push_back(Input::Event(event));
    }

    /// Asks the policy, and reads its answer.
    pub(super) fn consult<T>(&self, now_ns: u64, input: Input, read: impl FnOnce(&Decisions) -> T) -> T {
        let mut policy = self.policy.borrow_mut();
        self.decided_ns.set(now_ns);
        self.tick_ns.set(u64::MAX);
        let decisions = match input {
            Input::Event(event) => policy.on(now_ns, event),
            Input::Remove(model) => policy.remove_model(now_ns, model),
        };
        trace!(shard = self.index, ?input, decisions = ?decisions.as_slice());
        read(decisions)
    }

    fn carry_out(&self, action: Action) {
        match action.decision {
            Decision::Dispatch(dispatch) => self.dispatch(dispatch, action.members),
            Decision::Suspend { thread, class } => self.suspend(thread, class.index()),
            Decision::Resume { thread, class, .. } => self.resume(thread, class.index()),
            Decision::Continue { thread } => self.go_on(thread),
            Decision::Preempt { thread } => self.preempt(thread),
            Decision::Reject {
                job,
                why,
                predicted_ns,
            } => self.reject(job, why, predicted_ns),
            Decision::Degrade { job, class, .. } => self.degrade(job, from_policy(class)),
            Decision::CancelRunning { thread, job } => self.cancel_running(thread, job),
            Decision::Dropped { job } => self.dropped(job),
            Decision::Finished { job } => self.finished(job),
            // A loaded model's memory is resident on its node: there is nothing to bring closer yet.
            Decision::Prefetch { model } => self.say_next(Event::Prefetched { model }),
            Decision::IdleUntil { at_ns } => self.tick_at(at_ns),
        }
    }

    fn dispatch(&self, dispatch: Dispatch, members: SmallVec<[Member; 1]>) {
        let thread = dispatch.thread;
        let seq = self.next_seq.get();
        self.next_seq.set(seq + 1);
        let load = self.load(&members);
        self.threads.borrow_mut()[thread.index()].running = Some(Run {
            seq,
            members,
            cancelled: false,
        });
        match self.graphs.borrow().get(dispatch.model.0 as usize) {
            Some(Some(graph)) => bump(&graph.counters(self.index).runs),
            _ => unreachable!(
                "the policy dispatches models that it was given, and the shard keeps them as long"
            ),
        }
        if thread != Thread::FRONT {
            self.lane(thread).tell(Command::Start { seq, load });
        } else if self.mode == PreemptionMode::Lanes || dispatch.class == mlos_scheduler::Class::Realtime {
            let ended = front::run_whole(seq, load, &self.pool);
            self.ended(thread, seq, ended);
        } else if let Err(ended) = self.front.start(seq, load, &self.pool, self.slice_ns()) {
            self.ended(thread, seq, *ended);
        }
    }

    /// How long cooperative work may hold the front.
    fn slice_ns(&self) -> Option<u64> {
        (self.mode == PreemptionMode::Layer).then_some(self.config.slice_target_us * 1_000)
    }

    /// Takes the work of the members for their thread.
    fn load(&self, members: &[Member]) -> Load {
        let mut jobs = self.jobs.borrow_mut();
        let mut take = |member: &Member| {
            let job = jobs
                .get_mut(member.job)
                .expect("the policy dispatches jobs that have not ended");
            job.parts += 1;
            // Of a job that moved to another shard, the word that its client has gone may have been lost on the way.
            if job.reply.is_canceled() {
                self.say_next(Event::Cancel { job: member.job });
            }
            let whole = member.rows == job.rows.max(1);
            (
                job.work
                    .take()
                    .expect("the work of a job is with one thread at a time"),
                whole,
            )
        };
        if let [member] = members {
            let (work, whole) = take(member);
            let rows = member.first_row as usize..(member.first_row + member.rows) as usize;
            return Load::One(work, (!whole).then_some(rows));
        }
        let works = members.iter().map(|member| {
            let (work, whole) = take(member);
            debug_assert!(whole, "the policy joins whole jobs");
            // Not the policy's count, to which a job of no rows is one of one row.
            let rows = work.rows().unwrap_or(member.rows as usize);
            (work, rows)
        });
        Load::Joined(works.collect())
    }

    fn suspend(&self, thread: Thread, class: usize) {
        let mut threads = self.threads.borrow_mut();
        let state = &mut threads[thread.index()];
        state.aside[class] = state.running.take();
        let Some(run) = &state.aside[class] else { return };
        for member in &run.members {
            if let Some(job) = self.jobs.borrow_mut().get_mut(member.job) {
                job.preemptions += 1;
                bump(&self.counters.class(job.class).preempted);
            }
        }
        if thread == Thread::FRONT {
            self.front.suspend(class);
        } else {
            self.lane(thread).tell(Command::Suspend(class));
        }
    }

    fn resume(&self, thread: Thread, class: usize) {
        let mut threads = self.threads.borrow_mut();
        let state = &mut threads[thread.index()];
        state.running = state.aside[class].take();
        if thread == Thread::FRONT {
            self.front.resume(class);
        } else {
            if let Some(run) = state.running.as_ref().filter(|run| run.cancelled) {
                self.lane(thread).signal().cancel(run.seq);
            }
            self.lane(thread).tell(Command::Resume(class));
        }
    }

    fn go_on(&self, thread: Thread) {
        if thread == Thread::FRONT {
            self.front.go_on();
        } else {
            self.lane(thread).tell(Command::Continue);
        }
    }

    /// The front's run always stands at a checkpoint when somebody else has the front to say so. Unless it was run
    /// whole: then it has ended before the policy could know.
    fn preempt(&self, thread: Thread) {
        let threads = self.threads.borrow();
        let Some(run) = &threads[thread.index()].running else {
            return;
        };
        if thread == Thread::FRONT {
            self.say_next(Event::Checkpoint { thread });
        } else {
            self.lane(thread).signal().preempt(run.seq);
        }
    }

    fn cancel_running(&self, thread: Thread, job: JobId) {
        let mut threads = self.threads.borrow_mut();
        let state = &mut threads[thread.index()];
        let of_job = |run: &&mut Run| run.members.iter().any(|member| member.job == job);
        if let Some(run) = state.running.as_mut().filter(of_job) {
            run.cancelled = true;
            if thread == Thread::FRONT {
                self.front.cancel(run.seq);
            } else {
                self.lane(thread).signal().cancel(run.seq);
            }
        } else if let Some(run) = state.aside.iter_mut().flatten().find(|run| of_job(run)) {
            run.cancelled = true;
            if thread == Thread::FRONT {
                self.front.cancel(run.seq);
            }
        }
    }

    /// The run that a thread says has ended. None where the shard has been started anew since: nobody waits for it.
    fn take_run(&self, thread: Thread, seq: u64) -> Option<Run> {
        let running = &mut self.threads.borrow_mut()[thread.index()].running;
        running.take_if(|run| run.seq == seq)
    }

    /// A thread panicked in its run, and what it held is gone.
    pub fn lost(&self, thread: Thread, seq: u64) {
        let Some(run) = self.take_run(thread, seq) else {
            return;
        };
        for member in &run.members {
            if let Some(job) = self.jobs.borrow_mut().get_mut(member.job) {
                job.failure = Some(Error::Internal("the thread that ran it panicked".to_owned()));
            }
        }
        self.feed(Event::Failed { thread });
    }

    /// A thread says that its run has ended.
    pub fn ended(&self, thread: Thread, seq: u64, ended: Ended) {
        let Some(run) = self.take_run(thread, seq) else {
            return;
        };
        let failure = ended.result.as_ref().err().map(plugin_error);
        let share_ns = ended.compute_ns / run.members.len().max(1) as u64;
        let mut jobs = self.jobs.borrow_mut();
        for (member, (work, outputs)) in run.members.iter().zip(ended.members) {
            let Some(job) = jobs.get_mut(member.job) else {
                continue;
            };
            job.compute_ns += ended.compute_ns;
            job.work = Some(work);
            job.outputs = outputs;
            job.failure.clone_from(&failure);
            add(&job.ticket.graph().counters(self.index).compute_ns, share_ns);
        }
        drop(jobs);
        let Ended {
            compute_ns: elapsed_ns,
            longest_slice_ns,
            ..
        } = ended;
        self.feed(match failure {
            None => Event::Complete {
                thread,
                elapsed_ns,
                longest_slice_ns,
            },
            Some(_) => Event::Failed { thread },
        });
    }

    fn take_job(&self, id: JobId) -> Option<Job> {
        let job = self.jobs.borrow_mut().remove(id)?;
        if let Some(ticket) = job.foreign {
            self.foreign.borrow_mut().remove(&ticket);
        }
        Some(job)
    }

    fn finished(&self, id: JobId) {
        let Some(mut job) = self.take_job(id) else { return };
        let produced = match take_produced(&mut job) {
            Ok(produced) => produced,
            Err(error) => return self.answer_failed(job, error),
        };
        let timing = self.note_finished(&Ran {
            graph: job.ticket.graph(),
            class: job.class,
            arrived_ns: job.arrived_ns,
            deadline_ns: job.deadline_ns,
            compute_ns: job.compute_ns,
            preemptions: job.preemptions,
            parts: job.parts,
        });
        match (job.reply, produced) {
            (Answerer::Channel(reply), Produced::Outputs(outputs)) => {
                let _ = reply.send(Ok(Done {
                    ticket: job.ticket,
                    outputs,
                    timing,
                    class: job.class,
                }));
            }
            (Answerer::Asked(asked), Produced::InPlace(work)) => {
                let held = Held {
                    ticket: job.ticket,
                    work,
                };
                self.answer_asked(&asked, Ok(held), timing, job.class);
            }
            _ => unreachable!("what is produced goes by who asked"),
        }
    }

    /// Ends a job without a result.
    pub fn refuse(&self, job: Job, error: Error) {
        match job.reply {
            Answerer::Channel(reply) => drop(reply.send(Err(error))),
            Answerer::Asked(asked) => self.answer_asked(&asked, Err(error), Timing::default(), job.class),
        }
    }

    fn dropped(&self, id: JobId) {
        let Some(mut job) = self.take_job(id) else { return };
        match job.failure.take() {
            Some(error) if !matches!(error, Error::Cancelled) => self.answer_failed(job, error),
            _ => {
                bump(&self.counters.class(job.class).cancelled);
                self.refuse(job, Error::Cancelled);
            }
        }
    }

    fn answer_failed(&self, job: Job, error: Error) {
        bump(&self.counters.class(job.class).failed);
        bump(&job.ticket.graph().counters(self.index).failed);
        self.refuse(job, error);
    }

    fn reject(&self, id: JobId, why: Why, predicted_ns: u64) {
        let Some(job) = self.take_job(id) else { return };
        bump(&self.counters.class(job.class).rejected);
        let from_arrival_us = |at_ns: u64| at_ns.saturating_sub(job.arrived_ns) / 1_000;
        let backlog_ms = self.policy.borrow().backlog_ns(to_policy(job.class)) / 1_000_000;
        let error = match why {
            Why::DeadlineMiss => Error::DeadlineMiss {
                predicted_us: from_arrival_us(predicted_ns),
                deadline_us: job.deadline_ns.map_or(0, from_arrival_us),
            },
            Why::QueueFull => Error::Overloaded {
                what: format!("the queue of class {}", job.class.name()),
                retry_after_ms: backlog_ms.clamp(1, 60_000),
            },
            Why::UtilisationBound => Error::Overloaded {
                what: "the part of a core that realtime work may take".to_owned(),
                retry_after_ms: 100,
            },
            Why::UnknownModel | Why::ModelRemoved => {
                Error::Unavailable("the model has been unloaded".to_owned())
            }
            Why::DuplicateJob => Error::Internal("two jobs have one id".to_owned()),
        };
        self.refuse(job, error);
    }

    fn degrade(&self, id: JobId, class: Class) {
        if let Some(job) = self.jobs.borrow_mut().get_mut(id) {
            job.class = class;
        }
    }

    /// Has the policy woken at this time. It says so again after every event, so a timer that is due earlier serves
    /// for this too: it is set again when it rings.
    fn tick_at(&self, at_ns: u64) {
        self.tick_ns.set(at_ns);
        if at_ns < self.timer_ns.get() {
            self.set_timer(at_ns);
        }
    }

    fn set_timer(&self, at_ns: u64) {
        let Some(shard) = self.me.upgrade() else { return };
        self.timer_ns.set(at_ns);
        let wait = std::time::Duration::from_nanos(at_ns.saturating_sub(clock::now_ns()));
        executor::spawn(async move {
            executor::sleep(wait).await;
            shard.rung(at_ns);
        });
    }

    fn rung(&self, at_ns: u64) {
        if self.timer_ns.get() != at_ns {
            return;
        }
        self.timer_ns.set(u64::MAX);
        match self.tick_ns.get() {
            u64::MAX => {}
            due_ns if due_ns <= clock::now_ns() => self.feed(Event::Tick),
            due_ns => self.set_timer(due_ns),
        }
    }
}

/// What a plugin's failure is to a client.
pub(crate) fn plugin_error(error: &mlos_plugin_host::Error) -> Error {
    if let mlos_plugin_host::Error::OutputSpace { .. } = error {
        return Error::NoRoom(error.to_string());
    }
    match error.kind() {
        ErrorKind::InvalidRequest => Error::InvalidArgument(error.to_string()),
        ErrorKind::Cancelled => Error::Cancelled,
        ErrorKind::Busy | ErrorKind::NoMemory => Error::Overloaded {
            what: error.to_string(),
            retry_after_ms: 100,
        },
        ErrorKind::Unsupported => Error::Unsupported(error.to_string()),
        ErrorKind::NotFound | ErrorKind::BadModel | ErrorKind::Plugin => {
            Error::ModelFailed(error.to_string())
        }
    }
}

/// What those are told who wait while a shard starts anew.
pub(crate) fn restarted() -> Error {
    Error::Internal("the engine of this core had to be restarted".to_owned())
}

/// What a finished job has made.
enum Produced {
    Outputs(OutputTensors),
    /// The outputs lie where whoever asked wanted them.
    InPlace(Work),
}

fn take_produced(job: &mut Job) -> Result<Produced, Error> {
    let lost = || Error::Internal("a finished job has no outputs".to_owned());
    let said = |error| plugin_error(&error);
    match (&job.reply, job.outputs.take(), job.work.take()) {
        (Answerer::Channel(_), Some(joined), _) => Ok(Produced::Outputs(joined)),
        (Answerer::Channel(_), None, work) => {
            let outputs = work.ok_or_else(lost)?.into_outputs().map_err(said)?;
            Ok(Produced::Outputs(outputs))
        }
        (Answerer::Asked(_), joined, work) => {
            let mut work = work.ok_or_else(lost)?;
            if let Some(joined) = joined {
                work.accept(&joined).map_err(said)?;
            }
            Ok(Produced::InPlace(work))
        }
    }
}
