//! `ipc [--quick] [--only ID,…] [--mlosd PATH] [--patience SECONDS]`: what the local edge costs, as figures, beside
//! what it could cost at best and what others cost. Progress and a table of latencies go to standard error; the last
//! line of standard output is one JSON object.
//!
//! Everything runs on two processors, the daemon (or whoever answers) on the first, the client on the last, and in
//! turns of which one is on its way at a time. The samples of all rounds count together. A latency is taken from
//! before the first byte of the input is written until the last byte of the output is read, and has the time of one
//! look at the clock in it, which is said in the details and not taken off.
#![forbid(unsafe_code)]

mod asleep;
mod beside;
mod drawing;
mod floor;
mod idle;
mod mlp;
mod peers;
mod round_trips;
mod summary;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use mlos_benches::daemon::{Daemon, Mode, Start};
use mlos_benches::figures::{Group, Measured, Program, Setting, beside_this_program, pinned};
use mlos_benches::histogram::{Samples, round};
use mlos_benches::local::{Client, Join};
use serde_json::json;

const GROUPS: [Group<Bench>; 6] = [
    Group {
        name: "round_trips",
        figures: &[
            "noop_p50_us",
            "noop_p999_us",
            "noop_vs_iceoryx2_x",
            "size_16m_vs_64b_x",
        ],
        measure: round_trips::compare,
    },
    Group {
        name: "mlp",
        figures: &["mlp_extra_us"],
        measure: mlp::over_in_process,
    },
    Group {
        name: "asleep",
        figures: &["asleep_extra_us"],
        measure: asleep::over_eventfd,
    },
    Group {
        name: "inflight",
        figures: &["inflight64_mrps"],
        measure: round_trips::in_flight,
    },
    Group {
        name: "beside",
        figures: &["rt_p99_extra_us", "bulk_kept_pct"],
        measure: beside::realtime,
    },
    Group {
        name: "idle",
        figures: &["idle_clients_cost_x"],
        measure: idle::clients,
    },
];

/// Round trips before the clock starts.
const WARMING: u64 = 1000;
/// A client that polls does not give up in a turn.
pub(crate) const POLLING: Duration = Duration::from_secs(1);

/// How long, and how often.
pub(crate) struct Bench {
    setting: Setting,
}

impl Bench {
    /// Turns of each side.
    fn rounds(&self) -> usize {
        if self.setting.quick { 5 } else { 10 }
    }

    /// How long a turn of round trips is: of those of a microsecond it has hundreds of thousands.
    fn turn(&self) -> Duration {
        Duration::from_millis(if self.setting.quick { 250 } else { 1000 })
    }

    /// A daemon on one processor, with these arguments beside.
    fn daemon(&self, further: &[OsString]) -> Result<Daemon> {
        let start = Start {
            mlosd: &self.setting.mlosd,
            mode: Mode::Lanes,
            cores: &[self.setting.server],
        };
        Daemon::start_with(&start, further)
    }

    /// One that can serve models that compute nothing.
    fn noop_daemon(&self, further: &[OsString]) -> Result<Daemon> {
        let plugin = beside_this_program("examples/libnoop.so")?;
        if !plugin.exists() {
            bail!(
                "{} is not there; make it with `cargo build -p mlos-plugin-noop --example noop`",
                plugin.display()
            );
        }
        let mut arguments = vec![OsString::from("--plugin"), plugin.into_os_string()];
        arguments.extend_from_slice(further);
        self.daemon(&arguments)
    }

    /// Runs on a thread that is pinned to the processor of the clients.
    fn as_client<T: Send>(&self, measure: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        pinned(self.setting.client, measure)
    }
}

/// A turn of round trips, one after the other; each is told its number.
pub(crate) fn turn(time: Duration, mut round_trip: impl FnMut(u64) -> Result<()>) -> Result<Samples> {
    let mut samples = Samples::with_capacity(1 << 21);
    let warming = Instant::now();
    for number in 0..WARMING {
        round_trip(number)?;
        if warming.elapsed() > time / 4 {
            break;
        }
    }
    let begun = Instant::now();
    for number in 0.. {
        let sent = Instant::now();
        if sent.duration_since(begun) > time {
            break;
        }
        round_trip(number)?;
        samples.push(sent.elapsed());
    }
    Ok(samples)
}

/// A client of the daemon that looks for answers so long.
pub(crate) fn join(daemon: &Daemon, arena_bytes: u64, spin: Duration) -> Result<Client> {
    let path = daemon.local();
    Client::join(&Join {
        path: &path,
        arena_bytes,
        spin,
    })
}

/// A file of a model that computes nothing and gives as many floats as it takes.
pub(crate) fn noop_file(dir: &Path, bytes: usize) -> Result<PathBuf> {
    let path = dir.join(format!("noop-{bytes}.noop"));
    let floats = bytes / size_of::<f32>();
    let text = format!("noop 1\ninput x f32 {floats}\noutput y f32 {floats}\nfill nothing\n");
    std::fs::write(&path, text)?;
    Ok(path)
}

fn main() -> ExitCode {
    let program = Program {
        name: "ipc",
        groups: &GROUPS,
        patience_s: 120,
        bench: |setting| {
            if setting.server == setting.client {
                bail!("this takes two processors");
            }
            Ok(Bench { setting })
        },
        setting: |bench| &bench.setting,
        details: || vec![("clock_ns", json!(clock_ns()))],
    };
    program.main()
}

/// What a look at the clock takes, which is in every latency once.
fn clock_ns() -> f64 {
    const LOOKS: u32 = 100_000;
    let begun = Instant::now();
    for _ in 0..LOOKS {
        std::hint::black_box(Instant::now());
    }
    round(begun.elapsed().as_nanos() as f64 / f64::from(LOOKS))
}
