//! Round trips of every kind and size, in turn; and many at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mlos_benches::daemon::Daemon;
use mlos_benches::histogram::{Samples, median, round};
use mlos_benches::local::Bound;
use mlos_benches::models;
use mlos_benches::svg::Series;
use mlos_client::{Options, Terms};
use serde_json::json;

use crate::summary::{Rounds, per_mille_us, table};
use crate::{Bench, Measured, POLLING, drawing, floor, join, noop_file, peers, turn};

/// 64 B, 4 KiB, 600 KiB, 16 MiB.
const SIZES: [usize; 4] = [64, 4 << 10, 600 << 10, 16 << 20];
const SMALL: usize = SIZES[0];
const LARGE: usize = SIZES[3];
const NOOP: &str = "mlos no-op";
const BARE: &str = "mlos no-op by hand";
const ICEORYX2: &str = "iceoryx2";

/// Requests in flight.
const IN_FLIGHT: u64 = 64;

/// One kind at one size.
struct Subject<'a> {
    name: &'static str,
    bytes: usize,
    measure: Box<dyn Fn(Duration) -> Result<Samples> + 'a>,
    rounds: Rounds,
}

impl<'a> Subject<'a> {
    fn new(name: &'static str, bytes: usize, measure: impl Fn(Duration) -> Result<Samples> + 'a) -> Self {
        Self {
            name,
            bytes,
            measure: Box::new(measure),
            rounds: Rounds::default(),
        }
    }

    fn label(&self) -> String {
        match self.bytes {
            0 => self.name.to_owned(),
            bytes => format!("{} {}", self.name, size(bytes)),
        }
    }
}

fn size(bytes: usize) -> String {
    match bytes {
        small if small < 1 << 10 => format!("{small} B"),
        middle if middle < 1 << 20 => format!("{} KiB", middle >> 10),
        large => format!("{} MiB", large >> 20),
    }
}

/// All kinds at all sizes.
pub(crate) fn compare(bench: &Bench) -> Result<Measured> {
    let dir = tempfile::tempdir()?;
    let daemon = bench.noop_daemon(&[])?;
    for bytes in SIZES {
        daemon.register(&id(bytes), &noop_file(dir.path(), bytes)?)?;
    }
    let mut subjects = subjects(bench, &daemon);
    for _ in 0..bench.rounds() {
        for subject in &mut subjects {
            let samples = bench
                .setting
                .quiet
                .turn(&[daemon.id()], || (subject.measure)(bench.turn()))
                .with_context(|| subject.label())?;
            subject.rounds.push(&samples);
        }
    }
    let rows: Vec<(String, &Samples)> = subjects
        .iter()
        .map(|subject| (subject.label(), &subject.rounds.samples))
        .collect();
    eprint!("{}", table(&rows));
    plot(&subjects, &rows)?;
    let of = |name, bytes| rounds_of(&subjects, name, bytes);
    let noop = of(NOOP, SMALL);
    let figures = vec![
        per_mille_us(&noop.samples, 500.0),
        per_mille_us(&noop.samples, 999.0),
        noop.ratio_to(of(ICEORYX2, SMALL)),
        of(NOOP, LARGE).ratio_to(noop),
    ];
    let details = subjects
        .iter()
        .map(|subject| (subject.label(), subject.rounds.details()))
        .collect();
    Ok((figures, details))
}

fn id(bytes: usize) -> String {
    format!("noop-{bytes}")
}

fn subjects<'a>(bench: &'a Bench, daemon: &'a Daemon) -> Vec<Subject<'a>> {
    let mut subjects = vec![
        Subject::new("a cache line", 0, |time| floor::cache_line(bench, time)),
        Subject::new("eventfd ping-pong", 0, |time| {
            floor::eventfds(bench, time, Duration::ZERO)
        }),
    ];
    for bytes in SIZES {
        subjects.push(Subject::new(ICEORYX2, bytes, move |time| {
            peers::iceoryx2(bench, bytes, time)
        }));
        subjects.push(Subject::new(NOOP, bytes, move |time| {
            noop(bench, daemon, bytes, time)
        }));
        subjects.push(Subject::new("Unix-socket echo", bytes, move |time| {
            peers::unix_echo(bench, bytes, time)
        }));
        if bytes == SMALL {
            subjects.push(Subject::new(BARE, bytes, move |time| {
                bare(bench, daemon, bytes, time)
            }));
        }
        subjects.push(Subject::new("mlos HTTP", bytes, move |time| {
            peers::http(bench, daemon, &id(bytes), bytes, time)
        }));
    }
    subjects
}

fn rounds_of<'a>(subjects: &'a [Subject<'_>], name: &str, bytes: usize) -> &'a Rounds {
    let subject = subjects
        .iter()
        .find(|subject| subject.name == name && subject.bytes == bytes);
    &subject.expect("it is among the subjects").rounds
}

/// A model that computes nothing, asked through our client, which polls.
fn noop(bench: &Bench, daemon: &Daemon, bytes: usize, time: Duration) -> Result<Samples> {
    bench.as_client(|| {
        let client = Options::default().spin(POLLING).connect(daemon.local())?;
        let mut bound = client.open(&id(bytes))?.request().bind()?;
        let terms = Terms::default();
        turn(time, |number| {
            if let [first, .., last] = bound.input_at_mut::<f32>(0)? {
                (*first, *last) = (number as f32, number as f32);
            }
            let outputs = bound.infer(&terms)?;
            let numbers = outputs.at::<f32>(0)?;
            std::hint::black_box((numbers.first().copied(), numbers.last().copied()));
            Ok(())
        })
    })
}

/// The same by hand: what our client adds to the rings.
fn bare(bench: &Bench, daemon: &Daemon, bytes: usize, time: Duration) -> Result<Samples> {
    bench.as_client(|| {
        let mut client = join(daemon, 0, POLLING)?;
        let model = client.open(&id(bytes))?;
        let mut bound = client.bind(&model, 1)?;
        turn(time, |number| {
            let request = bound.request(number, 0);
            std::hint::black_box(client.call(&mut bound, request)?);
            Ok(())
        })
    })
}

fn plot(subjects: &[Subject<'_>], rows: &[(String, &Samples)]) -> Result<()> {
    let is_small = |subject: &&Subject<'_>| [0, SMALL].contains(&subject.bytes);
    let series: Vec<Series<'_>> = subjects
        .iter()
        .filter(is_small)
        .filter(|subject| subject.name != BARE)
        .map(|subject| Series {
            name: subject.name,
            samples: &subject.rounds.samples,
        })
        .collect();
    let path = models::target_dir().join("bench/ipc_latency.svg");
    std::fs::write(&path, drawing::draw(&series, rows))?;
    eprintln!("  {}", path.display());
    Ok(())
}

/// One client with 64 requests in flight.
pub(crate) fn in_flight(bench: &Bench) -> Result<Measured> {
    let dir = tempfile::tempdir()?;
    let daemon = bench.noop_daemon(&[])?;
    daemon.register(&id(SMALL), &noop_file(dir.path(), SMALL)?)?;
    let mut rates = Vec::new();
    for _ in 0..bench.rounds() {
        rates.push(bench.setting.quiet.turn(&[daemon.id()], || {
            bench.as_client(|| million_per_second(&daemon, bench.turn()))
        })?);
    }
    let details = json!({ "by_round": rates.iter().copied().map(round).collect::<Vec<_>>() });
    Ok((vec![median(&rates)], details))
}

fn million_per_second(daemon: &Daemon, time: Duration) -> Result<f64> {
    let mut client = join(daemon, 0, POLLING)?;
    let model = client.open(&id(SMALL))?;
    let mut bounds = (0..IN_FLIGHT)
        .map(|_| client.bind(&model, 1))
        .collect::<Result<Vec<Bound>>>()?;
    for (number, bound) in bounds.iter_mut().enumerate() {
        bound.write_ends(1);
        client.push(bound.request(number as u64, 0))?;
    }
    client.ring()?;
    let (mut begun, mut answered) = (Instant::now(), 0_u64);
    let mut is_warm = false;
    loop {
        let mut taken = 0;
        // All that have come: each is asked again, and the bell is looked at once for all.
        while let Some(answer) = client.look()? {
            let bound = &mut bounds[answer.id as usize];
            client.check(bound, &answer)?;
            std::hint::black_box(bound.read_ends());
            bound.write_ends(answer.id as u8);
            client.push(bound.request(answer.id, 0))?;
            taken += 1;
        }
        if taken > 0 {
            client.ring()?;
        }
        answered += taken;
        let took = begun.elapsed();
        if !is_warm && took > time / 4 {
            (begun, answered, is_warm) = (Instant::now(), 0, true);
        } else if is_warm && took > time {
            return Ok(answered as f64 / took.as_secs_f64() / 1e6);
        }
    }
}
