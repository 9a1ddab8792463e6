//! A policy with a full queue, for measuring what one decision costs.

use mlos_scheduler::{
    Class, Config, Decision, Event, Job, JobId, Model, ModelIndex, OnMiss, Policy, Preemption, Thread,
};

/// Models served beside each other.
const MODELS: u32 = 8;
/// What each run takes. Short, so that the backlog of a full queue is.
const RUN_NS: u64 = 100_000;

/// A policy in a steady state: as many jobs leave as come.
#[derive(Debug)]
pub struct Loaded {
    policy: Policy,
    now_ns: u64,
    next_job: u64,
    random: u64,
    one_class: bool,
    busy: [bool; 4],
    next_thread: usize,
}

impl Loaded {
    /// A shard with so many jobs queued. With lanes the jobs are of all classes; with one thread they are all of one class, so that a
    /// single queue has them all.
    pub fn new(preemption: Preemption, queued: usize) -> Self {
        // Nothing fits the front, so that with lanes every thread has work.
        let config = Config {
            preemption,
            queue_jobs_max: queued + 64,
            front_budget_ns: 0,
            ..Config::default()
        };
        let mut policy = Policy::new(config);
        for index in 0..MODELS {
            policy.add_model(ModelIndex(index), Model::default());
            policy.set_profile(ModelIndex(index), 1, RUN_NS, RUN_NS / 10);
        }
        let one_class = preemption != Preemption::Lanes;
        let mut loaded = Self {
            policy,
            now_ns: 0,
            next_job: 0,
            random: 7,
            one_class,
            busy: [false; 4],
            next_thread: 0,
        };
        while loaded.queued() < queued {
            loaded.arrive();
        }
        loaded
    }

    /// Jobs queued now.
    pub fn queued(&self) -> usize {
        Class::ALL.iter().map(|class| self.policy.queue_len(*class)).sum()
    }

    /// A job comes.
    pub fn arrive(&mut self) {
        let job = self.job();
        self.now_ns += 1_000;
        self.event(Event::Arrive(job));
    }

    /// A run ends, and its thread starts the next.
    pub fn complete(&mut self) {
        while !self.busy[self.next_thread] {
            self.next_thread = (self.next_thread + 1) % self.busy.len();
        }
        let thread = Thread(self.next_thread as u8);
        self.next_thread = (self.next_thread + 1) % self.busy.len();
        self.now_ns += RUN_NS;
        self.busy[thread.index()] = false;
        let elapsed_ns = RUN_NS + (self.random & 0xfff);
        self.event(Event::Complete {
            thread,
            elapsed_ns,
            longest_slice_ns: RUN_NS / 10,
        });
    }

    fn event(&mut self, event: Event) {
        for decision in self.policy.on(self.now_ns, event) {
            if let Decision::Dispatch(dispatch) = decision {
                self.busy[dispatch.thread.index()] = true;
            }
        }
    }

    fn job(&mut self) -> Job {
        self.next_job += 1;
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let bits = self.random >> 33;
        let class = if self.one_class {
            Class::Normal
        } else {
            Class::ALL[bits as usize % Class::COUNT]
        };
        // Half of the jobs have deadlines; none so near that it is rejected.
        let deadline_ns = (bits & 4 == 0).then_some(self.now_ns + 2_000_000_000 + (bits << 2));
        Job {
            id: JobId(self.next_job),
            model: ModelIndex((bits >> 3) as u32 % MODELS),
            class,
            deadline_ns,
            on_miss: OnMiss::Reject,
            rows: 1,
            shape_key: 0,
        }
    }
}
