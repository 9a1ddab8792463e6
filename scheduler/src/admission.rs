//! Who is let in, when it would be done, and on which thread it goes.

use crate::config::{OnMiss, Preemption};
use crate::cost::Estimate;
use crate::decision::{Decision, Prediction, Why};
use crate::job::{Class, Job, ModelIndex, Thread};
use crate::limits::THREADS;
use crate::models::{ModelState, queue_of};
use crate::policy::Policy;
use crate::queue::Key;
use crate::slots::{Entry, Expected, NONE, Stage};

/// What admission found out about a job.
#[derive(Clone, Copy)]
struct Candidate {
    job: Job,
    estimate: Estimate,
    key: Key,
    thread: Thread,
}

impl Policy {
    /// What would become of a job that arrived now.
    pub fn predict(&self, now_ns: u64, job: &Job) -> Prediction {
        let now_ns = self.now_ns.max(now_ns);
        let job = Job {
            rows: job.rows.max(1),
            ..*job
        };
        let candidate = match self.models.live(job.model) {
            Some(state) => self.candidate(now_ns, job, state),
            None => {
                let estimate = Estimate::new(self.config.unknown_cost_ns, 0, false);
                let thread = self.placement(job.class, &estimate);
                Candidate {
                    job,
                    estimate,
                    key: self.key_of(now_ns, &job),
                    thread,
                }
            }
        };
        self.prediction(now_ns, &candidate)
    }

    pub(crate) fn arrive(&mut self, job: Job) {
        let job = Job {
            rows: job.rows.max(1),
            ..job
        };
        self.note_arrival(job.class);
        let Some(state) = self.models.live(job.model) else {
            self.reject_new(&job, Why::UnknownModel, 0);
            return;
        };
        if self.slots.find(job.id).is_some() {
            self.reject_new(&job, Why::DuplicateJob, 0);
            return;
        }
        let candidate = self.candidate(self.now_ns, job, state);
        if self.is_full(job.class) {
            let predicted_ns = self.prediction(self.now_ns, &candidate).completion_ns;
            self.reject_new(&job, Why::QueueFull, predicted_ns);
            return;
        }
        self.admit(candidate);
    }

    /// Takes a job that another shard had admitted: there is no second judgement.
    pub(crate) fn adopt(&mut self, job: Job) {
        let job = Job {
            rows: job.rows.max(1),
            ..job
        };
        self.note_arrival(job.class);
        let Some(state) = self.models.live(job.model) else {
            self.reject_new(&job, Why::UnknownModel, 0);
            return;
        };
        let candidate = self.candidate(self.now_ns, job, state);
        if self.slots.find(job.id).is_some() {
            self.reject_new(&job, Why::DuplicateJob, 0);
        } else if self.is_full(job.class) {
            self.reject_new(&job, Why::QueueFull, 0);
        } else {
            self.accept(candidate, Expected::Nothing, job.deadline_ns);
        }
    }

    fn note_arrival(&mut self, class: Class) {
        self.class_stats(class).arrivals += 1;
        if class <= Class::High {
            self.urgent_until_ns[class.index()] = self.now_ns.saturating_add(self.config.urgent_memory_ns);
        }
    }

    fn admit(&mut self, candidate: Candidate) {
        let Candidate { job, estimate, .. } = candidate;
        let mut expected = Expected::Nothing;
        if job.deadline_ns.is_some() {
            let prediction = self.prediction(self.now_ns, &candidate);
            if prediction.would_miss {
                self.reject_or_degrade(&job, Why::DeadlineMiss, prediction.completion_ns);
                return;
            }
            if estimate.known {
                expected = Expected::Meet;
            }
        }
        if job.class == Class::Realtime {
            let counted_ns = if estimate.known { estimate.mean_ns } else { 0 };
            if !self.realtime.fits(self.now_ns, counted_ns) {
                let predicted_ns = self.prediction(self.now_ns, &candidate).completion_ns;
                self.reject_or_degrade(&job, Why::UtilisationBound, predicted_ns);
                return;
            }
        }
        self.accept(candidate, expected, job.deadline_ns);
    }

    fn reject_or_degrade(&mut self, job: &Job, why: Why, predicted_ns: u64) {
        // Not above NORMAL, or the bound of REALTIME would mean nothing and late work would hold up work in time.
        let class = job.class.max(Class::Normal);
        if job.on_miss == OnMiss::Reject || self.is_full(class) {
            self.reject_new(job, why, predicted_ns);
            return;
        }
        self.class_stats(job.class).degraded += 1;
        let degraded = Job {
            class,
            deadline_ns: None,
            ..*job
        };
        let candidate = self.candidate(self.now_ns, degraded, self.models.get(job.model));
        self.decisions.push(Decision::Degrade {
            job: job.id,
            class,
            predicted_ns,
        });
        let expected = if why == Why::DeadlineMiss {
            Expected::Miss
        } else {
            Expected::Nothing
        };
        self.accept(candidate, expected, job.deadline_ns);
    }

    fn accept(&mut self, candidate: Candidate, expected: Expected, asked_deadline_ns: Option<u64>) {
        let Candidate {
            job,
            estimate,
            key,
            thread,
        } = candidate;
        self.charge(thread);
        self.seq += 1;
        let charged_ns = if job.class == Class::Realtime && estimate.known {
            estimate.mean_ns
        } else {
            0
        };
        if charged_ns > 0 {
            self.realtime.add(self.now_ns, charged_ns);
        }
        let slot = self.slots.insert(Entry {
            job,
            stage: Stage::Queued(thread),
            key,
            arrival_ns: self.now_ns,
            asked_deadline_ns,
            expected,
            cancelled: false,
            rows_done: 0,
            mean_ns: estimate.mean_ns.min(self.joined_mean_ns(&job, thread)),
            bound_ns: estimate.bound_ns(),
            charged_ns,
            older: NONE,
            younger: NONE,
        });
        if self.starts_alone(thread, &job) {
            self.start_alone(thread, job.class, slot);
            return;
        }
        self.enqueue(thread, slot);
        // Behind others of its class it changes nothing for what runs.
        let queue = &self.queues[queue_of(thread, job.class)];
        let is_head = queue.first().is_some_and(|item| item.slot == slot);
        if is_head || self.threads[thread.index()].running.is_none() {
            self.advance_or_settle(thread);
        }
    }

    /// What a job adds to the work of a thread if it will run with others of its model that wait there already: its rows'
    /// part of a full run. Without this, admission would turn away what batching makes room for.
    fn joined_mean_ns(&self, job: &Job, thread: Thread) -> u64 {
        let state = self.models.get(job.model);
        let rows_max = state.model.max_batch_rows;
        if rows_max < 2 || self.models.group(queue_of(thread, job.class), job.model).len == 0 {
            return u64::MAX;
        }
        let full = state.cost.estimate(rows_max, 0);
        if full.known {
            (u128::from(full.mean_ns) * u128::from(job.rows) / u128::from(rows_max)) as u64
        } else {
            u64::MAX
        }
    }

    fn reject_new(&mut self, job: &Job, why: Why, predicted_ns: u64) {
        self.class_stats(job.class).rejects += 1;
        self.decisions.push(Decision::Reject {
            job: job.id,
            why,
            predicted_ns,
        });
    }

    fn is_full(&self, class: Class) -> bool {
        self.queued[class.index()] >= self.config.queue_jobs_max
    }

    fn candidate(&self, now_ns: u64, job: Job, state: &ModelState) -> Candidate {
        let estimate = self.whole_estimate(state, job.rows, job.class, now_ns);
        let thread = self.placement(job.class, &estimate);
        Candidate {
            job,
            estimate,
            key: self.key_of(now_ns, &job),
            thread,
        }
    }

    fn key_of(&self, now_ns: u64, job: &Job) -> Key {
        let budget_ns = self.config.default_budget_ns[job.class.index()];
        Key {
            deadline_ns: job.deadline_ns.unwrap_or(now_ns.saturating_add(budget_ns)),
            seq: self.seq,
        }
    }

    /// What all rows of a job take, in as many parts as they would be run in.
    fn whole_estimate(&self, state: &ModelState, rows: u32, class: Class, now_ns: u64) -> Estimate {
        let unknown_ns = self.config.unknown_cost_ns;
        if rows == 1 || !state.model.splittable {
            return state.cost.estimate(rows, unknown_ns);
        }
        let part = self.part_rows(state, rows, class, now_ns);
        let parts = u64::from(rows.div_ceil(part));
        state.cost.estimate(part, unknown_ns).times(parts)
    }

    fn placement(&self, class: Class, estimate: &Estimate) -> Thread {
        let short = estimate.known && estimate.bound_ns() <= self.config.front_budget_ns;
        if class == Class::Realtime || short {
            Thread::FRONT
        } else {
            self.long_work_thread(class)
        }
    }

    /// Where jobs of a class run that are not short.
    pub(crate) fn long_work_thread(&self, class: Class) -> Thread {
        match self.config.preemption {
            Preemption::Lanes => Thread::lane_of(class),
            Preemption::None | Preemption::Layer => Thread::FRONT,
        }
    }

    fn prediction(&self, now_ns: u64, candidate: &Candidate) -> Prediction {
        let Candidate {
            job,
            estimate,
            thread,
            ..
        } = *candidate;
        let bound_ns = estimate.bound_ns();
        let ahead_ns = self.ahead_ns(now_ns, candidate);
        let completion_ns = now_ns.saturating_add(ahead_ns).saturating_add(bound_ns);
        // A deadline in the past is missed at any cost, known or not.
        let late = |deadline_ns| deadline_ns < now_ns || (estimate.known && completion_ns > deadline_ns);
        let would_miss = job.deadline_ns.is_some_and(late);
        Prediction {
            completion_ns,
            bound_ns,
            would_miss,
            known: estimate.known,
            placement: thread,
        }
    }

    /// What must run before this job.
    ///
    /// Means are summed, not bounds: deviations of many jobs do not add up, and a sum of bounds would turn work away that
    /// the shard can do. Only what runs now counts with its bound.
    fn ahead_ns(&self, now_ns: u64, candidate: &Candidate) -> u64 {
        let thread = candidate.thread;
        let own = self
            .running_ahead_ns(now_ns, candidate)
            .saturating_add(self.waiting_ahead_ns(candidate));
        // The kernel lets stronger threads go first: the front, and the lanes of more urgent classes.
        (0..thread.index()).fold(own, |sum, index| {
            let stronger = Thread(index as u8);
            let running = self.remaining_ns(now_ns, stronger);
            Class::ALL
                .into_iter()
                .fold(sum.saturating_add(running), |sum, class| {
                    sum.saturating_add(self.waiting_ns(stronger, class))
                })
        })
    }

    fn waiting_ahead_ns(&self, candidate: &Candidate) -> u64 {
        let Candidate { job, thread, key, .. } = *candidate;
        let more_urgent = Class::ALL.into_iter().take_while(|class| *class < job.class);
        let sum = more_urgent.fold(0, |sum: u64, class| {
            sum.saturating_add(self.waiting_ns(thread, class))
        });
        let own = self.queues[queue_of(thread, job.class)].work_until_ns(key.deadline_ns);
        sum.saturating_add(self.set_aside_ns(thread, job.class))
            .saturating_add(own)
    }

    /// What the run on the candidate's own thread makes it wait.
    fn running_ahead_ns(&self, now_ns: u64, candidate: &Candidate) -> u64 {
        let Candidate {
            job,
            estimate,
            key,
            thread,
        } = *candidate;
        let remaining_ns = self.remaining_ns(now_ns, thread);
        let Some(run) = self.threads[thread.index()].running else {
            return 0;
        };
        let run = self.runs.get(run);
        let slice_ns = remaining_ns.min(run.slice_ns);
        let can_overtake = match job.class.cmp(&run.class) {
            core::cmp::Ordering::Less => self.can_suspend(thread, run.class),
            core::cmp::Ordering::Equal => {
                self.overtakes(now_ns, thread, key.deadline_ns, estimate.bound_ns())
            }
            core::cmp::Ordering::Greater => false,
        };
        if can_overtake { slice_ns } else { remaining_ns }
    }

    /// Queued, resting and suspended work of a class on a thread.
    fn waiting_ns(&self, thread: Thread, class: Class) -> u64 {
        if !self.threads[thread.index()].waiting.contains(class) {
            return 0;
        }
        let queued = if self.has_queue(thread, class) {
            self.queues[queue_of(thread, class)].work_ns()
        } else {
            0
        };
        queued.saturating_add(self.set_aside_ns(thread, class))
    }

    /// Resting and suspended work of a class on a thread: it precedes the class's queue.
    pub(crate) fn set_aside_ns(&self, thread: Thread, class: Class) -> u64 {
        let state = &self.threads[thread.index()];
        let suspended = state.suspended[class.index()].map_or(0, |run| {
            let run = self.runs.get(run);
            run.bound_ns.saturating_sub(run.ran_ns)
        });
        let resting = state.resting[class.index()];
        if resting == NONE {
            return suspended;
        }
        let entry = self.slots.get(resting);
        suspended.saturating_add(entry.left_of_ns(entry.mean_ns))
    }

    /// What the run on a thread still needs, by its bound.
    pub(crate) fn remaining_ns(&self, now_ns: u64, thread: Thread) -> u64 {
        let state = &self.threads[thread.index()];
        state.running.map_or(0, |run| {
            let run = self.runs.get(run);
            let ran_ns = run.ran_ns.saturating_add(now_ns.saturating_sub(state.charged_ns));
            run.bound_ns.saturating_sub(ran_ns)
        })
    }

    /// What runs or is set aside of a class on a thread.
    pub(crate) fn remaining_of_class_ns(&self, thread: Thread, class: Class) -> u64 {
        let runs = self.threads[thread.index()]
            .running
            .is_some_and(|run| self.runs.get(run).class == class);
        let running = if runs {
            self.remaining_ns(self.now_ns, thread)
        } else {
            0
        };
        running.saturating_add(self.set_aside_ns(thread, class))
    }

    /// Whether something more urgent than this class is served, which long slices of it would hold up.
    pub(crate) fn is_urgent_beside(&self, class: Class, now_ns: u64) -> bool {
        [Class::Realtime, Class::High]
            .into_iter()
            .take_while(|urgent| *urgent < class)
            .any(|urgent| now_ns < self.urgent_until_ns[urgent.index()] || self.models.serves(urgent))
    }

    /// Whether a model's index is in use and the model can take jobs.
    pub fn has_model(&self, index: ModelIndex) -> bool {
        self.models.live(index).is_some()
    }
}

const _: () = assert!(
    THREADS == Class::COUNT,
    "the front takes the place of a REALTIME lane"
);
