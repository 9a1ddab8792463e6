//! What clients cost that are connected and ask nothing.

use anyhow::Result;
use mlos_benches::daemon::Daemon;
use mlos_benches::histogram::Samples;
use mlos_benches::local::{Bound, Client};
use serde_json::json;

use crate::summary::Rounds;
use crate::{Bench, Measured, POLLING, join, noop_file, turn};

/// Beside the one that asks.
const IDLE: usize = 63;
const IDLE_ARENA_BYTES: u64 = 1 << 20;
const MODEL: &str = "noop-64";

/// One client alone, and among 63 that have asked once and then rest.
pub(crate) fn clients(bench: &Bench) -> Result<Measured> {
    let dir = tempfile::tempdir()?;
    let daemon = bench.noop_daemon(&[])?;
    daemon.register(MODEL, &noop_file(dir.path(), 64)?)?;
    let (mut alone, mut among) = (Rounds::default(), Rounds::default());
    for _ in 0..2 * bench.rounds() {
        let one = bench.setting.quiet.turn(&[daemon.id()], || ask(bench, &daemon))?;
        let resting = (0..IDLE).map(|_| rest(&daemon)).collect::<Result<Vec<_>>>()?;
        let of_many = bench.setting.quiet.turn(&[daemon.id()], || ask(bench, &daemon))?;
        drop(resting);
        alone.push(&one);
        among.push(&of_many);
    }
    let details = json!({ "alone": alone.details(), "among_63_idle": among.details() });
    Ok((vec![among.ratio_to(&alone)], details))
}

/// A client that was busy for a moment.
fn rest(daemon: &Daemon) -> Result<(Client, Bound)> {
    let mut client = join(daemon, IDLE_ARENA_BYTES, POLLING)?;
    let model = client.open(MODEL)?;
    let mut bound = client.bind(&model, 1)?;
    let request = bound.request(1, 0);
    client.call(&mut bound, request)?;
    Ok((client, bound))
}

fn ask(bench: &Bench, daemon: &Daemon) -> Result<Samples> {
    bench.as_client(|| {
        let (mut client, mut bound) = rest(daemon)?;
        turn(bench.turn(), |number| {
            let request = bound.request(number, 0);
            std::hint::black_box(client.call(&mut bound, request)?);
            Ok(())
        })
    })
}
