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

use anyhow::{Context, Result, bail};
use core_affinity::CoreId;
use mlos_benches::daemon::{Daemon, Mode, Start};
use mlos_benches::histogram::{Samples, round};
use mlos_benches::local::{Client, Join};
use mlos_benches::quiet::Quiet;
use mlos_benches::report;
use serde_json::{Map, Value, json};

/// Figures that are measured together.
struct Group {
    name: &'static str,
    figures: &'static [&'static str],
    measure: fn(&Bench, &Quiet) -> Result<Measured>,
}

/// Values in the order of the group's figures, and what is behind them.
type Measured = (Vec<f64>, Value);

const GROUPS: [Group; 6] = [
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

/// How long, how often, and where.
pub(crate) struct Bench {
    mlosd: PathBuf,
    quick: bool,
    /// The processor of whoever answers.
    server: usize,
    /// The processor of the clients.
    client: usize,
}

impl Bench {
    /// Turns of each side.
    fn rounds(&self) -> usize {
        if self.quick { 5 } else { 10 }
    }

    /// How long a turn of round trips is: of those of a microsecond it has hundreds of thousands.
    fn turn(&self) -> Duration {
        Duration::from_millis(if self.quick { 250 } else { 1000 })
    }

    /// A daemon on one processor, with these arguments beside.
    fn daemon(&self, further: &[OsString]) -> Result<Daemon> {
        let start = Start {
            mlosd: &self.mlosd,
            mode: Mode::Lanes,
            cores: &[self.server],
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
        pinned(self.client, measure)
    }
}

/// Runs on a thread that is pinned.
pub(crate) fn pinned<T: Send>(cpu: usize, measure: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            core_affinity::set_for_current(CoreId { id: cpu });
            measure()
        });
        thread.join().expect("the measuring thread does not panic")
    })
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

struct Options {
    bench: Bench,
    quiet: Quiet,
    only: Vec<String>,
}

const USAGE: &str = "\
ipc [--quick] [--only ID,…] [--mlosd PATH] [--patience SECONDS]

  --quick             fewer and shorter rounds
  --only ID,…         these figures or groups, and what is measured along with them
  --mlosd PATH        the daemon to measure; the one beside this program by default
  --patience SECONDS  how long to measure turns again that others disturbed; 120 by default, 30 with --quick";

fn main() -> ExitCode {
    if std::env::args().any(|argument| ["--help", "-h"].contains(&argument.as_str())) {
        println!("{USAGE}\n\nfigures, by group:");
        for group in &GROUPS {
            println!("  {:<12}{}", group.name, group.figures.join(" "));
        }
        return ExitCode::SUCCESS;
    }
    match options().map(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("ipc: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options> {
    let cores = core_affinity::get_core_ids().context("the processors are unknown")?;
    let [first, .., last] = cores.as_slice() else {
        bail!("this takes two processors");
    };
    let mut bench = Bench {
        mlosd: beside_this_program("mlosd")?,
        quick: false,
        server: first.id,
        client: last.id,
    };
    let (mut only, mut patience_s) = (Vec::new(), None);
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--quick" => bench.quick = true,
            "--only" => only = value()?.split(',').map(str::to_owned).collect(),
            "--mlosd" => bench.mlosd = PathBuf::from(value()?),
            "--patience" => patience_s = Some(value()?.parse().context("--patience is not a number")?),
            _ => bail!("unknown flag {flag}; --help shows what there is"),
        }
    }
    if let Some(unknown) = only.iter().find(|id| {
        !GROUPS
            .iter()
            .any(|group| group.is_wanted(std::slice::from_ref(*id)))
    }) {
        let ids: Vec<&str> = GROUPS.iter().flat_map(|group| group.figures).copied().collect();
        bail!("there is no figure {unknown}; there are {}", ids.join(" "));
    }
    let patience_s = patience_s.unwrap_or(if bench.quick { 30 } else { 120 });
    let quiet = Quiet::new(Duration::from_secs(patience_s));
    Ok(Options { bench, quiet, only })
}

/// What the same build made.
pub(crate) fn beside_this_program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.parent().unwrap_or(Path::new(".")).join(name))
}

impl Group {
    fn is_wanted(&self, only: &[String]) -> bool {
        only.is_empty()
            || only
                .iter()
                .any(|id| id == self.name || self.figures.contains(&id.as_str()))
    }
}

/// Measures and prints. False if a group failed; the others are there nevertheless.
fn run(options: &Options) -> bool {
    let (mut figures, mut details) = (Map::new(), Map::new());
    let mut good = true;
    for group in GROUPS.iter().filter(|group| group.is_wanted(&options.only)) {
        eprintln!("{} …", group.figures.join(", "));
        match (group.measure)(&options.bench, &options.quiet) {
            Ok((values, detail)) => {
                for (id, value) in group.figures.iter().zip(values) {
                    eprintln!("  {id} = {}", round(value));
                    figures.insert((*id).to_owned(), json!(round(value)));
                }
                details.insert(group.name.to_owned(), detail);
            }
            Err(error) => {
                good = false;
                eprintln!("  failed: {error:#}");
                details.insert(group.name.to_owned(), json!({ "error": format!("{error:#}") }));
            }
        }
    }
    details.insert("clock_ns".to_owned(), json!(clock_ns()));
    details.insert("machine".to_owned(), report::machine());
    details.insert("quiet".to_owned(), options.quiet.details());
    println!("{}", json!({ "figures": figures, "details": details }));
    good
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
