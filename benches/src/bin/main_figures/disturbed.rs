//! An urgent client while a large model comes and goes.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use mlos_benches::daemon::{Daemon, Mode};
use mlos_benches::histogram::{median, round};
use mlos_benches::models::{self, LARGE};
use mlos_benches::paced::{self, Pace, Seen};
use mlos_benches::urgent::seen;
use serde_json::json;

use crate::{Bench, Measured};

const LARGE_ID: &str = "large";

/// REALTIME digits, quiet, and while a model of 117 MB is loaded and unloaded all the time.
pub(crate) fn by_loading(bench: &Bench) -> Result<Measured> {
    let daemon = bench.digits_daemon(Mode::Lanes)?;
    // Its graph is prepared once; after that it is loaded as any model that is known.
    load_once(&daemon)?;
    let urgent = models::ask_digits("realtime")?;
    let ask = |turn: usize| {
        paced::run(&Pace {
            address: daemon.address,
            request: &urgent,
            rate_hz: bench.rate_hz(),
            time: bench.turn(),
            seed: 77 + 2 * turn as u64,
            cpu: bench.setting.client,
        })
    };
    let (mut quiet, mut disturbed, mut loads, mut rounds) = (Seen::default(), Seen::default(), 0, Vec::new());
    for round in 0..bench.rounds() {
        let before = bench.setting.quiet.turn(&[daemon.id()], || ask(2 * round))?;
        let (during, count) = bench
            .setting
            .quiet
            .turn(&[daemon.id()], || while_loading(&daemon, || ask(2 * round + 1)))?;
        rounds.push(during.latency.per_mille_ms(990.0) / before.latency.per_mille_ms(990.0));
        quiet.extend(&before);
        disturbed.extend(&during);
        loads += count;
    }
    let p99_x = disturbed.latency.per_mille_ms(990.0) / quiet.latency.per_mille_ms(990.0);
    let details = json!({
        "quiet": seen(&quiet),
        "loading": seen(&disturbed),
        "p99_x_median_of_rounds": round(median(&rounds)),
        "loads": loads,
    });
    Ok((vec![p99_x], details))
}

/// Measures while models come and go; says how many did.
fn while_loading(daemon: &Daemon, measure: impl FnOnce() -> Result<Seen>) -> Result<(Seen, u32)> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let loading = scope.spawn(|| {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                load_once(daemon)?;
                count += 1;
            }
            Ok(count)
        });
        let seen = measure();
        stop.store(true, Ordering::Relaxed);
        let count: Result<u32> = loading.join().expect("the loading thread does not panic");
        Ok((seen?, count?))
    })
}

fn load_once(daemon: &Daemon) -> Result<()> {
    daemon.register(LARGE_ID, &models::file(LARGE)?)?;
    daemon.unregister(LARGE_ID)
}
