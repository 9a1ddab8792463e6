//! What must hold whatever happens. The checks after each event are in `support`.

mod support;

use mlos_scheduler::{Class, Config, Preemption};
use proptest::prelude::*;
use support::Daemon;

fn config(preemption: Preemption, shares: bool) -> Config {
    let share_per_mille = if shares { [0, 0, 50, 10] } else { [0; 4] };
    // A low bound, so that it is reached.
    let realtime_bound_per_mille = 50;
    Config {
        preemption,
        share_per_mille,
        queue_jobs_max: 24,
        models_max: 8,
        realtime_bound_per_mille,
        ..Config::default()
    }
}

fn daemon(preemption: Preemption, shares: bool, seed: u64) -> Daemon {
    let mut daemon = Daemon::new(config(preemption, shares), seed);
    daemon.add_models(6);
    daemon
}

fn preemptions() -> impl Strategy<Value = Preemption> {
    prop_oneof![
        Just(Preemption::None),
        Just(Preemption::Layer),
        Just(Preemption::Lanes)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Every job ends exactly once; queues stay bounded; threads, places and rows are used as agreed; classes keep their order.
    #[test]
    fn every_job_ends_once(preemption in preemptions(), shares: bool, seed: u64, steps in 1usize..2_000) {
        let mut daemon = daemon(preemption, shares, seed);
        for _ in 0..steps {
            daemon.step();
        }
        daemon.drain();
        prop_assert_eq!(daemon.ends.len() as u64, daemon.asked());
        prop_assert_eq!(daemon.policy.jobs_len(), 0);
        for class in Class::ALL {
            prop_assert_eq!(daemon.policy.queue_len(class), 0);
            prop_assert_eq!(daemon.policy.backlog_ns(class), 0);
        }
    }

    /// A job that starts at once without its queue starts as it would from there, and all that follows is the same.
    #[test]
    fn the_way_past_the_queue_decides_nothing(preemption in preemptions(), shares: bool, seed: u64) {
        let (mut past, mut through) = (daemon(preemption, shares, seed), daemon(preemption, shares, seed));
        through.policy.queue_all();
        for _ in 0..500 {
            past.step();
            through.step();
            prop_assert_eq!(past.policy.show_threads(), through.policy.show_threads());
        }
        past.drain();
        through.drain();
        prop_assert_eq!(past.log, through.log);
        prop_assert_eq!(past.policy.stats(), through.policy.stats());
    }

    /// The same events give the same answers.
    #[test]
    fn a_replay_is_equal(preemption in preemptions(), seed: u64) {
        let run = || {
            let mut daemon = daemon(preemption, true, seed);
            for _ in 0..500 {
                daemon.step();
            }
            daemon.log
        };
        prop_assert_eq!(run(), run());
    }

    /// What the counters say adds up.
    #[test]
    fn counters_balance(preemption in preemptions(), seed: u64) {
        let mut daemon = daemon(preemption, true, seed);
        for _ in 0..500 {
            daemon.step();
        }
        daemon.drain();
        let classes = daemon.policy.stats().classes;
        let sum = |of: fn(&mlos_scheduler::ClassStats) -> u64| classes.iter().map(of).sum::<u64>();
        prop_assert_eq!(sum(|of| of.arrivals), sum(|of| of.finished + of.rejects + of.dropped + of.taken));
        prop_assert!(sum(|of| of.misses) <= sum(|of| of.finished));
        let score = daemon.policy.stats().score;
        prop_assert_eq!(score.predictions, score.accurate + score.missed + score.false_alarms);
        prop_assert!(score.runs_within_bound <= score.runs);
    }
}

/// The random runs above go everywhere: else they would prove little.
#[test]
fn random_runs_reach_every_decision() {
    let mut log = String::new();
    for seed in 0..20 {
        for preemption in [Preemption::Layer, Preemption::Lanes] {
            let mut daemon = daemon(preemption, true, seed);
            for _ in 0..1_000 {
                daemon.step();
            }
            log.push_str(&daemon.log);
        }
    }
    for word in [
        "dispatch",
        "suspend",
        "resume",
        "continue",
        "preempt",
        "degrade",
        "cancel",
        "dropped",
        "finished",
        "prefetch",
        "idle-until",
        "took job",
    ] {
        assert!(log.contains(&format!("\n> {word}")), "no {word}");
    }
    for why in 0..=5 {
        assert!(
            log.contains(&format!(" why={why} ")),
            "no rejection with reason {why}"
        );
    }
    // A run of several jobs, and one that does not begin with a job's first row.
    let members = |part: &str| {
        log.lines()
            .any(|line| line.contains("members=") && line.contains(part))
    };
    assert!(members(","), "no jobs joined");
    assert!(
        members(":3:") || members(":4:") || members(":2:"),
        "no job in parts"
    );
}

/// A shard that always has work of HIGH, NORMAL and BATCH; who ran when.
struct Saturated {
    policy: mlos_scheduler::Policy,
    random: support::Random,
    now_ns: u64,
    /// What is left of the running run, and of those set aside.
    running: Option<(Class, u64)>,
    aside: [u64; Class::COUNT],
    next_job: u64,
    /// Class, begin and end of each stretch of time.
    ran: Vec<(Class, u64, u64)>,
}

impl Saturated {
    fn new(preemption: Preemption, seed: u64) -> Self {
        let mut policy = mlos_scheduler::Policy::new(Config {
            preemption,
            ..Config::default()
        });
        policy.add_model(mlos_scheduler::ModelIndex(0), mlos_scheduler::Model::default());
        let random = support::Random(seed);
        Self {
            policy,
            random,
            now_ns: 0,
            running: None,
            aside: [0; 4],
            next_job: 0,
            ran: Vec::new(),
        }
    }

    fn send(&mut self, event: mlos_scheduler::Event, run_ns: u64) {
        use mlos_scheduler::Decision;
        for decision in self.policy.on(self.now_ns, event) {
            match *decision {
                Decision::Dispatch(dispatch) => self.running = Some((dispatch.class, run_ns)),
                Decision::Suspend { class, .. } => {
                    self.aside[class.index()] = self.running.take().expect("only what runs is set aside").1;
                }
                Decision::Resume { class, .. } => self.running = Some((class, self.aside[class.index()])),
                _ => {}
            }
        }
    }

    fn run_until(&mut self, end_ns: u64, run_ns: u64) {
        while self.now_ns < end_ns {
            for class in [Class::High, Class::Normal, Class::Batch] {
                while self.policy.queue_len(class) < 3 {
                    self.next_job += 1;
                    let job = mlos_scheduler::Job {
                        id: mlos_scheduler::JobId(self.next_job),
                        model: mlos_scheduler::ModelIndex(0),
                        class,
                        deadline_ns: None,
                        on_miss: mlos_scheduler::OnMiss::Reject,
                        rows: 1,
                        shape_key: 0,
                    };
                    self.send(mlos_scheduler::Event::Arrive(job), run_ns);
                }
            }
            self.slice(run_ns);
        }
    }

    fn slice(&mut self, run_ns: u64) {
        let thread = mlos_scheduler::Thread::FRONT;
        let (class, left_ns) = self.running.expect("there is always work");
        let slice_ns = (100_000 + self.random.below(1_200_000)).min(left_ns);
        self.ran.push((class, self.now_ns, self.now_ns + slice_ns));
        self.now_ns += slice_ns;
        self.running = Some((class, left_ns - slice_ns));
        if left_ns == slice_ns {
            let event = mlos_scheduler::Event::Complete {
                thread,
                elapsed_ns: run_ns,
                longest_slice_ns: 1_300_000,
            };
            self.send(event, run_ns);
        } else {
            self.send(mlos_scheduler::Event::Checkpoint { thread }, run_ns);
        }
    }

    /// The least time that a class ran in any window of a second, windows beginning at every 10 ms.
    fn least_in_a_window_ns(&self, class: Class) -> u64 {
        const WINDOW_NS: u64 = 1_000_000_000;
        let in_window = |from_ns: u64| -> u64 {
            let of_class = self.ran.iter().filter(|(ran, _, _)| *ran == class);
            of_class
                .map(|(_, begin, end)| {
                    (*end)
                        .min(from_ns + WINDOW_NS)
                        .saturating_sub((*begin).max(from_ns))
                })
                .sum()
        };
        let starts = (0..self.now_ns - WINDOW_NS).step_by(10_000_000);
        starts.map(in_window).min().expect("there are windows")
    }
}

/// Nobody starves: beside HIGH work that never ends, NORMAL and BATCH have their shares in any window, and not much more.
/// Without preemption a share can only be had in whole runs, so a window may lack one.
#[test]
fn shares_hold_in_any_window() {
    for (preemption, run_ns) in [
        (Preemption::Layer, 40_000_000),
        (Preemption::Layer, 700_000),
        (Preemption::None, 20_000_000),
    ] {
        for seed in 0..3 {
            let mut shard = Saturated::new(preemption, seed);
            shard.run_until(4_000_000_000, run_ns);
            let normal_ns = shard.least_in_a_window_ns(Class::Normal);
            let batch_ns = shard.least_in_a_window_ns(Class::Batch);
            let lacking_ns = if preemption == Preemption::None { run_ns } else { 0 };
            assert!(
                normal_ns + lacking_ns >= 50_000_000,
                "{preemption:?} {run_ns} seed {seed}: NORMAL had {normal_ns} ns"
            );
            assert!(
                batch_ns + lacking_ns >= 10_000_000 && batch_ns > 0,
                "{preemption:?} {run_ns} seed {seed}: BATCH had {batch_ns} ns"
            );
            let high_ns = shard.least_in_a_window_ns(Class::High);
            assert!(
                high_ns >= 850_000_000,
                "{preemption:?} {run_ns} seed {seed}: HIGH had {high_ns} ns"
            );
        }
    }
}

/// A number from the ends of its range, or from anywhere.
fn extreme(random: &mut support::Random) -> u64 {
    match random.below(4) {
        0 => random.below(3),
        1 => u64::MAX - random.below(3),
        2 => random.spread(0, 64),
        _ => random.word(),
    }
}

/// Whatever the caller says, even against the agreement, the policy neither overflows nor loses its footing.
#[test]
fn nonsense_is_survived() {
    use mlos_scheduler::{Event, Job, JobId, Model, ModelIndex, OnMiss, Policy, Thread};
    for seed in 0..300 {
        let mut random = support::Random(seed);
        let number = &mut random;
        let preemption = [Preemption::None, Preemption::Layer, Preemption::Lanes][number.below(3) as usize];
        let mut policy = Policy::new(Config {
            preemption,
            slice_target_ns: extreme(number),
            front_budget_ns: extreme(number),
            queue_jobs_max: 16,
            models_max: 4,
            share_per_mille: core::array::from_fn(|_| extreme(number) as u16),
            window_ns: extreme(number),
            share_quantum_ns: extreme(number),
            realtime_bound_per_mille: extreme(number) as u16,
            default_budget_ns: core::array::from_fn(|_| extreme(number)),
            unknown_cost_ns: extreme(number),
            urgent_memory_ns: extreme(number),
            part_target_ns: extreme(number),
            overtake_bound_ns: extreme(number),
        });
        let (mut now_ns, mut live) = (0u64, 0u64);
        for _ in 0..300 {
            let number = &mut random;
            let model = ModelIndex(number.below(6) as u32);
            let thread = Thread(number.below(6) as u8);
            now_ns = if number.chance(50) {
                extreme(number)
            } else {
                now_ns.saturating_add(number.spread(0, 30))
            };
            let event = match number.below(12) {
                0 => {
                    let model_settings = Model {
                        class_default: Class::ALL[number.below(4) as usize],
                        max_batch_rows: extreme(number) as u32,
                        max_queue_delay_ns: extreme(number),
                        prefetch_lead_ns: extreme(number),
                        splittable: number.chance(2),
                    };
                    policy.add_model(model, model_settings);
                    policy.set_profile(model, extreme(number) as u32, extreme(number), extreme(number));
                    Event::Tick
                }
                1..=5 => Event::Arrive(Job {
                    id: JobId(number.below(400)),
                    model,
                    class: Class::ALL[number.below(4) as usize],
                    deadline_ns: number.chance(2).then(|| extreme(number)),
                    on_miss: if number.chance(2) {
                        OnMiss::Reject
                    } else {
                        OnMiss::Degrade
                    },
                    rows: extreme(number) as u32,
                    shape_key: number.below(2),
                }),
                6 | 7 => Event::Complete {
                    thread,
                    elapsed_ns: extreme(number),
                    longest_slice_ns: extreme(number),
                },
                8 => Event::Checkpoint { thread },
                9 => Event::Failed { thread },
                10 => Event::Cancel {
                    job: JobId(number.below(400)),
                },
                _ => Event::Prefetched { model },
            };
            policy.on(now_ns, event);
            if random.chance(30) {
                policy.remove_model(now_ns, model);
            }
            live = live.max(policy.jobs_len() as u64);
            let backlog_ns = Class::ALL.map(|class| policy.backlog_ns(class));
            assert!(
                backlog_ns.iter().all(|backlog_ns| *backlog_ns < u64::MAX / 2),
                "seed {seed}"
            );
        }
        assert!(live > 0, "seed {seed}: no job was ever admitted");
    }
}
