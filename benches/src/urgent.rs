//! An urgent client beside saturating bulk work, and alone: A and B on the same daemon, in turn.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::bulk::{Bulk, Load, Rate};
use crate::client::Request;
use crate::daemon::Daemon;
use crate::histogram::{median, round};
use crate::paced::{self, Pace, Seen};
use crate::quiet::Quiet;

/// How the two are compared.
#[derive(Debug, Clone)]
pub struct Comparison<'a> {
    /// What the urgent client asks.
    pub urgent: &'a Request,
    /// How often, per second.
    pub rate_hz: f64,
    /// What the bulk clients ask.
    pub bulk: Arc<Request>,
    /// Rows of one of their requests.
    pub bulk_rows: u32,
    /// Their number.
    pub bulk_clients: usize,
    /// Where bulk work goes, if not to the same daemon.
    pub bulk_daemon: Option<&'a Daemon>,
    /// The processor of all clients.
    pub cpu: usize,
    /// Turns of each side.
    pub rounds: usize,
    /// How long a turn is.
    pub turn: Duration,
    /// Whether a turn of bulk work alone is part of a round.
    pub bulk_alone: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Compared {
    /// The urgent client, alone.
    pub alone: Seen,
    /// The urgent client, beside bulk work.
    pub beside: Seen,
    /// Bulk work, beside the urgent client.
    pub bulk_beside: Vec<Rate>,
    /// Bulk work, alone.
    pub bulk_alone: Vec<Rate>,
    /// The p99 of each round, alone and beside, in milliseconds.
    pub rounds_p99_ms: Vec<(f64, f64)>,
    /// Processor time of the daemon, in a turn of the urgent client alone, for each of its requests.
    pub cpu_per_request: Vec<Duration>,
}

/// Compares.
///
/// # Errors
/// Where a client fails.
pub fn compare(daemon: &Daemon, how: &Comparison<'_>, quiet: &Quiet) -> Result<Compared> {
    let mut compared = Compared::default();
    let processes: Vec<u32> = [Some(daemon), how.bulk_daemon]
        .into_iter()
        .flatten()
        .map(Daemon::id)
        .collect();
    for round in 0..how.rounds {
        let (alone, cpu) = quiet.turn(&processes, || {
            let before = daemon.cpu_time()?;
            let alone = paced::run(&pace(daemon, how, 2 * round)).context("the urgent client alone")?;
            Ok((alone, daemon.cpu_time()?.saturating_sub(before)))
        })?;
        compared
            .cpu_per_request
            .push(cpu / u32::try_from(alone.latency.len().max(1)).unwrap_or(u32::MAX));
        let bulk = start_bulk(daemon, how).context("bulk work")?;
        if how.bulk_alone {
            compared
                .bulk_alone
                .push(quiet.turn(&processes, || bulk_turn(&bulk, how.turn))?);
        }
        let (beside, rate) = quiet.turn(&processes, || {
            bulk.forget()?;
            let beside = paced::run(&pace(daemon, how, 2 * round + 1))
                .context("the urgent client beside bulk work")?;
            Ok((beside, bulk.rate().ok()))
        })?;
        drop(bulk);
        compared.bulk_beside.extend(rate);
        let p99 = |seen: &Seen| seen.latency.per_mille_ms(990.0);
        compared.rounds_p99_ms.push((p99(&alone), p99(&beside)));
        compared.alone.extend(&alone);
        compared.beside.extend(&beside);
    }
    Ok(compared)
}

/// Bulk work by itself for so long.
///
/// # Errors
/// Where its clients fail, or the time is too short.
pub fn bulk_turn(bulk: &Bulk, turn: Duration) -> Result<Rate> {
    bulk.forget()?;
    std::thread::sleep(turn);
    bulk.rate()
}

fn start_bulk(daemon: &Daemon, how: &Comparison<'_>) -> Result<Bulk> {
    Bulk::start(&Load {
        address: how.bulk_daemon.unwrap_or(daemon).address,
        request: how.bulk.clone(),
        rows: how.bulk_rows,
        clients: how.bulk_clients,
        cpu: how.cpu,
    })
}

fn pace<'a>(daemon: &Daemon, how: &Comparison<'a>, turn: usize) -> Pace<'a> {
    Pace {
        address: daemon.address,
        request: how.urgent,
        rate_hz: how.rate_hz,
        time: how.turn,
        seed: 0x5eed_0001 + 2 * turn as u64,
        cpu: how.cpu,
    }
}

impl Compared {
    /// How many times the p99 grows.
    #[must_use]
    pub fn p99_x(&self) -> f64 {
        self.beside.latency.per_mille_ms(990.0) / self.alone.latency.per_mille_ms(990.0)
    }

    /// What bulk work adds to a percentile, in milliseconds.
    #[must_use]
    pub fn extra_ms(&self, per_mille: f64) -> f64 {
        self.beside.latency.per_mille_ms(per_mille) - self.alone.latency.per_mille_ms(per_mille)
    }

    /// The part of its throughput that bulk work keeps, in percent of what it has alone less the processor time that
    /// the urgent requests take, which is measured in the turns without bulk work.
    #[must_use]
    pub fn bulk_kept_pct(&self, rate_hz: f64) -> f64 {
        let per_second = |rates: &[Rate]| Rate::together(rates).per_second();
        let taken = self.cpu_s_per_request() * rate_hz;
        per_second(&self.bulk_beside) / (per_second(&self.bulk_alone) * (1.0 - taken)) * 100.0
    }

    fn cpu_s_per_request(&self) -> f64 {
        median(
            &self
                .cpu_per_request
                .iter()
                .map(Duration::as_secs_f64)
                .collect::<Vec<_>>(),
        )
    }

    /// All of it.
    #[must_use]
    pub fn details(&self) -> Value {
        let rates = |rates: &[Rate]| {
            rates
                .iter()
                .map(|rate| round(rate.per_second()))
                .collect::<Vec<_>>()
        };
        let ratios: Vec<f64> = self
            .rounds_p99_ms
            .iter()
            .map(|(alone, beside)| beside / alone)
            .collect();
        json!({
            "alone": seen(&self.alone),
            "beside": seen(&self.beside),
            "p99_x_median_of_rounds": round(median(&ratios)),
            "rounds_p99_ms": self.rounds_p99_ms.iter().map(|(a, b)| [round(*a), round(*b)]).collect::<Vec<_>>(),
            "bulk_rows_per_s_beside": rates(&self.bulk_beside),
            "bulk_rows_per_s_alone": rates(&self.bulk_alone),
            "cpu_us_per_urgent_request": round(self.cpu_s_per_request() * 1e6),
        })
    }
}

/// What an urgent client saw, for people to look at.
#[must_use]
pub fn seen(seen: &Seen) -> Value {
    json!({
        "latency": seen.latency.summary(),
        "served": seen.served.summary(),
        "compute": seen.compute.summary(),
        "unsent": seen.unsent,
    })
}
