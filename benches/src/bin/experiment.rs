//! `experiment --mlosd PATH --out DIR [--seconds 10]`: an urgent model beside saturating bulk work, with each kind of
//! preemption. Prints a table, and as its last line the path of the plot.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mlos_benches::bulk::{Bulk, Load};
use mlos_benches::client::Request;
use mlos_benches::daemon::{Daemon, Mode, Start};
use mlos_benches::paced::{self, Pace, Seen};
use mlos_benches::svg::{Plot, Series, draw};
use mlos_benches::{models, report, urgent};
use mlos_zoo::Zoo;

const BULK: &str = "resnet50";
const BULK_ROWS: u32 = 32;
const RATE_HZ: f64 = 100.0;

struct Options {
    mlosd: PathBuf,
    out: PathBuf,
    time: Duration,
}

/// Who runs where: the clients have the last core, the daemon all others. Of a single core both have a part.
struct Seats {
    daemon: Vec<usize>,
    client: usize,
}

/// A row of the table.
struct Row {
    name: &'static str,
    seen: Seen,
    bulk: f64,
}

fn main() -> Result<()> {
    let options = options()?;
    let seats = seats()?;
    let urgent = models::ask_digits("realtime")?;
    let bulk = Arc::new(models::ask_binary(
        BULK,
        Zoo::ResNet50,
        BULK_ROWS as usize,
        "batch",
    )?);
    let experiment = Experiment {
        options,
        seats,
        urgent,
        bulk,
    };
    let (rows, bulk_alone) = experiment.run()?;
    let bulk_alone = format!("{bulk_alone:.1}");
    println!("{}", table(&rows, &bulk_alone));
    let path = experiment.plot(&rows)?;
    println!("{}", path.display());
    Ok(())
}

fn options() -> Result<Options> {
    let (mut mlosd, mut out, mut seconds) = (None, None, 10.0);
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value = arguments
            .next()
            .with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--mlosd" => mlosd = Some(PathBuf::from(value)),
            "--out" => out = Some(PathBuf::from(value)),
            "--seconds" => seconds = value.parse().context("--seconds is not a number")?,
            _ => bail!("unknown flag {flag}; there are --mlosd PATH, --out DIR, --seconds N"),
        }
    }
    Ok(Options {
        mlosd: mlosd.context("--mlosd PATH is missing")?,
        out: out.context("--out DIR is missing")?,
        time: Duration::from_secs_f64(seconds),
    })
}

fn seats() -> Result<Seats> {
    let mut cores: Vec<usize> = core_affinity::get_core_ids()
        .context("the processors are unknown")?
        .iter()
        .map(|core| core.id)
        .collect();
    let client = cores.pop().context("there is no processor")?;
    if cores.is_empty() {
        cores.push(client);
    }
    Ok(Seats {
        daemon: cores,
        client,
    })
}

struct Experiment {
    options: Options,
    seats: Seats,
    urgent: Request,
    bulk: Arc<Request>,
}

impl Experiment {
    /// A row for the urgent client alone and one for each mode, and what bulk work does alone.
    fn run(&self) -> Result<(Vec<Row>, f64)> {
        let daemon = self.daemon(Mode::Lanes)?;
        let time = self.options.time;
        eprintln!("the urgent model alone, {time:?} …");
        let mut rows = vec![Row {
            name: "alone",
            seen: self.ask(&daemon)?,
            bulk: f64::NAN,
        }];
        eprintln!("the bulk work alone, {time:?} …");
        let bulk_alone = urgent::bulk_turn(&self.saturate(&daemon)?, time)?.per_second();
        drop(daemon);
        for mode in Mode::ALL {
            let daemon = self.daemon(mode)?;
            let bulk = self.saturate(&daemon)?;
            eprintln!("both, preemption {}, {time:?} …", mode.name());
            bulk.forget()?;
            let seen = self.ask(&daemon)?;
            let rate = bulk.rate().map_or(f64::NAN, |rate| rate.per_second());
            rows.push(Row {
                name: mode.name(),
                seen,
                bulk: rate,
            });
        }
        Ok((rows, bulk_alone))
    }

    fn daemon(&self, mode: Mode) -> Result<Daemon> {
        let daemon = Daemon::start(&Start {
            mlosd: &self.options.mlosd,
            mode,
            cores: &self.seats.daemon,
        })?;
        daemon.register(models::DIGITS, &models::digits())?;
        daemon.register(BULK, &models::file(Zoo::ResNet50)?)?;
        Ok(daemon)
    }

    fn ask(&self, daemon: &Daemon) -> Result<Seen> {
        paced::run(&Pace {
            address: daemon.address,
            request: &self.urgent,
            rate_hz: RATE_HZ,
            time: self.options.time,
            seed: models::SEED,
            cpu: self.seats.client,
        })
    }

    fn saturate(&self, daemon: &Daemon) -> Result<Bulk> {
        Bulk::start(&Load {
            address: daemon.address,
            request: self.bulk.clone(),
            rows: BULK_ROWS,
            clients: 2 * self.seats.daemon.len(),
            cpu: self.seats.client,
        })
    }

    fn plot(&self, rows: &[Row]) -> Result<PathBuf> {
        let machine = report::machine();
        let n = rows.iter().map(|row| row.seen.latency.len()).min().unwrap_or(0);
        let subtitle = format!(
            "digits in class REALTIME, {RATE_HZ} a second, n \u{2265} {n} each, beside ResNet-50 in batches of {BULK_ROWS} on {} core(s)",
            self.seats.daemon.len(),
        );
        let series: Vec<Series<'_>> = rows
            .iter()
            .map(|row| Series {
                name: row.name,
                samples: &row.seen.latency,
            })
            .collect();
        let svg = draw(&Plot {
            title: "An urgent request beside bulk work on its core",
            subtitle: &subtitle,
            machine: machine["cpu"].as_str().unwrap_or("this machine"),
            series: &series,
        });
        let dir: &Path = &self.options.out;
        std::fs::create_dir_all(dir)?;
        let path = dir.join("experiment.svg");
        std::fs::write(&path, svg)?;
        Ok(path)
    }
}

fn table(rows: &[Row], bulk_alone: &str) -> String {
    let head = [
        "preemption",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
        "n",
        "bulk images/s",
        "bulk alone",
    ];
    let cells = rows.iter().map(|row| {
        let sorted = row.seen.latency.sorted();
        let ms = |per_mille| format!("{:.2}", sorted.per_mille_ms(per_mille));
        let bulk = if row.bulk.is_nan() {
            String::from("-")
        } else {
            format!("{:.1}", row.bulk)
        };
        let n = sorted.len().to_string();
        let name = row.name.to_owned();
        vec![
            name,
            ms(500.0),
            ms(990.0),
            ms(999.0),
            ms(1000.0),
            n,
            bulk,
            bulk_alone.to_owned(),
        ]
    });
    report::table(&head, &cells.collect::<Vec<_>>())
}
