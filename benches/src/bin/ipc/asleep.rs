//! What it costs when nobody polls: the daemon waits for its bell, the client for its own.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::Result;
use mlos_benches::daemon::Daemon;
use mlos_benches::histogram::{Samples, round};
use serde_json::json;

use crate::summary::{Rounds, table};
use crate::{Bench, Measured, floor, join, noop_file};

const MODEL: &str = "noop-64";
/// Longer than a daemon polls that was told nothing.
const PAUSE: Duration = Duration::from_micros(500);

/// A daemon and a client that poll not at all, against two threads that wake each other with an `eventfd`. Beside it,
/// for what people see who set nothing, a daemon that polls as usual and is asked after a pause, against the same two
/// threads with the same pause.
pub(crate) fn over_eventfd(bench: &Bench) -> Result<Measured> {
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("mlosd.toml");
    std::fs::write(&config, "[local]\npoll_us = 0\n")?;
    let sleeper = bench.noop_daemon(&[OsString::from("--config"), config.into_os_string()])?;
    let usual = bench.noop_daemon(&[])?;
    let file = noop_file(dir.path(), 64)?;
    for daemon in [&sleeper, &usual] {
        daemon.register(MODEL, &file)?;
    }
    let processes = [sleeper.id(), usual.id()];
    let mut seen = [
        "mlos asleep",
        "eventfd",
        "mlos after a pause",
        "eventfd after a pause",
    ]
    .map(|name| (name.to_owned(), Rounds::default()));
    for _ in 0..bench.rounds() {
        for (at, (_, rounds)) in seen.iter_mut().enumerate() {
            rounds.push(&bench.setting.quiet.turn(&processes, || match at {
                0 => ask(bench, &sleeper, Duration::ZERO),
                1 => floor::eventfds(bench, bench.turn(), Duration::ZERO),
                2 => ask(bench, &usual, PAUSE),
                _ => floor::eventfds(bench, bench.turn(), PAUSE),
            })?);
        }
    }
    let rows: Vec<(String, &Samples)> = seen
        .iter()
        .map(|(name, rounds)| (name.clone(), &rounds.samples))
        .collect();
    eprint!("{}", table(&rows));
    let [asleep, eventfd, after_a_pause, eventfd_after_a_pause] = seen.each_ref().map(|(_, rounds)| rounds);
    let details = json!({
        "asleep": asleep.details(),
        "eventfd": eventfd.details(),
        "after_a_pause": after_a_pause.details(),
        "eventfd_after_a_pause": eventfd_after_a_pause.details(),
        "after_a_pause_extra_us": round(after_a_pause.above_us(eventfd_after_a_pause)),
    });
    Ok((vec![asleep.above_us(eventfd)], details))
}

fn ask(bench: &Bench, daemon: &Daemon, pause: Duration) -> Result<Samples> {
    bench.as_client(|| {
        let mut client = join(daemon, 0, Duration::ZERO)?;
        let model = client.open(MODEL)?;
        let mut bound = client.bind(&model, 1)?;
        let mut number = 0;
        floor::paused(bench.turn(), pause, || {
            number += 1;
            let request = bound.request(number, 0);
            std::hint::black_box(client.call(&mut bound, request)?);
            Ok(())
        })
    })
}
