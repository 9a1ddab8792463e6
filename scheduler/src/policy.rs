//! The policy of one shard: its state, and what each event does to it.
//!
//! The rules themselves are beside it: who is admitted and where it is placed in `admission`, what waits in `waiting`,
//! who is next and who overtakes whom in `pick`, with how many rows and with whom in `batch`, what to fetch in `prefetch`.

use alloc::format;
use alloc::string::String;

use crate::config::{Config, Model, Preemption};
use crate::decision::{Decision, Decisions, Why};
use crate::job::{Class, Event, JobId, ModelIndex, Thread};
use crate::limits::{MEMBERS_MAX, MODELS_MAX, QUEUE_JOBS_MAX, RUNS_MAX, THREADS};
use crate::models::{Models, QUEUES, queue_of};
use crate::queue::EdfQueue;
use crate::shares::Rates;
use crate::slots::{Expected, Slots, Stage};
use crate::stats::{ClassStats, Stats};
use crate::thread::{Runs, ThreadState};
use crate::utilisation::Utilisation;

/// Decisions of one event besides those that end jobs: for each thread a few, and the time to wake.
const DECISIONS_SPARE: usize = 8 * THREADS;

/// Decides for one shard. See the crate's documentation.
#[derive(Debug)]
pub struct Policy {
    pub(crate) config: Config,
    pub(crate) slots: Slots,
    pub(crate) models: Models,
    pub(crate) queues: [EdfQueue; QUEUES],
    /// Queued jobs of each class, on all threads.
    pub(crate) queued: [usize; Class::COUNT],
    pub(crate) threads: [ThreadState; THREADS],
    pub(crate) runs: Runs,
    pub(crate) rates: Rates,
    pub(crate) realtime: Utilisation,
    /// Until when arrivals of REALTIME and of HIGH keep the shard urgent.
    pub(crate) urgent_until_ns: [u64; 2],
    pub(crate) decisions: Decisions,
    pub(crate) stats: Stats,
    /// Number of the next arrival.
    pub(crate) seq: u64,
    pub(crate) now_ns: u64,
    /// See [`Policy::queue_all`].
    pub(crate) queues_all: bool,
}

impl Policy {
    /// Takes all memory that it will ever use. Sizes beyond `limits` are cut to them.
    pub fn new(mut config: Config) -> Self {
        config.queue_jobs_max = config.queue_jobs_max.clamp(1, QUEUE_JOBS_MAX);
        config.models_max = config.models_max.clamp(1, MODELS_MAX);
        // A part of a job that is put back is above the bound, and there are only so many.
        let in_runs = RUNS_MAX * MEMBERS_MAX;
        let jobs_max = Class::COUNT * config.queue_jobs_max + in_runs + THREADS * Class::COUNT;
        Self {
            slots: Slots::new(jobs_max),
            models: Models::new(config.models_max),
            queues: core::array::from_fn(|_| EdfQueue::new(config.queue_jobs_max + RUNS_MAX)),
            queued: [0; Class::COUNT],
            threads: [ThreadState::IDLE; THREADS],
            runs: Runs::new(),
            rates: Rates::new(&config),
            realtime: Utilisation::new(config.window_ns, config.realtime_bound_per_mille),
            urgent_until_ns: [0; 2],
            decisions: Decisions::with_capacity(jobs_max + DECISIONS_SPARE, THREADS * MEMBERS_MAX),
            stats: Stats::default(),
            seq: 0,
            now_ns: 0,
            queues_all: false,
            config,
        }
    }

    /// From now on, takes every job through its queue, also one that could only start at once. The decisions are the same,
    /// as a test holds by comparing.
    #[doc(hidden)]
    pub fn queue_all(&mut self) {
        self.queues_all = true;
    }

    /// All that decides what a thread does next, besides the queues.
    #[doc(hidden)]
    pub fn show_threads(&self) -> String {
        format!("{:?} {:?}", self.threads, self.realtime)
    }

    /// Adds a model, or changes the settings of one. False if the index is beyond `models_max`.
    ///
    /// The index of a removed model may be used again at once; its cost model starts anew.
    pub fn add_model(&mut self, index: ModelIndex, model: Model) -> bool {
        self.models.add(index, model)
    }

    /// Tells what one run of `rows` rows was measured to take at load time, and its longest time between two checkpoints.
    pub fn set_profile(&mut self, index: ModelIndex, rows: u32, total_ns: u64, longest_slice_ns: u64) {
        if let Some(state) = self.models.get_mut(index).filter(|state| state.live) {
            state.cost.seed(rows, total_ns, longest_slice_ns);
        }
    }

    /// Removes a model: its waiting jobs are rejected, its runs go on to their end.
    pub fn remove_model(&mut self, now_ns: u64, index: ModelIndex) -> &Decisions {
        self.begin(now_ns);
        if self.models.live(index).is_some() {
            self.models.retire(index);
            self.reject_waiting_of(index);
        }
        self.end();
        &self.decisions
    }

    /// Takes one event in and answers with what to do, in this order. `now_ns` should never go back; if it does, time stands.
    ///
    /// Events that make no sense, such as a completion on an idle thread, are ignored.
    pub fn on(&mut self, now_ns: u64, event: Event) -> &Decisions {
        self.begin(now_ns);
        match event {
            Event::Arrive(job) => self.arrive(job),
            Event::Adopt(job) => self.adopt(job),
            Event::Checkpoint { thread } => self.checkpoint(thread),
            Event::Complete {
                thread,
                elapsed_ns,
                longest_slice_ns,
            } => {
                self.complete(thread, elapsed_ns, longest_slice_ns);
            }
            Event::Failed { thread } => self.failed(thread),
            Event::Cancel { job } => self.cancel(job),
            Event::Prefetched { model } => {
                if let Some(state) = self.models.get_mut(model) {
                    state.fetch_arrived(self.now_ns);
                }
            }
            Event::Tick => self.tick(),
        }
        self.end();
        &self.decisions
    }

    /// Predicted time of all waiting and running work of a class.
    pub fn backlog_ns(&self, class: Class) -> u64 {
        let running = (0..THREADS).map(|index| self.remaining_of_class_ns(Thread(index as u8), class));
        let front = self.queues[queue_of(Thread::FRONT, class)].work_ns();
        let lane = match class {
            Class::Realtime => 0,
            _ => self.queues[queue_of(Thread::lane_of(class), class)].work_ns(),
        };
        running.fold(front.saturating_add(lane), u64::saturating_add)
    }

    /// Queued jobs of a class.
    pub fn queue_len(&self, class: Class) -> usize {
        self.queued[class.index()]
    }

    /// Jobs that have not ended, in whatever stage.
    pub fn jobs_len(&self) -> usize {
        self.slots.len()
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The settings, as cut to the limits.
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn begin(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        self.decisions.clear();
    }

    fn end(&mut self) {
        let wake_ns = self
            .threads
            .iter()
            .map(|thread| thread.wake_ns)
            .min()
            .unwrap_or(u64::MAX);
        if wake_ns != u64::MAX {
            self.decisions.push(Decision::IdleUntil { at_ns: wake_ns });
        }
    }

    fn checkpoint(&mut self, thread: Thread) {
        let Some(run) = self.running_on(thread) else {
            return;
        };
        let class = self.runs.get(run).class;
        self.class_stats(class).slices += 1;
        if self.runs.get(run).cancelled {
            // It has been told to stop, and does so when it goes on.
            self.decisions.push(Decision::Continue { thread });
            return;
        }
        self.charge(thread);
        self.threads[thread.index()].preempt_asked = false;
        match self.overtaker(thread) {
            None => {
                self.decisions.push(Decision::Continue { thread });
                self.look_ahead(thread);
            }
            Some(next) => {
                self.threads[thread.index()].running = None;
                self.threads[thread.index()].suspended[class.index()] = Some(run);
                self.note_waiting(thread, class);
                self.class_stats(class).preemptions += 1;
                self.decisions.push(Decision::Suspend { thread, class });
                self.start(thread, next);
                self.settle(thread);
            }
        }
    }

    fn complete(&mut self, thread: Thread, elapsed_ns: u64, longest_slice_ns: u64) {
        let Some(run) = self.running_on(thread) else {
            return;
        };
        self.charge(thread);
        self.threads[thread.index()].running = None;
        self.learn(run, elapsed_ns, longest_slice_ns);
        let class = self.runs.get(run).class;
        self.class_stats(class).slices += 1;
        let generation = self.runs.get(run).generation;
        for index in 0..self.runs.get(run).parts().len() {
            let part = self.runs.get(run).parts()[index];
            self.slots.get_mut(part.slot).rows_done += part.rows;
            self.class_stats(class).rows += u64::from(part.rows);
            self.part_done(thread, part.slot, generation);
        }
        self.runs.give_back(run);
        self.advance(thread);
    }

    fn part_done(&mut self, thread: Thread, slot: u32, generation: u32) {
        let entry = self.slots.get(slot);
        let orphaned = self
            .models
            .live(entry.job.model)
            .is_none_or(|state| state.generation != generation);
        if entry.cancelled {
            self.drop_job(slot);
        } else if entry.rows_left() == 0 {
            self.finish(slot);
        } else if orphaned {
            self.reject_kept(slot, Why::ModelRemoved);
        } else {
            self.put_back(thread, slot);
        }
    }

    fn finish(&mut self, slot: u32) {
        let entry = self.slots.remove(slot);
        let (job, class, expected) = (entry.job.id, entry.job.class, entry.expected);
        let asked_deadline_ns = entry.asked_deadline_ns;
        self.class_stats(class).finished += 1;
        if let Some(deadline_ns) = asked_deadline_ns {
            self.score(class, expected, self.now_ns > deadline_ns);
        }
        self.decisions.push(Decision::Finished { job });
    }

    fn score(&mut self, class: Class, expected: Expected, late: bool) {
        if late {
            self.class_stats(class).misses += 1;
        }
        let score = &mut self.stats.score;
        match (expected, late) {
            (Expected::Nothing, _) => return,
            (Expected::Meet, false) | (Expected::Miss, true) => score.accurate += 1,
            (Expected::Meet, true) => score.missed += 1,
            (Expected::Miss, false) => score.false_alarms += 1,
        }
        score.predictions += 1;
    }

    fn learn(&mut self, run: u8, elapsed_ns: u64, longest_slice_ns: u64) {
        let run = self.runs.get(run);
        if run.cancelled {
            return;
        }
        if run.known {
            let score = &mut self.stats.score;
            score.runs += 1;
            score.runs_within_bound += u64::from(elapsed_ns <= run.bound_ns);
            score.error_sum_ns = score
                .error_sum_ns
                .saturating_add(elapsed_ns.abs_diff(run.mean_ns));
        }
        if run.class == Class::Realtime {
            let charged = |part: &crate::thread::Part| {
                let entry = self.slots.get(part.slot);
                u128::from(entry.charged_ns) * u128::from(part.rows) / u128::from(entry.job.rows)
            };
            let counted_ns = run.parts().iter().map(charged).sum::<u128>() as u64;
            self.realtime.correct(self.now_ns, counted_ns, elapsed_ns);
        }
        if let Some(state) = self
            .models
            .get_mut(run.model)
            .filter(|state| state.generation == run.generation)
        {
            state.cost.observe(run.rows, elapsed_ns, longest_slice_ns);
        }
    }

    fn failed(&mut self, thread: Thread) {
        let Some(run) = self.running_on(thread) else {
            return;
        };
        self.charge(thread);
        self.threads[thread.index()].running = None;
        for index in 0..self.runs.get(run).parts().len() {
            let slot = self.runs.get(run).parts()[index].slot;
            self.drop_job(slot);
        }
        self.runs.give_back(run);
        self.advance(thread);
    }

    fn cancel(&mut self, job: JobId) {
        // An unknown job has ended meanwhile: its caller's cancel and our answer crossed.
        let Some(slot) = self.slots.find(job) else { return };
        match self.slots.get(slot).stage {
            Stage::Queued(thread) => {
                self.charge(thread);
                self.dequeue(slot);
                self.drop_job(slot);
                self.advance_or_settle(thread);
            }
            Stage::Resting(thread) => {
                self.charge(thread);
                let class = self.slots.get(slot).job.class;
                self.take_resting(thread, class);
                self.drop_job(slot);
                self.advance_or_settle(thread);
            }
            Stage::Running(thread, run) => self.cancel_running(thread, run, slot),
        }
    }

    /// A run is stopped only if nobody wants it any more; else the job is dropped at its end.
    fn cancel_running(&mut self, thread: Thread, run: u8, slot: u32) {
        self.slots.get_mut(slot).cancelled = true;
        let unwanted = |part: &crate::thread::Part| self.slots.get(part.slot).cancelled;
        if !self.runs.get(run).cancelled && self.runs.get(run).parts().iter().all(unwanted) {
            self.runs.get_mut(run).cancelled = true;
            let job = self.slots.get(slot).job.id;
            self.decisions.push(Decision::CancelRunning { thread, job });
        }
    }

    fn tick(&mut self) {
        for index in 0..self.threads_len() {
            let thread = Thread(index as u8);
            self.charge(thread);
            self.advance_or_settle(thread);
        }
    }

    /// Ends a job without a result.
    pub(crate) fn drop_job(&mut self, slot: u32) {
        let entry = *self.slots.remove(slot);
        self.class_stats(entry.job.class).dropped += 1;
        self.decisions.push(Decision::Dropped { job: entry.job.id });
    }

    /// Ends a job that had been admitted.
    pub(crate) fn reject_kept(&mut self, slot: u32, why: Why) {
        let entry = *self.slots.remove(slot);
        self.class_stats(entry.job.class).rejects += 1;
        self.decisions.push(Decision::Reject {
            job: entry.job.id,
            why,
            predicted_ns: 0,
        });
    }

    pub(crate) fn class_stats(&mut self, class: Class) -> &mut ClassStats {
        &mut self.stats.classes[class.index()]
    }

    pub(crate) fn threads_len(&self) -> usize {
        if self.config.preemption == Preemption::Lanes {
            THREADS
        } else {
            1
        }
    }

    fn running_on(&self, thread: Thread) -> Option<u8> {
        self.threads.get(thread.index())?.running
    }

    pub(crate) fn first_job(&self, run: u8) -> JobId {
        self.slots.get(self.runs.get(run).parts()[0].slot).job.id
    }
}
