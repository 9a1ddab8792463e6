//! The simulator in small: equal seeds give equal worlds, and the policy keeps its promises in one.

#[path = "../examples/sim/latency.rs"]
mod latency;
#[path = "../examples/sim/world.rs"]
mod world;

use mlos_scheduler::{Class, Preemption};
use world::{Scenario, World};

#[test]
fn equal_seeds_give_equal_worlds() {
    let run = |seed| {
        World::new(Scenario {
            seed,
            ..Scenario::default()
        })
        .run()
        .fingerprint
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn urgent_work_hardly_notices_the_load() {
    for (preemption, bound_ns) in [(Preemption::Lanes, 500_000), (Preemption::Layer, 2_000_000)] {
        let at = |load_per_mille| {
            let scenario = Scenario {
                preemption,
                load_per_mille,
                jobs: 40_000,
                ..Scenario::default()
            };
            World::new(scenario).run()
        };
        let busy = at(950);
        let realtime = &busy.classes[Class::Realtime.index()];
        let p99_ns = realtime.latency.quantile_ns(990);
        assert!(
            p99_ns <= bound_ns,
            "{preemption:?}: REALTIME p99 is {p99_ns} ns at load 0.95"
        );
        assert_eq!(realtime.rejected, 0);
        let calm = at(500);
        for class in Class::ALL {
            let of = &calm.classes[class.index()];
            assert!(
                of.rejected * 1_000 <= of.latency.count(),
                "{preemption:?} {class:?}: {} rejected",
                of.rejected
            );
        }
    }
}

/// Latencies with bounds some three times as wide as what comes out: they are to find a policy that does not scale or
/// serves the wrong class, not a change by a tenth.
#[test]
fn a_thousand_shards_serve_a_million_jobs() {
    // p99 by class, REALTIME first.
    let lanes_ms = [0.5, 40.0, 300.0, 4_000.0];
    let layer_ms = [1.5, 40.0, 300.0, 8_000.0];
    for (preemption, bounds_ms) in [(Preemption::Lanes, lanes_ms), (Preemption::Layer, layer_ms)] {
        let scenario = Scenario {
            shards: 1_000,
            jobs: 1_000_000,
            preemption,
            load_per_mille: 950,
            ..Scenario::default()
        };
        let outcome = World::new(scenario).run();
        let ended = |class: &world::ClassOutcome| class.latency.count() + class.rejected;
        assert_eq!(outcome.classes.iter().map(ended).sum::<u64>(), 1_000_000);
        let mut before_ns = 0;
        for (class, bound_ms) in Class::ALL.into_iter().zip(bounds_ms) {
            let of = &outcome.classes[class.index()];
            let p99_ns = of.latency.quantile_ns(990);
            let bound_ns = (bound_ms * 1e6) as u64;
            assert!(
                p99_ns > before_ns && p99_ns <= bound_ns,
                "{preemption:?} {class:?}: p99 is {p99_ns} ns"
            );
            assert_eq!((of.rejected, of.late), (0, 0), "{preemption:?} {class:?}");
            assert!(of.latency.count() > 15_000, "{preemption:?} {class:?}");
            before_ns = p99_ns;
        }
    }
}

#[test]
fn predictions_are_honest() {
    let outcome = World::new(Scenario {
        jobs: 40_000,
        ..Scenario::default()
    })
    .run();
    let calibration = outcome.score.calibration_per_mille().expect("there were runs");
    // One run in a hundred takes three times its time, which no bound of three deviations foresees.
    assert!(
        calibration >= 970,
        "{calibration} per mille of the runs were within their bound"
    );
    let accuracy = outcome.score.accuracy_per_mille().expect("there were deadlines");
    assert!(
        accuracy >= 990,
        "{accuracy} per mille of the predictions were right"
    );
}

#[test]
fn quantiles_are_exact_to_a_thirty_second() {
    let mut latency = latency::Latency::default();
    assert_eq!(latency.quantile_ns(500), 0);
    (1..=100_000u64).for_each(|value| latency.add(value * 10));
    for (per_mille, exact_ns) in [(1, 1_000), (500, 500_000), (990, 990_000), (999, 999_000)] {
        let quantile_ns = latency.quantile_ns(per_mille);
        assert!(
            quantile_ns <= exact_ns && exact_ns - quantile_ns <= exact_ns / 32,
            "{per_mille}: {quantile_ns}"
        );
    }
    latency.add(u64::MAX);
    assert_eq!(latency.count(), 100_001);
}
