//! With how many rows a run starts, and which jobs share it.

use crate::config::Preemption;
use crate::decision::{Decision, Dispatch, Member};
use crate::job::{Class, ClassSet, Thread};
use crate::limits::{JOIN_SCAN_MAX, MEMBERS_MAX};
use crate::models::{ModelState, queue_of};
use crate::pick::{Next, What};
use crate::policy::Policy;
use crate::slots::{Entry, NONE, Stage};

/// A larger batch is preferred if its time per row is not longer by more than one part in this: fewer starts, same speed.
const SAME_SPEED: u128 = 32;

/// A run that is being put together.
#[derive(Clone, Copy)]
struct Draft {
    run: u8,
    rows: u32,
    rows_max: u32,
    /// The earliest deadline that can still be met.
    deadline_ns: u64,
}

impl Policy {
    /// Starts a run with this job, which waits nowhere any more, and those that can join it.
    pub(crate) fn dispatch(&mut self, thread: Thread, class: Class, leader: u32) {
        let run = self.runs.take();
        if let Some(draft) = self.draft(class, leader, run) {
            self.join(thread, draft);
        }
        self.slots.get_mut(leader).stage = Stage::Running(thread, run);
        self.predict_run(run);
        let model = self.runs.get(run).model;
        self.threads[thread.index()].running = Some(run);
        self.threads[thread.index()].warm = Some(model);
        self.class_stats(class).dispatches += 1;
        let now_ns = self.now_ns;
        if let Some(state) = self.models.get_mut(model) {
            state.fetch_used(now_ns, &mut self.stats.prefetch);
        }
        self.announce(thread, run);
    }

    /// Begins a run with a part of one job. The draft is for others to join, if any may.
    fn draft(&mut self, class: Class, leader: u32, run: u8) -> Option<Draft> {
        let entry = self.slots.get(leader);
        let state = self.models.get(entry.job.model);
        let rows = self.part_rows(state, entry.rows_left(), class, self.now_ns);
        // A job that has begun has outputs of its own to go on with, so it shares a run with nobody.
        let joins = entry.rows_done == 0 && rows == entry.rows_left() && state.model.max_batch_rows > rows;
        let rows_max = if joins {
            self.joined_rows_max(state, class)
        } else {
            rows
        };
        let deadline_ns = self.meetable_deadline_ns(entry);
        let started = self.runs.get_mut(run);
        started.reset(entry.job.model, state.generation, class);
        started.push(leader, rows, entry.key.deadline_ns);
        (rows_max > rows).then_some(Draft {
            run,
            rows,
            rows_max,
            deadline_ns,
        })
    }

    fn announce(&mut self, thread: Thread, run: u8) {
        let first_member = self.decisions.members_len();
        let run = self.runs.get(run);
        for part in run.parts() {
            let entry = self.slots.get(part.slot);
            self.decisions.push_member(Member {
                job: entry.job.id,
                first_row: entry.rows_done,
                rows: part.rows,
            });
        }
        self.decisions.push(Decision::Dispatch(Dispatch {
            thread,
            class: run.class,
            model: run.model,
            rows: run.rows,
            first_member,
            members: run.parts().len() as u32,
        }));
    }

    fn predict_run(&mut self, run: u8) {
        let run = self.runs.get_mut(run);
        let cost = &self.models.get(run.model).cost;
        let estimate = cost.estimate(run.rows, self.config.unknown_cost_ns);
        run.mean_ns = estimate.mean_ns;
        run.bound_ns = estimate.bound_ns();
        run.known = estimate.known;
        run.slice_ns = cost.slice_ns(run.rows).unwrap_or(run.bound_ns);
    }

    /// Until when to wait for others before starting this; `None` to start at once.
    ///
    /// Only a thread that would else be idle waits: while it has other work, jobs gather by themselves.
    pub(crate) fn hold_until_ns(&self, thread: Thread, next: Next) -> Option<u64> {
        if next.what != What::Head || next.class == Class::Realtime {
            return None;
        }
        let index = queue_of(thread, next.class);
        let head = self.slots.get(self.queues[index].first()?.slot);
        let state = self.models.get(head.job.model);
        let group = self.models.group(index, head.job.model);
        let state_of = &self.threads[thread.index()];
        let waits_alone = group.len as usize == self.queues[index].len()
            && state_of.waiting.without(next.class) == ClassSet::EMPTY;
        if state.model.max_batch_rows < 2 || state.model.max_queue_delay_ns == 0 || !waits_alone {
            return None;
        }
        let rows_max = self.joined_rows_max(state, next.class);
        if group.rows >= u64::from(rows_max) || group.len as usize >= MEMBERS_MAX {
            return None;
        }
        let oldest = self.slots.get(group.oldest);
        let delay_ns = oldest.arrival_ns.saturating_add(state.model.max_queue_delay_ns);
        let bound_ns = state
            .cost
            .estimate(rows_max, self.config.unknown_cost_ns)
            .bound_ns();
        Some(delay_ns.min(head.key.deadline_ns.saturating_sub(bound_ns)))
    }

    /// How many of a job's rows to run at once.
    ///
    /// While something more urgent is served on this thread, as many as fit the slice target by the slice profile, since
    /// the longest slice is what the urgent one may have to wait for. Else the size with the best throughput that stays
    /// under `part_target_ns`: a lane is arbitrated by the kernel, so slices do not matter there, but a part is what a
    /// cancel or an overtaking job may have to wait for where a plugin has no checkpoints, and what a failure loses.
    pub(crate) fn part_rows(&self, state: &ModelState, rows: u32, class: Class, now_ns: u64) -> u32 {
        if rows <= 1 || !state.model.splittable {
            return rows;
        }
        let most = match state.model.max_batch_rows {
            0 => rows,
            rows_max => rows.min(rows_max),
        };
        self.good_rows(state, most, class, now_ns)
    }

    /// How many rows may run together when jobs join.
    fn joined_rows_max(&self, state: &ModelState, class: Class) -> u32 {
        self.good_rows(state, state.model.max_batch_rows.max(1), class, self.now_ns)
    }

    fn good_rows(&self, state: &ModelState, most: u32, class: Class, now_ns: u64) -> u32 {
        let sizes = (0..u32::BITS)
            .map(|exponent| 1u32 << exponent)
            .take_while(|rows| *rows < most);
        let sizes = sizes.chain(core::iter::once(most));
        if self.config.preemption == Preemption::Layer && self.is_urgent_beside(class, now_ns) {
            let fits = |rows: &u32| {
                state
                    .cost
                    .slice_ns(*rows)
                    .is_some_and(|slice| slice <= self.config.slice_target_ns)
            };
            return sizes.filter(fits).last().unwrap_or(1);
        }
        let mut best = (1, u64::MAX);
        for rows in sizes {
            // Nothing known: one row will tell. Unseen sizes count as equally fast, so they are tried.
            let Some(mean_ns) = state.cost.mean_ns(rows) else {
                break;
            };
            let no_slower = u128::from(mean_ns) * u128::from(best.0) * SAME_SPEED
                <= u128::from(best.1) * u128::from(rows) * (SAME_SPEED + 1);
            if rows == 1 || (no_slower && mean_ns <= self.config.part_target_ns) {
                best = (rows, mean_ns);
            }
        }
        best.0
    }

    /// Lets queued jobs of the same model and shape join, oldest first, while every member still meets its deadline.
    fn join(&mut self, thread: Thread, mut draft: Draft) {
        let leader = self.slots.get(self.runs.get(draft.run).parts()[0].slot);
        let (model, class, shape_key) = (leader.job.model, leader.job.class, leader.job.shape_key);
        let mut slot = self.models.group(queue_of(thread, class), model).oldest;
        for _ in 0..JOIN_SCAN_MAX {
            if slot == NONE || draft.rows >= draft.rows_max || self.runs.get(draft.run).is_full() {
                return;
            }
            let entry = *self.slots.get(slot);
            let whole = entry.rows_done == 0 && entry.job.rows <= draft.rows_max - draft.rows;
            if whole && entry.job.shape_key == shape_key {
                self.join_one(thread, &mut draft, (slot, &entry));
            }
            slot = entry.younger;
        }
    }

    fn join_one(&mut self, thread: Thread, draft: &mut Draft, (slot, entry): (u32, &Entry)) {
        let rows = draft.rows + entry.job.rows;
        let cost = &self.models.get(entry.job.model).cost;
        let bound_ns = cost.estimate(rows, self.config.unknown_cost_ns).bound_ns();
        let deadline_ns = draft.deadline_ns.min(self.meetable_deadline_ns(entry));
        // The front is for short work: jobs that are short one by one must not become long together.
        let too_long = self.config.preemption == Preemption::Lanes
            && thread == Thread::FRONT
            && bound_ns > self.config.front_budget_ns;
        if too_long || self.now_ns.saturating_add(bound_ns) > deadline_ns {
            return;
        }
        self.dequeue(slot);
        self.slots.get_mut(slot).stage = Stage::Running(thread, draft.run);
        self.runs
            .get_mut(draft.run)
            .push(slot, entry.job.rows, entry.key.deadline_ns);
        self.class_stats(entry.job.class).joined += 1;
        draft.rows = rows;
        draft.deadline_ns = deadline_ns;
    }

    /// A job's deadline, or none if it is late even alone: those that are late already do not keep others from joining, since
    /// it is under overload that running together helps most.
    fn meetable_deadline_ns(&self, entry: &Entry) -> u64 {
        let alone_ns = self.now_ns.saturating_add(entry.left_of_ns(entry.bound_ns));
        if alone_ns <= entry.key.deadline_ns {
            entry.key.deadline_ns
        } else {
            u64::MAX
        }
    }
}
