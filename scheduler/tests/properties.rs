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
