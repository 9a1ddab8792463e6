//! A stand-in for the daemon: carries decisions out, makes random events, and checks after each what must always hold.

#![expect(dead_code, reason = "each test file uses a part of it")]

use std::collections::HashMap;
use std::fmt::Write;

use mlos_scheduler::{
    Class, Config, Decision, Decisions, Event, Job, JobId, Model, ModelIndex, OnMiss, Policy, Preemption,
    Thread, Why, trace,
};

/// SplitMix64: small, and the same everywhere.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.word() % bound
    }

    /// Below a power of two that is itself random: many small numbers, some large ones.
    pub fn spread(&mut self, bits_min: u64, bits_max: u64) -> u64 {
        let bits = bits_min + self.below(bits_max - bits_min);
        self.below(1 << bits)
    }

    pub fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

/// A decision, and for a run its members: job, first row, rows.
type Answer = (Decision, Vec<(JobId, u32, u32)>);

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Finished,
    Rejected,
    Dropped,
    Taken,
}

/// A run as the daemon sees it.
#[derive(Clone, Debug)]
struct Run {
    class: Class,
    model: ModelIndex,
    rows: u32,
    jobs: Vec<JobId>,
    cancelled: bool,
    /// Compute time still to come, and so far.
    left_ns: u64,
    ran_ns: u64,
}

#[derive(Default)]
struct Seat {
    running: Option<Run>,
    suspended: [Option<Run>; Class::COUNT],
}

/// A job as its caller sees it.
struct Live {
    class: Class,
    rows: u32,
    rows_started: u32,
    in_run: bool,
}

/// A daemon of one shard around a policy.
pub struct Daemon {
    pub policy: Policy,
    pub now_ns: u64,
    pub random: Random,
    pub ends: HashMap<JobId, End>,
    /// Everything said and answered, as a trace.
    pub log: String,
    seats: Vec<Seat>,
    live: HashMap<JobId, Live>,
    next_job: u64,
    models: u32,
    /// No shares are configured and there is one thread: then no class may go before a more urgent one.
    strict: bool,
    config: Config,
}

impl Daemon {
    pub fn new(config: Config, seed: u64) -> Self {
        let mut log = String::new();
        let preemption = match config.preemption {
            Preemption::None => "none",
            Preemption::Layer => "layer",
            Preemption::Lanes => "lanes",
        };
        let [a, b, c, d] = config.share_per_mille;
        writeln!(
            log,
            "config preemption={preemption} queue_jobs_max={} models_max={} share_per_mille={a},{b},{c},{d} \
             realtime_bound_per_mille={}",
            config.queue_jobs_max, config.models_max, config.realtime_bound_per_mille
        )
        .expect("strings grow");
        let one_thread = config.preemption != Preemption::Lanes;
        Self {
            policy: Policy::new(config),
            now_ns: 0,
            random: Random(seed),
            ends: HashMap::new(),
            log,
            seats: (0..4).map(|_| Seat::default()).collect(),
            live: HashMap::new(),
            next_job: 0,
            models: 0,
            strict: one_thread && config.share_per_mille == [0; 4],
            config,
        }
    }

    /// Adds models of different sizes and habits.
    pub fn add_models(&mut self, count: u32) {
        for index in 0..count {
            let model = Model {
                class_default: Class::from_index(self.random.below(4) as usize).expect("below four"),
                max_batch_rows: [0, 1, 4, 16][self.random.below(4) as usize],
                max_queue_delay_ns: [0, 0, 200_000, 2_000_000][self.random.below(4) as usize],
                splittable: self.random.chance(2),
                ..Model::default()
            };
            self.add_model(ModelIndex(index), model);
            if !self.random.chance(3) {
                let total_ns = 50_000 << self.random.below(9);
                self.policy
                    .set_profile(ModelIndex(index), 1, total_ns, total_ns / 10);
                writeln!(
                    self.log,
                    "profile model={index} rows=1 total_ns={total_ns} slice_ns={}",
                    total_ns / 10
                )
                .expect("strings grow");
            }
        }
        self.models = count;
    }

    fn add_model(&mut self, index: ModelIndex, model: Model) {
        assert!(self.policy.add_model(index, model));
        writeln!(
            self.log,
            "model model={} class={} max_batch_rows={} max_queue_delay_ns={} splittable={}",
            index.0,
            model.class_default.index(),
            model.max_batch_rows,
            model.max_queue_delay_ns,
            u8::from(model.splittable)
        )
        .expect("strings grow");
    }

    /// Sends an event and carries out the answer.
    pub fn send(&mut self, event: Event) {
        trace::event_line(self.now_ns, &event, &mut self.log).expect("strings grow");
        if let Event::Complete { thread, .. } | Event::Failed { thread } = event {
            let run = self.seats[thread.index()]
                .running
                .take()
                .expect("only what runs ends");
            for job in run.jobs {
                self.live.get_mut(&job).expect("members are live").in_run = false;
            }
        }
        let answer = self.policy.on(self.now_ns, event);
        trace::write_decisions(answer, &mut self.log).expect("strings grow");
        let answer = copied(answer);
        self.carry_out(event, &answer);
        self.check();
    }

    fn carry_out(&mut self, event: Event, answer: &[Answer]) {
        let mut answered = false;
        for (decision, members) in answer {
            match *decision {
                Decision::Dispatch(dispatch) => {
                    answered = true;
                    self.check_order(dispatch.thread, dispatch.class, members);
                    self.start(dispatch.thread, dispatch.class, dispatch.model, members);
                }
                Decision::Suspend { thread, class } => {
                    let seat = &mut self.seats[thread.index()];
                    let run = seat.running.take().expect("only what runs is set aside");
                    assert_eq!(run.class, class);
                    assert!(
                        matches!(event, Event::Checkpoint { thread: at } if at == thread),
                        "only at a checkpoint"
                    );
                    let place = seat.suspended[class.index()].replace(run);
                    assert!(place.is_none(), "one place for each class");
                }
                Decision::Resume { thread, class, job } => {
                    answered = true;
                    self.check_order(thread, class, &[]);
                    let seat = &mut self.seats[thread.index()];
                    let run = seat.suspended[class.index()]
                        .take()
                        .expect("only what was set aside is resumed");
                    assert_eq!(run.jobs[0], job);
                    assert!(seat.running.replace(run).is_none(), "the thread is idle");
                }
                Decision::Continue { thread } => {
                    assert!(
                        matches!(event, Event::Checkpoint { thread: at } if at == thread),
                        "only at a checkpoint"
                    );
                    answered = true;
                }
                Decision::CancelRunning { job, .. } => {
                    let seats = self.seats.iter_mut();
                    let mut runs =
                        seats.flat_map(|seat| seat.suspended.iter_mut().chain([&mut seat.running]).flatten());
                    runs.find(|run| run.jobs.contains(&job))
                        .expect("the job is in a run")
                        .cancelled = true;
                }
                Decision::Preempt { thread } => assert!(self.seats[thread.index()].running.is_some()),
                // The second of an id is refused; the first lives on.
                Decision::Reject {
                    why: Why::DuplicateJob,
                    ..
                } => {}
                Decision::Reject { job, .. } => self.end(job, End::Rejected),
                Decision::Dropped { job } => self.end(job, End::Dropped),
                Decision::Finished { job } => {
                    let live = &self.live[&job];
                    assert_eq!(live.rows_started, live.rows, "all rows were computed");
                    self.end(job, End::Finished);
                }
                Decision::Degrade { job, class, .. } => {
                    if let Some(live) = self.live.get_mut(&job) {
                        assert!(class >= live.class && class >= Class::Normal);
                        live.class = class;
                    }
                }
                Decision::Prefetch { .. } | Decision::IdleUntil { .. } => {}
            }
        }
        if matches!(event, Event::Checkpoint { .. }) {
            assert!(answered, "a checkpoint is always answered");
        }
    }

    fn start(&mut self, thread: Thread, class: Class, model: ModelIndex, members: &[(JobId, u32, u32)]) {
        assert!(thread.index() == 0 || self.config.preemption == Preemption::Lanes);
        assert!(
            thread.index() == 0 || thread.index() == class.index(),
            "a lane has one class"
        );
        assert!(class != Class::Realtime || thread == Thread::FRONT);
        for (job, first_row, rows) in members {
            let live = self.live.get_mut(job).expect("members are live");
            assert!(!live.in_run, "a job is in one run at a time");
            assert_eq!(live.rows_started, *first_row, "rows are run in order, each once");
            assert!(*rows > 0);
            live.rows_started += rows;
            live.in_run = true;
        }
        let rows: u32 = members.iter().map(|(_, _, rows)| rows).sum();
        let left_ns = (50_000 + self.random.below(500_000)) * u64::from(rows);
        let jobs = members.iter().map(|(job, _, _)| *job).collect();
        let run = Run {
            class,
            model,
            rows,
            jobs,
            cancelled: false,
            left_ns,
            ran_ns: 0,
        };
        let seat = &mut self.seats[thread.index()];
        assert!(seat.running.replace(run).is_none(), "the thread is idle");
    }

    /// Without shares, nothing starts while something more urgent waits.
    fn check_order(&self, thread: Thread, class: Class, members: &[(JobId, u32, u32)]) {
        if !self.strict {
            return;
        }
        for (job, live) in &self.live {
            let member = members.iter().any(|(member, _, _)| member == job);
            assert!(
                live.in_run || member || live.class >= class,
                "{job:?} waits and is more urgent"
            );
        }
        for more_urgent in 0..class.index() {
            assert!(self.seats[thread.index()].suspended[more_urgent].is_none());
        }
    }

    fn end(&mut self, job: JobId, end: End) {
        self.live.remove(&job).expect("only live jobs end");
        assert_eq!(self.ends.insert(job, end), None, "{job:?} ends once");
    }

    fn check(&self) {
        assert_eq!(
            self.policy.jobs_len(),
            self.live.len(),
            "the policy knows the live jobs"
        );
        for class in Class::ALL {
            let in_parts = 4 * 5;
            assert!(
                self.policy.queue_len(class) <= self.config.queue_jobs_max + in_parts,
                "queues are bounded"
            );
        }
        // Work conserving: with something queued and nothing held for a batch, the front of a one-thread shard is busy.
        if self.config.preemption != Preemption::Lanes && self.policy.queue_len(Class::Realtime) > 0 {
            assert!(self.seats[0].running.is_some(), "REALTIME is never held back");
        }
    }

    pub fn arrive(&mut self, job: Job) {
        self.live.entry(job.id).or_insert(Live {
            class: job.class,
            rows: job.rows.max(1),
            rows_started: 0,
            in_run: false,
        });
        self.send(Event::Arrive(job));
    }

    fn random_job(&mut self) -> Job {
        self.next_job += 1;
        let random = &mut self.random;
        let deadline_ns = self.now_ns + random.spread(10, 30);
        Job {
            id: JobId(self.next_job),
            // One beyond, so that unknown models are asked for, too.
            model: ModelIndex(random.below(u64::from(self.models) + 1) as u32),
            class: Class::from_index(random.below(4) as usize).expect("below four"),
            deadline_ns: random.chance(2).then_some(deadline_ns),
            on_miss: if random.chance(2) {
                OnMiss::Reject
            } else {
                OnMiss::Degrade
            },
            rows: random.spread(0, 6) as u32,
            shape_key: random.below(2),
        }
    }

    /// One random event.
    pub fn step(&mut self) {
        self.now_ns += self.random.spread(1, 20);
        match self.random.below(16) {
            0..=5 => {
                let job = self.random_job();
                self.arrive(job);
                if self.random.chance(20) && self.live.contains_key(&job.id) {
                    self.send(Event::Arrive(job));
                }
            }
            6..=11 => self.run_random_seat(),
            12 => {
                let job = JobId(1 + self.random.below(self.next_job + 1));
                self.send(Event::Cancel { job });
            }
            13 => self.send(Event::Tick),
            14 if self.random.chance(8) => self.replace_model(),
            14 => {
                let model = ModelIndex(self.random.below(u64::from(self.models)) as u32);
                self.send(Event::Prefetched { model });
            }
            _ => self.take(),
        }
    }

    fn busy_threads(&self) -> Vec<Thread> {
        (0..4u8)
            .filter(|index| self.seats[*index as usize].running.is_some())
            .map(Thread)
            .collect()
    }

    /// Lets a run go on: to a checkpoint, to its end, or into a failure.
    fn run_random_seat(&mut self) {
        let busy = self.busy_threads();
        if busy.is_empty() {
            return self.send(Event::Tick);
        }
        let thread = busy[self.random.below(busy.len() as u64) as usize];
        if self.random.chance(40)
            || self.seats[thread.index()]
                .running
                .as_ref()
                .is_some_and(|run| run.cancelled)
        {
            return self.send(Event::Failed { thread });
        }
        let slice_ns = 10_000 + self.random.below(400_000);
        self.advance(thread, slice_ns);
    }

    /// Runs a thread for so long, and reports a checkpoint or the end.
    pub fn advance(&mut self, thread: Thread, slice_ns: u64) {
        let run = self.seats[thread.index()]
            .running
            .as_mut()
            .expect("the thread is busy");
        let slice_ns = slice_ns.min(run.left_ns);
        run.left_ns -= slice_ns;
        run.ran_ns += slice_ns;
        let (left_ns, elapsed_ns) = (run.left_ns, run.ran_ns);
        self.now_ns += slice_ns;
        if left_ns == 0 {
            self.send(Event::Complete {
                thread,
                elapsed_ns,
                longest_slice_ns: slice_ns,
            });
        } else {
            self.send(Event::Checkpoint { thread });
        }
    }

    fn replace_model(&mut self) {
        let index = ModelIndex(self.random.below(u64::from(self.models)) as u32);
        writeln!(self.log, "@{} remove model={}", self.now_ns, index.0).expect("strings grow");
        let answer = self.policy.remove_model(self.now_ns, index);
        trace::write_decisions(answer, &mut self.log).expect("strings grow");
        let answer = copied(answer);
        self.carry_out(Event::Tick, &answer);
        self.check();
        self.add_model(
            index,
            Model {
                max_batch_rows: 8,
                ..Model::default()
            },
        );
    }

    fn take(&mut self) {
        let class = Class::from_index(self.random.below(4) as usize).expect("below four");
        writeln!(self.log, "@{} take class={}", self.now_ns, class.index()).expect("strings grow");
        match self.policy.take_queued(self.now_ns, class) {
            Some(job) => {
                writeln!(self.log, "> took job={}", job.id.0).expect("strings grow");
                assert_eq!(self.live[&job.id].rows_started, 0, "what has begun stays");
                self.end(job.id, End::Taken);
            }
            None => self.log.push_str("> took nothing\n"),
        }
    }

    /// Runs everything to its end, without new arrivals.
    pub fn drain(&mut self) {
        for _ in 0..1_000_000 {
            match self.busy_threads().first().copied() {
                Some(thread)
                    if self.seats[thread.index()]
                        .running
                        .as_ref()
                        .is_some_and(|run| run.cancelled) =>
                {
                    self.send(Event::Failed { thread });
                }
                Some(thread) => self.advance(thread, u64::MAX),
                None if self.live.is_empty() => return,
                None => {
                    // Only a batch that is held can wait on an idle shard, and for so long at most.
                    self.now_ns += 2_000_000;
                    self.send(Event::Tick);
                    assert!(!self.busy_threads().is_empty(), "jobs wait and nothing runs");
                }
            }
        }
        panic!("the shard never came to rest");
    }

    /// Jobs that were ever asked for.
    pub fn asked(&self) -> u64 {
        self.next_job
    }
}

/// Decisions with their members, so that the policy is free for the next event.
fn copied(answer: &Decisions) -> Vec<Answer> {
    let members = |decision: &Decision| match decision {
        Decision::Dispatch(dispatch) => {
            let members = answer.members(dispatch).iter();
            members
                .map(|member| (member.job, member.first_row, member.rows))
                .collect()
        }
        _ => Vec::new(),
    };
    answer
        .iter()
        .map(|decision| (*decision, members(decision)))
        .collect()
}
