//! When to fetch what runs next, and when to be woken for it.

use crate::decision::Decision;
use crate::job::{ModelIndex, Thread};
use crate::models::queue_of;
use crate::pick::What;
use crate::policy::Policy;

impl Policy {
    /// Looks ahead on a thread after its event: asks for the next model's memory if it is time, and notes when the thread
    /// must be looked at again.
    pub(crate) fn look_ahead(&mut self, thread: Thread) {
        if self.threads[thread.index()].running.is_none() {
            return;
        }
        let prefetch_ns = self.prefetch(thread);
        let due_ns = self.share_due_ns(thread);
        self.threads[thread.index()].wake_ns = prefetch_ns.min(due_ns);
    }

    /// Asks for the next model's memory, or tells when to.
    fn prefetch(&mut self, thread: Thread) -> u64 {
        let Some(index) = self.next_model(thread) else {
            return u64::MAX;
        };
        let remaining_ns = self.mean_remaining_ns(thread);
        let (now_ns, stale_ns) = (self.now_ns, self.config.window_ns);
        let Some(state) = self
            .models
            .get_mut(index)
            .filter(|state| state.wants_fetch(now_ns, stale_ns))
        else {
            return u64::MAX;
        };
        if remaining_ns > state.lead_ns {
            return now_ns.saturating_add(remaining_ns - state.lead_ns);
        }
        state.fetch_asked(now_ns);
        self.stats.prefetch.issued += 1;
        self.decisions.push(Decision::Prefetch { model: index });
        u64::MAX
    }

    /// The model that this thread starts next, if it is another than the one that runs.
    fn next_model(&self, thread: Thread) -> Option<ModelIndex> {
        let running = self.runs.get(self.threads[thread.index()].running?).model;
        let next = self.next(thread)?;
        let model = match next.what {
            // Its data were used a moment ago.
            What::Resume => return None,
            What::Rest => {
                let slot = self.threads[thread.index()].resting[next.class.index()];
                self.slots.get(slot).job.model
            }
            What::Head => self.leader(thread, next.class)?.model,
            What::Urgent => self.queues[queue_of(thread, next.class)].first()?.model,
        };
        (model != running).then_some(model)
    }

    fn mean_remaining_ns(&self, thread: Thread) -> u64 {
        let Some(run) = self.threads[thread.index()].running else {
            return 0;
        };
        let run = self.runs.get(run);
        let remaining_ns = run.mean_ns.saturating_sub(run.ran_ns);
        // What overtakes comes at the next checkpoint.
        if self.threads[thread.index()].preempt_asked {
            remaining_ns.min(run.slice_ns)
        } else {
            remaining_ns
        }
    }

    /// When a guaranteed share comes due that would overtake what runs, or the one that runs is spent.
    fn share_due_ns(&self, thread: Thread) -> u64 {
        let Some(run) = self.threads[thread.index()].running else {
            return u64::MAX;
        };
        let state = &self.threads[thread.index()];
        let class = self.runs.get(run).class;
        if thread != Thread::FRONT || state.preempt_asked || !self.can_suspend(thread, class) {
            return u64::MAX;
        }
        let turn_in = state.shares.turn_in_ns(&self.rates, &self.standing(thread));
        // What is due already and yet does not overtake has its reasons; the next checkpoint will ask again.
        let later = turn_in.filter(|turn_in_ns| *turn_in_ns > 0);
        later.map_or(u64::MAX, |turn_in_ns| self.now_ns.saturating_add(turn_in_ns))
    }
}
