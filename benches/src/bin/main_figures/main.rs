//! `main_figures [--quick] [--only ID,…] [--mlosd PATH] [--patience SECONDS]`: what a daemon gives its clients, as
//! figures. Progress goes to standard error; the last line of standard output is one JSON object.
//!
//! Every ratio is taken on one daemon, A and B in turn; the samples of all rounds count together.
#![forbid(unsafe_code)]

mod beside;
mod disturbed;
mod http;
mod idle;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mlos_benches::daemon::{Daemon, Mode, Start};
use mlos_benches::histogram::round;
use mlos_benches::quiet::Quiet;
use mlos_benches::{models, report};
use serde_json::{Map, Value, json};

/// Figures that are measured together.
struct Group {
    name: &'static str,
    figures: &'static [&'static str],
    measure: fn(&Bench) -> Result<Measured>,
}

/// Values in the order of the group's figures, and what is behind them.
type Measured = (Vec<f64>, Value);

const GROUPS: [Group; 9] = [
    Group {
        name: "rt",
        figures: &["rt_p99_x", "rt_p999_extra_ms", "bulk_kept_pct"],
        measure: beside::realtime,
    },
    Group {
        name: "rt_layer",
        figures: &["rt_layer_p99_extra_ms", "rt_layer_p999_extra_ms"],
        measure: beside::layer,
    },
    Group {
        name: "high",
        figures: &["high_p99_x"],
        measure: beside::high,
    },
    Group {
        name: "all_cores",
        figures: &["all_cores_rt_p99_x"],
        measure: beside::all_cores,
    },
    Group {
        name: "same_model",
        figures: &["rt_same_model_p99_x"],
        measure: beside::same_model,
    },
    Group {
        name: "load",
        figures: &["load_disturb_p99_x"],
        measure: disturbed::by_loading,
    },
    Group {
        name: "http",
        figures: &["http_extra_us"],
        measure: http::over_in_process,
    },
    Group {
        name: "vision",
        figures: &["http_json_vision_extra_ms"],
        measure: http::over_compute,
    },
    Group {
        name: "idle",
        figures: &["start_ms", "idle_rss_mib", "idle_cpu_pct"],
        measure: idle::start_and_idle,
    },
];

/// How long, how often, and where.
pub(crate) struct Bench {
    mlosd: PathBuf,
    quick: bool,
    /// The processor of daemons that have one.
    server: usize,
    /// The processor of the clients.
    client: usize,
    quiet: Quiet,
}

impl Bench {
    /// Turns of each side.
    fn rounds(&self) -> usize {
        if self.quick { 3 } else { 5 }
    }

    /// How long a turn is. In three of the quick ones 200 requests a second make 3,000, enough for a p99.9.
    fn turn(&self) -> Duration {
        Duration::from_secs(if self.quick { 5 } else { 10 })
    }

    /// How often the urgent client asks.
    fn rate_hz(&self) -> f64 {
        if self.quick { 200.0 } else { 100.0 }
    }

    fn daemon(&self, mode: Mode, cores: &[usize]) -> Result<Daemon> {
        Daemon::start(&Start {
            mlosd: &self.mlosd,
            mode,
            cores,
        })
    }

    /// A daemon on one processor that serves the digits.
    fn digits_daemon(&self, mode: Mode) -> Result<Daemon> {
        let daemon = self.daemon(mode, &[self.server])?;
        daemon.register(models::DIGITS, &models::digits())?;
        Ok(daemon)
    }
}

struct Options {
    bench: Bench,
    only: Vec<String>,
}

const USAGE: &str = "\
main_figures [--quick] [--only ID,…] [--mlosd PATH] [--patience SECONDS]

  --quick             fewer and shorter rounds
  --only ID,…         these figures or groups, and what is measured along with them
  --mlosd PATH        the daemon to measure; the one beside this program by default
  --patience SECONDS  how long to measure turns again that others disturbed; 300 by default, 30 with --quick";

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
            eprintln!("main_figures: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options> {
    let cores = core_affinity::get_core_ids().context("the processors are unknown")?;
    let (first, last) = (
        cores.first().context("there is no processor")?,
        &cores[cores.len() - 1],
    );
    let mut bench = Bench {
        mlosd: beside_this_program("mlosd")?,
        quick: false,
        server: first.id,
        client: last.id,
        quiet: Quiet::new(Duration::ZERO),
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
    let patience_s = patience_s.unwrap_or(if bench.quick { 30 } else { 300 });
    bench.quiet = Quiet::new(Duration::from_secs(patience_s));
    Ok(Options { bench, only })
}

/// The daemon that the same build made.
fn beside_this_program(name: &str) -> Result<PathBuf> {
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
        match (group.measure)(&options.bench) {
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
    details.insert("machine".to_owned(), report::machine());
    details.insert("quiet".to_owned(), options.bench.quiet.details());
    println!("{}", json!({ "figures": figures, "details": details }));
    good
}
