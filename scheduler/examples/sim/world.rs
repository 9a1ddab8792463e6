//! The simulated world: shards with one core each, arrivals, and the order of events.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use mlos_scheduler::{
    Class, Config, Decision, Decisions, Event, Job, JobId, Model, ModelIndex, OnMiss, Policy, Preemption,
    Score, ShardLoad, Thread, route,
};

use super::latency::Latency;

/// Shards that share memory, and so can take each other's work.
const NODE_SHARDS: usize = 8;
/// How long the data of a prefetch takes to come.
const FETCH_NS: u64 = 200_000;

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub shards: usize,
    pub jobs: usize,
    pub seed: u64,
    pub preemption: Preemption,
    /// Work that arrives, as a part of what the cores can do.
    pub load_per_mille: u64,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            shards: 16,
            jobs: 10_000,
            seed: 1,
            preemption: Preemption::Lanes,
            load_per_mille: 800,
        }
    }
}

/// A kind of work.
struct Kind {
    class: Class,
    row_ns: u64,
    slice_ns: u64,
    rows: u32,
    deadline_ns: Option<u64>,
    /// Its part of the load.
    per_mille: u64,
}

/// Each core gets some 100 short urgent jobs a second; the rest of its time goes to longer and longer work.
const KINDS: [Kind; Class::COUNT] = [
    Kind {
        class: Class::Realtime,
        row_ns: 100_000,
        slice_ns: 50_000,
        rows: 1,
        deadline_ns: Some(5_000_000),
        per_mille: 10,
    },
    Kind {
        class: Class::High,
        row_ns: 5_000_000,
        slice_ns: 300_000,
        rows: 1,
        deadline_ns: Some(100_000_000),
        per_mille: 200,
    },
    Kind {
        class: Class::Normal,
        row_ns: 20_000_000,
        slice_ns: 400_000,
        rows: 1,
        deadline_ns: Some(1_000_000_000),
        per_mille: 320,
    },
    Kind {
        class: Class::Batch,
        row_ns: 36_000_000,
        slice_ns: 500_000,
        rows: 4,
        deadline_ns: None,
        per_mille: 470,
    },
];

/// What came of one class.
#[derive(Clone, Debug, Default)]
pub struct ClassOutcome {
    pub latency: Latency,
    pub late: u64,
    pub rejected: u64,
    pub preempted: u64,
}

/// What came of it all.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub classes: [ClassOutcome; Class::COUNT],
    pub score: Score,
    pub taken: u64,
    /// When the last job ended.
    pub end_ns: u64,
    /// Depends on every end of every job: equal for equal runs.
    pub fingerprint: u64,
}

/// SplitMix64.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.word() % bound
    }

    /// Exponentially distributed: the time to the next of independent arrivals.
    fn exponential_ns(&mut self, mean_ns: f64) -> u64 {
        let uniform = (self.word() >> 11) as f64 / (1u64 << 53) as f64;
        (-(1.0 - uniform).ln() * mean_ns) as u64
    }

    /// Run times scatter by a tenth, and one in a hundred takes three times as long.
    fn scattered_ns(&mut self, mean_ns: u64) -> u64 {
        let scattered = mean_ns * (900 + self.below(200)) / 1_000;
        if self.below(100) == 0 {
            3 * scattered
        } else {
            scattered
        }
    }
}

/// A run on a simulated thread.
#[derive(Clone, Copy, Debug)]
struct Run {
    total_ns: u64,
    left_ns: u64,
    slice_ns: u64,
}

impl Run {
    /// Time to its next checkpoint, or its end.
    fn checkpoint_in_ns(&self) -> u64 {
        (self.slice_ns - (self.total_ns - self.left_ns) % self.slice_ns).min(self.left_ns)
    }
}

/// A simulated thread.
#[derive(Clone, Copy, Debug, Default)]
struct Seat {
    running: Option<Run>,
    aside: [Option<Run>; Class::COUNT],
    preempt: bool,
}

/// A core: of its threads the strongest that has something to run runs.
#[derive(Debug, Default)]
struct Core {
    seats: [Seat; 4],
    /// Up to when the running run has been advanced.
    at_ns: u64,
    /// Tells the valid next event of this core from those that were overtaken.
    epoch: u32,
    tick_ns: Option<u64>,
}

impl Core {
    fn current(&self) -> Option<usize> {
        self.seats.iter().position(|seat| seat.running.is_some())
    }

    fn advance(&mut self, now_ns: u64) {
        if let Some(run) = self
            .current()
            .and_then(|index| self.seats[index].running.as_mut())
        {
            run.left_ns -= (now_ns - self.at_ns).min(run.left_ns);
        }
        self.at_ns = now_ns;
    }

    /// When its thread has something to report.
    fn next_ns(&self) -> Option<u64> {
        let seat = &self.seats[self.current()?];
        let run = seat.running?;
        Some(
            self.at_ns
                + if seat.preempt {
                    run.checkpoint_in_ns()
                } else {
                    run.left_ns
                },
        )
    }
}

struct Shard {
    policy: Policy,
    core: Core,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Arrival(usize),
    Core { shard: usize, epoch: u32 },
    Tick { shard: usize, at_ns: u64 },
    Fetched { shard: usize, model: u32 },
}

/// A job as its caller knows it.
#[derive(Clone, Copy)]
struct Asked {
    at_ns: u64,
    class: Class,
    deadline_ns: Option<u64>,
}

pub struct World {
    scenario: Scenario,
    shards: Vec<Shard>,
    events: BinaryHeap<Reverse<(u64, u64, What)>>,
    seq: u64,
    random: Random,
    asked: Vec<Asked>,
    outcome: Outcome,
}

impl World {
    pub fn new(scenario: Scenario) -> Self {
        let config = Config {
            preemption: scenario.preemption,
            queue_jobs_max: 128,
            models_max: KINDS.len(),
            ..Config::default()
        };
        let shards = (0..scenario.shards)
            .map(|_| Shard {
                policy: policy(config),
                core: Core::default(),
            })
            .collect();
        let mut world = Self {
            scenario,
            shards,
            events: BinaryHeap::new(),
            seq: 0,
            random: Random(scenario.seed),
            asked: Vec::with_capacity(scenario.jobs),
            outcome: Outcome::default(),
        };
        for kind in 0..KINDS.len() {
            world.schedule_arrival(0, kind);
        }
        world
    }

    /// Runs until all jobs have ended.
    pub fn run(mut self) -> Outcome {
        while let Some(Reverse((now_ns, _, what))) = self.events.pop() {
            match what {
                What::Arrival(kind) => self.arrive(now_ns, kind),
                What::Core { shard, epoch } if epoch == self.shards[shard].core.epoch => {
                    self.report(now_ns, shard)
                }
                What::Tick { shard, at_ns } if self.shards[shard].core.tick_ns == Some(at_ns) => {
                    self.send(now_ns, shard, Event::Tick);
                }
                What::Fetched { shard, model } => {
                    self.send(
                        now_ns,
                        shard,
                        Event::Prefetched {
                            model: ModelIndex(model),
                        },
                    );
                }
                What::Core { .. } | What::Tick { .. } => {}
            }
        }
        self.outcome()
    }

    fn outcome(mut self) -> Outcome {
        for shard in &self.shards {
            assert_eq!(shard.policy.jobs_len(), 0, "every job has ended");
            let stats = shard.policy.stats();
            let score = &mut self.outcome.score;
            score.predictions += stats.score.predictions;
            score.accurate += stats.score.accurate;
            score.missed += stats.score.missed;
            score.false_alarms += stats.score.false_alarms;
            score.runs += stats.score.runs;
            score.runs_within_bound += stats.score.runs_within_bound;
            for class in Class::ALL {
                self.outcome.taken += stats.classes[class.index()].taken;
                self.outcome.classes[class.index()].preempted += stats.classes[class.index()].preemptions;
            }
        }
        self.outcome
    }

    fn push(&mut self, at_ns: u64, what: What) {
        self.seq += 1;
        self.events.push(Reverse((at_ns, self.seq, what)));
    }

    fn schedule_arrival(&mut self, now_ns: u64, kind: usize) {
        let Kind {
            row_ns,
            rows,
            per_mille,
            ..
        } = KINDS[kind];
        let work_ns = (row_ns * u64::from(rows)) as f64;
        let cores = self.scenario.shards as f64;
        let load = self.scenario.load_per_mille as f64 / 1e3 * per_mille as f64 / 1e3;
        let next_ns = now_ns + self.random.exponential_ns(work_ns / (cores * load));
        self.push(next_ns, What::Arrival(kind));
    }

    fn arrive(&mut self, now_ns: u64, kind: usize) {
        if self.asked.len() == self.scenario.jobs {
            return;
        }
        let Kind {
            class,
            rows,
            deadline_ns,
            ..
        } = KINDS[kind];
        let deadline_ns = deadline_ns.map(|budget_ns| now_ns + budget_ns);
        let id = JobId(self.asked.len() as u64);
        self.asked.push(Asked {
            at_ns: now_ns,
            class,
            deadline_ns,
        });
        let model = ModelIndex(kind as u32);
        let job = Job {
            id,
            model,
            class,
            deadline_ns,
            on_miss: OnMiss::Reject,
            rows,
            shape_key: 0,
        };
        let shard = self.route(now_ns, &job);
        self.send(now_ns, shard, Event::Arrive(job));
        self.schedule_arrival(now_ns, kind);
    }

    /// The shard that accepts the connection is anyone; the job stays on its node.
    fn route(&mut self, now_ns: u64, job: &Job) -> usize {
        let accepted = self.random.below(self.shards.len() as u64) as usize;
        let node = accepted - accepted % NODE_SHARDS;
        let node_end = (node + NODE_SHARDS).min(self.shards.len());
        let home = self.shards[accepted].policy.predict(now_ns, job);
        if job
            .deadline_ns
            .is_none_or(|deadline_ns| home.completion_ns <= deadline_ns)
        {
            return accepted;
        }
        let load = |shard: &Shard| ShardLoad {
            completion_ns: shard.policy.predict(now_ns, job).completion_ns,
            node: 0,
            serves: true,
        };
        let loads: Vec<ShardLoad> = self.shards[node..node_end].iter().map(load).collect();
        let random = self.random.word();
        node + route(&loads, accepted - node, job.deadline_ns, random).unwrap_or(accepted - node)
    }

    /// The core of a shard has come to a checkpoint or an end.
    fn report(&mut self, now_ns: u64, shard: usize) {
        let core = &mut self.shards[shard].core;
        core.advance(now_ns);
        let Some(index) = core.current() else { return };
        let seat = &mut core.seats[index];
        let Some(run) = seat.running else { return };
        let thread = Thread(index as u8);
        if run.left_ns == 0 {
            seat.running = None;
            seat.preempt = false;
            let longest_slice_ns = run.slice_ns.min(run.total_ns);
            self.send(
                now_ns,
                shard,
                Event::Complete {
                    thread,
                    elapsed_ns: run.total_ns,
                    longest_slice_ns,
                },
            );
            self.offer_work(now_ns, shard);
        } else {
            seat.preempt = false;
            self.send(now_ns, shard, Event::Checkpoint { thread });
        }
    }

    /// An idle BATCH lane takes queued BATCH work of its node, from the shard that has most.
    fn offer_work(&mut self, now_ns: u64, shard: usize) {
        let lane = Thread::lane_of(Class::Batch).index();
        let idle = self.shards[shard].core.seats[lane].running.is_none();
        if self.scenario.preemption != Preemption::Lanes || !idle {
            return;
        }
        let node = shard - shard % NODE_SHARDS;
        let node_end = (node + NODE_SHARDS).min(self.shards.len());
        let richest = (node..node_end).max_by_key(|other| self.shards[*other].policy.queue_len(Class::Batch));
        let Some(job) = richest.and_then(|other| self.shards[other].policy.take_queued(now_ns, Class::Batch))
        else {
            return;
        };
        self.send(now_ns, shard, Event::Adopt(job));
    }

    /// Gives an event to a shard's policy and carries the answer out.
    fn send(&mut self, now_ns: u64, index: usize, event: Event) {
        let Shard { policy, core } = &mut self.shards[index];
        core.advance(now_ns);
        core.tick_ns = None;
        let answer = policy.on(now_ns, event);
        let mut fetches = [None; 4];
        for (decision, fetch) in answer
            .iter()
            .filter(|decision| is_fetch(decision))
            .zip(&mut fetches)
        {
            if let Decision::Prefetch { model } = decision {
                *fetch = Some(model.0);
            }
        }
        carry_out(core, answer, &mut self.random);
        record(answer, now_ns, &self.asked, &mut self.outcome);
        core.epoch = core.epoch.wrapping_add(1);
        let (epoch, next_ns, tick_ns) = (core.epoch, core.next_ns(), core.tick_ns);
        if let Some(next_ns) = next_ns {
            self.push(next_ns, What::Core { shard: index, epoch });
        }
        if let Some(at_ns) = tick_ns {
            self.push(at_ns.max(now_ns), What::Tick { shard: index, at_ns });
        }
        for model in fetches.into_iter().flatten() {
            self.push(now_ns + FETCH_NS, What::Fetched { shard: index, model });
        }
    }
}

fn policy(config: Config) -> Policy {
    let mut policy = Policy::new(config);
    for (index, kind) in KINDS.iter().enumerate() {
        let model = Model {
            class_default: kind.class,
            splittable: kind.rows > 1,
            ..Model::default()
        };
        policy.add_model(ModelIndex(index as u32), model);
        policy.set_profile(ModelIndex(index as u32), 1, kind.row_ns, kind.slice_ns);
    }
    policy
}

fn is_fetch(decision: &Decision) -> bool {
    matches!(decision, Decision::Prefetch { .. })
}

fn carry_out(core: &mut Core, answer: &Decisions, random: &mut Random) {
    for decision in answer {
        match *decision {
            Decision::Dispatch(dispatch) => {
                let kind = &KINDS[dispatch.model.0 as usize];
                let total_ns = random.scattered_ns(kind.row_ns * u64::from(dispatch.rows));
                // The longest slice grows with the batch.
                let slice_ns = kind.slice_ns * u64::from(dispatch.rows);
                core.seats[dispatch.thread.index()].running = Some(Run {
                    total_ns,
                    left_ns: total_ns,
                    slice_ns,
                });
            }
            Decision::Suspend { thread, class } => {
                let seat = &mut core.seats[thread.index()];
                seat.aside[class.index()] = seat.running.take();
            }
            Decision::Resume { thread, class, .. } => {
                let seat = &mut core.seats[thread.index()];
                seat.running = seat.aside[class.index()].take();
            }
            Decision::Preempt { thread } => core.seats[thread.index()].preempt = true,
            Decision::IdleUntil { at_ns } => core.tick_ns = Some(at_ns),
            _ => {}
        }
    }
}

fn record(answer: &Decisions, now_ns: u64, asked: &[Asked], outcome: &mut Outcome) {
    for decision in answer {
        let (job, finished) = match *decision {
            Decision::Finished { job } => (job, true),
            Decision::Reject { job, .. } => (job, false),
            _ => continue,
        };
        let Asked {
            at_ns,
            class,
            deadline_ns,
        } = asked[job.0 as usize];
        outcome.end_ns = now_ns;
        let of = &mut outcome.classes[class.index()];
        if finished {
            of.latency.add(now_ns - at_ns);
            of.late += u64::from(deadline_ns.is_some_and(|deadline_ns| now_ns > deadline_ns));
        } else {
            of.rejected += 1;
        }
        let end = job.0.wrapping_mul(2).wrapping_add(u64::from(finished)) ^ now_ns.rotate_left(20);
        outcome.fingerprint = (outcome.fingerprint ^ end).wrapping_mul(0x0000_0100_0000_01B3);
    }
}
