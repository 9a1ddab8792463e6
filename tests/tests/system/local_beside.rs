//! Clients over the network beside a client of this machine that keeps the core polling.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mlos_tests::{Daemon, Options, given, until};

use crate::local::{double, join};

const ROUNDS: usize = 20;
/// For longer than the core remembers that it has heard of anybody over the network.
const SILENCE: Duration = Duration::from_millis(60);
/// The core asks ten times as often whether somebody has come; the rest is for the machine that this runs on.
const HEARD_WITHIN: Duration = Duration::from_millis(1);

#[test]
fn a_network_client_is_heard_soon_after_a_silence() {
    let daemon = Daemon::start(&Options::one_core("lanes"));
    let id = daemon.serve(&double("test/quick"));
    let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut local = join(&daemon);
            let opened = local.open(&id);
            let mut bound = local.bind(0, &opened, &[given(&[1, 1], &[1.0])], &[4, 4]);
            while !stop.load(Ordering::Relaxed) {
                local.infer(&mut bound);
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut kept = daemon.client();
        let mut took: Vec<Duration> = (0..ROUNDS)
            .map(|round| {
                let (begun, before) = (Instant::now(), asked.load(Ordering::Relaxed));
                until("a silence", || (begun.elapsed() > SILENCE).then_some(()));
                let asked = asked.load(Ordering::Relaxed) - before;
                assert!(asked > 1000, "the core polled, and answered {asked} requests");
                // On a connection that is there, and on one that must be accepted first.
                let mut fresh = daemon.client();
                let client = if round % 2 == 0 { &mut kept } else { &mut fresh };
                let sent = Instant::now();
                client.get("/health").expect(200);
                sent.elapsed()
            })
            .collect();
        stop.store(true, Ordering::Relaxed);
        took.sort_unstable();
        println!("{took:?}");
        let median = took[ROUNDS / 2];
        assert!(
            median < HEARD_WITHIN,
            "half of the answers took longer than {median:?}"
        );
    });
}
