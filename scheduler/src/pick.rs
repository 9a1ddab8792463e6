//! Who is next on a thread, and who overtakes whom.

use crate::config::Preemption;
use crate::decision::Decision;
use crate::job::{Class, ClassSet, Job, ModelIndex, Thread};
use crate::limits::WARM_STREAK_MAX;
use crate::models::queue_of;
use crate::policy::Policy;
use crate::queue::Item;
use crate::slots::NONE;

/// What a thread does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    pub class: Class,
    pub what: What,
    /// It is the class's guaranteed share that brings it on, ahead of something more urgent.
    pub by_share: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Go on with the suspended run of the class.
    Resume,
    /// Start the next part of the resting job of the class.
    Rest,
    /// Start the next queued job of the class, a warm one if deadlines permit.
    Head,
    /// Start exactly the queued job that is due first.
    Urgent,
}

/// The queued job to start with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leader {
    pub slot: u32,
    pub model: ModelIndex,
    /// It goes first for its model being warm.
    pub warm: bool,
}

impl Policy {
    /// Gives an idle thread something to do.
    pub(crate) fn advance(&mut self, thread: Thread) {
        self.threads[thread.index()].preempt_asked = false;
        self.threads[thread.index()].wake_ns = u64::MAX;
        if let Some(next) = self.next(thread) {
            match self.hold_until_ns(thread, next) {
                Some(hold_ns) if hold_ns > self.now_ns => self.threads[thread.index()].wake_ns = hold_ns,
                _ => self.start(thread, next),
            }
        }
        self.settle(thread);
    }

    /// Asks what runs for a checkpoint if it should be overtaken, and looks ahead.
    pub(crate) fn settle(&mut self, thread: Thread) {
        if self.threads[thread.index()].running.is_some() {
            self.preempt_if_overtaken(thread);
            self.look_ahead(thread);
        }
    }

    /// After anything that changed what waits for a thread.
    pub(crate) fn advance_or_settle(&mut self, thread: Thread) {
        if self.threads[thread.index()].running.is_none() {
            self.advance(thread)
        } else {
            self.settle(thread)
        }
    }

    /// Asks the running run for a checkpoint if something should overtake it there.
    fn preempt_if_overtaken(&mut self, thread: Thread) {
        let state = &self.threads[thread.index()];
        if state.running.is_some() && !state.preempt_asked && self.overtaker(thread).is_some() {
            self.threads[thread.index()].preempt_asked = true;
            self.decisions.push(Decision::Preempt { thread });
        }
    }

    /// Whether a job that has just been accepted is all that its thread has, and need not wait for others to join it.
    ///
    /// Then it starts at once, and nothing that `enqueue`, `advance` and `settle` look at can say otherwise: there is nobody
    /// to be picked or fetched before it, to share its run, to overtake it, or to whom a share is due. So they are not
    /// asked, which is half of what deciding about such a job would take, and most jobs of an interactive load are such.
    pub(crate) fn starts_alone(&self, thread: Thread, job: &Job) -> bool {
        let state = &self.threads[thread.index()];
        let model = &self.models.get(job.model).model;
        let may_be_held =
            job.class != Class::Realtime && model.max_batch_rows >= 2 && model.max_queue_delay_ns > 0;
        state.running.is_none() && state.waiting == ClassSet::EMPTY && !may_be_held && !self.queues_all
    }

    /// Starts such a job.
    pub(crate) fn start_alone(&mut self, thread: Thread, class: Class, slot: u32) {
        let state = &mut self.threads[thread.index()];
        state.preempt_asked = false;
        state.wake_ns = u64::MAX;
        state.warm_streak = 0;
        if class != Class::Realtime {
            state.shares.serving = None;
        }
        self.dispatch(thread, class, slot);
    }

    /// Starts what was picked. The thread must be idle.
    pub(crate) fn start(&mut self, thread: Thread, next: Next) {
        let class = next.class;
        // REALTIME only interrupts a class's go.
        if class != Class::Realtime {
            self.threads[thread.index()].shares.serving = next.by_share.then_some(class);
        }
        match next.what {
            What::Resume => self.resume(thread, class),
            What::Rest => {
                let Some(slot) = self.take_resting(thread, class) else {
                    return;
                };
                self.dispatch(thread, class, slot);
            }
            What::Head => {
                let Some(Leader { slot, warm, .. }) = self.leader(thread, class) else {
                    return;
                };
                let state = &mut self.threads[thread.index()];
                state.warm_streak = if warm { state.warm_streak + 1 } else { 0 };
                self.dequeue(slot);
                self.dispatch(thread, class, slot);
            }
            What::Urgent => {
                let Some(&Item { slot, .. }) = self.queues[queue_of(thread, class)].first() else {
                    return;
                };
                self.dequeue(slot);
                self.dispatch(thread, class, slot);
            }
        }
    }

    fn resume(&mut self, thread: Thread, class: Class) {
        let Some(run) = self.threads[thread.index()].suspended[class.index()].take() else {
            return;
        };
        self.note_waiting(thread, class);
        self.threads[thread.index()].running = Some(run);
        let job = self.first_job(run);
        self.threads[thread.index()].warm = Some(self.runs.get(run).model);
        self.decisions.push(Decision::Resume { thread, class, job });
    }

    /// What an idle thread does next: the most urgent class that waits, or one whose guaranteed share is due.
    pub(crate) fn next(&self, thread: Thread) -> Option<Next> {
        let waiting = self.threads[thread.index()].waiting;
        let first = waiting.first()?;
        let class = self.share_turn(thread, waiting).unwrap_or(first);
        Some(Next {
            class,
            what: self.next_of(thread, class),
            by_share: class > first,
        })
    }

    /// What overtakes the run that stands at a checkpoint, if anything does.
    pub(crate) fn overtaker(&self, thread: Thread) -> Option<Next> {
        let run = self.runs.get(self.threads[thread.index()].running?);
        if self.config.preemption == Preemption::None || run.cancelled || !self.can_suspend(thread, run.class)
        {
            return None;
        }
        let waiting = self.threads[thread.index()].waiting;
        if waiting.contains(Class::Realtime) && run.class > Class::Realtime {
            return Some(self.next_in(thread, Class::Realtime, false));
        }
        // Its own share protects the run until it is spent, so it takes part.
        let with_itself = waiting.with(run.class);
        let turn = if run.class == Class::Realtime {
            None
        } else {
            self.share_turn(thread, with_itself)
        };
        let serving = self.threads[thread.index()].shares.serving;
        let first = with_itself.first().unwrap_or(run.class);
        match turn {
            Some(class) if class != run.class => return Some(self.next_in(thread, class, class > first)),
            Some(class) if serving == Some(class) => {}
            _ if first < run.class => return Some(self.next_in(thread, first, false)),
            _ => {}
        }
        let same = Next {
            class: run.class,
            what: What::Urgent,
            by_share: false,
        };
        (waiting.contains(run.class) && self.head_overtakes(thread, run.class)).then_some(same)
    }

    /// Whether a run of this class can be set aside: there is one place for each class, and cooperation at all.
    pub(crate) fn can_suspend(&self, thread: Thread, class: Class) -> bool {
        self.config.preemption != Preemption::None
            && self.threads[thread.index()].suspended[class.index()].is_none()
    }

    /// Whether a job of the running run's class with this deadline and bound should overtake it: it would be late if it
    /// waited, it will not be if it goes first, and that does not make the running one late.
    pub(crate) fn overtakes(&self, now_ns: u64, thread: Thread, deadline_ns: u64, bound_ns: u64) -> bool {
        let Some(run) = self.threads[thread.index()].running else {
            return false;
        };
        let run = self.runs.get(run);
        if !self.can_suspend(thread, run.class) || run.cancelled {
            return false;
        }
        // With its class's one place taken by the overtaken run, the overtaker cannot be set aside itself. Where
        // something more urgent may come it must therefore be short.
        let exposed = thread == Thread::FRONT && run.class != Class::Realtime;
        if exposed && bound_ns > self.config.overtake_bound_ns {
            return false;
        }
        let remaining_ns = self.remaining_ns(now_ns, thread);
        let alone_ns = now_ns.saturating_add(bound_ns);
        let both_ns = alone_ns.saturating_add(remaining_ns);
        both_ns > deadline_ns && alone_ns <= deadline_ns && both_ns <= run.deadline_ns
    }

    fn head_overtakes(&self, thread: Thread, class: Class) -> bool {
        let head = self
            .has_queue(thread, class)
            .then(|| self.queues[queue_of(thread, class)].first())
            .flatten();
        head.is_some_and(|item| {
            self.overtakes(
                self.now_ns,
                thread,
                item.key.deadline_ns,
                self.slots.get(item.slot).bound_ns,
            )
        })
    }

    /// The class whose guaranteed share is due, unless a REALTIME job waits.
    fn share_turn(&self, thread: Thread, waiting: ClassSet) -> Option<Class> {
        if waiting.contains(Class::Realtime) {
            return None;
        }
        self.threads[thread.index()].shares.turn(&self.rates, waiting)
    }

    fn next_in(&self, thread: Thread, class: Class, by_share: bool) -> Next {
        Next {
            class,
            what: self.next_of(thread, class),
            by_share,
        }
    }

    /// Within a class: what is suspended, then what rests between two parts unless the queue's head needs to overtake it,
    /// then the queue.
    fn next_of(&self, thread: Thread, class: Class) -> What {
        let state = &self.threads[thread.index()];
        if state.suspended[class.index()].is_some() {
            return What::Resume;
        }
        let resting = state.resting[class.index()];
        if resting == NONE {
            return What::Head;
        }
        if self.overtakes_resting(thread, class, resting) {
            What::Urgent
        } else {
            What::Rest
        }
    }

    fn overtakes_resting(&self, thread: Thread, class: Class, resting: u32) -> bool {
        if self.config.preemption == Preemption::None || !self.has_queue(thread, class) {
            return false;
        }
        let Some(&Item { key, slot, .. }) = self.queues[queue_of(thread, class)].first() else {
            return false;
        };
        let rest = self.slots.get(resting);
        let alone_ns = self.now_ns.saturating_add(self.slots.get(slot).bound_ns);
        let both_ns = alone_ns.saturating_add(rest.left_of_ns(rest.bound_ns));
        both_ns > key.deadline_ns && alone_ns <= key.deadline_ns && both_ns <= rest.key.deadline_ns
    }

    /// The queued job of a class to start with.
    ///
    /// A warm one may go first only if everything that waits in this queue would be done before the earliest deadline in
    /// it: then the order makes nobody late. And only so many times in a row, or a steady stream would hold up the rest.
    pub(crate) fn leader(&self, thread: Thread, class: Class) -> Option<Leader> {
        let index = queue_of(thread, class);
        let queue = &self.queues[index];
        let head = queue.first()?;
        let state = &self.threads[thread.index()];
        let first = Leader {
            slot: head.slot,
            model: head.model,
            warm: false,
        };
        let warm = state
            .warm
            .filter(|warm| *warm != head.model && state.warm_streak < WARM_STREAK_MAX);
        let Some(model) = warm else { return Some(first) };
        let group = self.models.group(index, model);
        let all_done_ns = self.now_ns.saturating_add(queue.work_ns());
        if group.len == 0 || all_done_ns > head.key.deadline_ns {
            return Some(first);
        }
        Some(Leader {
            slot: group.oldest,
            model,
            warm: true,
        })
    }
}
