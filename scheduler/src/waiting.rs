//! What waits: queued jobs, jobs between two parts, and the time that passes for both.

use crate::decision::Why;
use crate::job::{Class, Job, ModelIndex, Thread};
use crate::limits::TAKE_SCAN_MAX;
use crate::models::queue_of;
use crate::policy::Policy;
use crate::queue::Item;
use crate::shares::Standing;
use crate::slots::{NONE, Stage};

impl Policy {
    /// Takes the next queued job of a class that has not begun, for an idle lane of another shard, which must
    /// [`crate::Event::Adopt`] it. Its place here is forgotten: for this policy the job has ended.
    ///
    /// The next one and not the last: the taker is idle, so it runs at once, and of all it is the one most in need.
    pub fn take_queued(&mut self, now_ns: u64, class: Class) -> Option<Job> {
        self.now_ns = self.now_ns.max(now_ns);
        let thread = self.long_work_thread(class);
        let whole = |item: &&Item| self.slots.get(item.slot).rows_done == 0;
        let slot = self.queues[queue_of(thread, class)]
            .iter()
            .take(TAKE_SCAN_MAX)
            .find(whole)?
            .slot;
        self.charge(thread);
        self.dequeue(slot);
        self.class_stats(class).taken += 1;
        Some(self.slots.remove(slot).job)
    }

    /// Puts a job into the queue of its class on a thread.
    pub(crate) fn enqueue(&mut self, thread: Thread, slot: u32) {
        let entry = self.slots.get_mut(slot);
        let class = entry.job.class;
        entry.stage = Stage::Queued(thread);
        let queue = queue_of(thread, class);
        let group = self.models.group_mut(queue, entry.job.model);
        let work_ns = entry.left_of_ns(entry.mean_ns);
        entry.older = group.youngest;
        entry.younger = NONE;
        let older = entry.older;
        group.youngest = slot;
        group.len += 1;
        group.rows += u64::from(entry.rows_left());
        self.queued[entry.job.class.index()] += 1;
        self.queues[queue].insert(Item {
            key: entry.key,
            work_ns,
            slot,
            model: entry.job.model,
        });
        match older {
            NONE => group.oldest = slot,
            older => self.slots.get_mut(older).younger = slot,
        }
        self.threads[thread.index()].waiting = self.threads[thread.index()].waiting.with(class);
    }

    /// Takes a job out of its queue.
    pub(crate) fn dequeue(&mut self, slot: u32) {
        let entry = *self.slots.get(slot);
        let Stage::Queued(thread) = entry.stage else {
            return;
        };
        let queue = queue_of(thread, entry.job.class);
        let removed = self.queues[queue].remove(entry.key);
        debug_assert_eq!(
            removed.map(|item| item.slot),
            Some(slot),
            "a queued job is in its queue"
        );
        self.queued[entry.job.class.index()] -= 1;
        let group = self.models.group_mut(queue, entry.job.model);
        group.len -= 1;
        group.rows -= u64::from(entry.rows_left());
        match entry.older {
            NONE => group.oldest = entry.younger,
            older => self.slots.get_mut(older).younger = entry.younger,
        }
        match entry.younger {
            NONE => group.youngest = entry.older,
            younger => self.slots.get_mut(younger).older = entry.older,
        }
        self.note_waiting(thread, entry.job.class);
    }

    /// Puts the rest of a job ahead of its class's queue. That place is single; if it is taken the deadline decides.
    pub(crate) fn put_back(&mut self, thread: Thread, slot: u32) {
        let class = self.slots.get(slot).job.class;
        let resting = &mut self.threads[thread.index()].resting[class.index()];
        if *resting == NONE {
            *resting = slot;
            self.slots.get_mut(slot).stage = Stage::Resting(thread);
            self.note_waiting(thread, class);
        } else {
            self.enqueue(thread, slot);
        }
    }

    /// Rejects the waiting jobs of a removed model.
    pub(crate) fn reject_waiting_of(&mut self, index: ModelIndex) {
        for thread in (0..self.threads_len()).map(|thread| Thread(thread as u8)) {
            self.charge(thread);
            for class in Class::ALL {
                let resting = self.threads[thread.index()].resting[class.index()];
                if resting != NONE && self.slots.get(resting).job.model == index {
                    self.take_resting(thread, class);
                    self.reject_kept(resting, Why::ModelRemoved);
                }
                if self.has_queue(thread, class) {
                    self.reject_queued_of(queue_of(thread, class), index);
                }
            }
            self.advance_or_settle(thread);
        }
    }

    fn reject_queued_of(&mut self, queue: usize, index: ModelIndex) {
        while self.models.group(queue, index).oldest != NONE {
            let slot = self.models.group(queue, index).oldest;
            self.dequeue(slot);
            self.reject_kept(slot, Why::ModelRemoved);
        }
    }

    /// Whether jobs of this class can be queued on this thread.
    pub(crate) fn has_queue(&self, thread: Thread, class: Class) -> bool {
        thread == Thread::FRONT || (class != Class::Realtime && thread == Thread::lane_of(class))
    }

    /// Notes whether anything of this class waits for this thread. Comes after any change of that.
    pub(crate) fn note_waiting(&mut self, thread: Thread, class: Class) {
        let queued = self.has_queue(thread, class) && !self.queues[queue_of(thread, class)].is_empty();
        let state = &mut self.threads[thread.index()];
        let set_aside = state.suspended[class.index()].is_some() || state.resting[class.index()] != NONE;
        state.waiting = match queued || set_aside {
            true => state.waiting.with(class),
            false => state.waiting.without(class),
        };
    }

    /// Takes the job that rests between two parts, if there is one of this class.
    pub(crate) fn take_resting(&mut self, thread: Thread, class: Class) -> Option<u32> {
        let slot = core::mem::replace(&mut self.threads[thread.index()].resting[class.index()], NONE);
        self.note_waiting(thread, class);
        (slot != NONE).then_some(slot)
    }

    pub(crate) fn standing(&self, thread: Thread) -> Standing {
        let state = &self.threads[thread.index()];
        Standing {
            running: state.running.map(|run| self.runs.get(run).class),
            waiting: state.waiting,
        }
    }

    /// Accounts for the time since the thread was last looked at. Comes before any change of what runs or waits on it.
    pub(crate) fn charge(&mut self, thread: Thread) {
        let elapsed_ns = self.now_ns - self.threads[thread.index()].charged_ns;
        if elapsed_ns == 0 {
            return;
        }
        // On a lane there is one class only, so nothing to share.
        if thread == Thread::FRONT {
            let standing = self.standing(thread);
            self.threads[thread.index()]
                .shares
                .pass(elapsed_ns, &self.rates, &standing);
        }
        let state = &mut self.threads[thread.index()];
        state.charged_ns = self.now_ns;
        if let Some(run) = state.running {
            let run = self.runs.get_mut(run);
            run.ran_ns = run.ran_ns.saturating_add(elapsed_ns);
            let busy_ns = &mut self.stats.classes[run.class.index()].busy_ns;
            *busy_ns = busy_ns.saturating_add(elapsed_ns);
        }
    }
}
