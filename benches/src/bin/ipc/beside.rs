//! An urgent client over shared memory beside bulk work on the same processor, which comes over shared memory too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use core_affinity::CoreId;
use mlos_benches::bulk::Rate;
use mlos_benches::daemon::Daemon;
use mlos_benches::histogram::{Samples, round};
use mlos_benches::models;
use mlos_zoo::Zoo;
use serde_json::json;

use crate::mlp::{MLP, MLP_ID};
use crate::summary::{per_mille_us, summary, table};
use crate::{Bench, Measured, join};

const BULK: &str = "resnet50";
const BULK_ROWS: u64 = 32;
/// One is being computed while another waits.
const BULK_IN_FLIGHT: usize = 2;
/// Requests of the urgent client, per second.
const RATE_HZ: f64 = 200.0;
const REALTIME: u8 = 1;
const BATCH: u8 = 4;
const PATIENCE: Duration = Duration::from_secs(60);

/// REALTIME at a pace that lets both sides sleep, alone and beside ResNet-50 in batches of 32 in class BATCH without
/// end; and that bulk work beside it and alone.
pub(crate) fn realtime(bench: &Bench) -> Result<Measured> {
    let daemon = bench.daemon(&[])?;
    daemon.register(MLP_ID, &models::file(MLP)?)?;
    daemon.register(BULK, &models::file(Zoo::ResNet50)?)?;
    let (mut alone, mut beside) = (Samples::default(), Samples::default());
    let (mut bulk_alone, mut bulk_beside) = (Vec::new(), Vec::new());
    for number in 0..if bench.setting.quick { 3 } else { 5 } {
        alone.extend(
            &bench
                .setting
                .quiet
                .turn(&[daemon.id()], || urgent(bench, &daemon, number))?,
        );
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (answers, answered) = mpsc::channel();
            let bulk = scope.spawn(|| bulk(bench, &daemon, answers, &stop));
            let measured = turns_beside_bulk(bench, &daemon, &answered, number);
            stop.store(true, Ordering::Relaxed);
            bulk.join().expect("the bulk client does not panic")?;
            let turns = measured?;
            bulk_alone.extend(turns.alone);
            bulk_beside.extend(turns.beside);
            beside.extend(&turns.samples);
            anyhow::Ok(())
        })?;
    }
    eprint!(
        "{}",
        table(&[
            ("MLP alone".to_owned(), &alone),
            ("MLP beside bulk".to_owned(), &beside)
        ])
    );
    let extra_us = per_mille_us(&beside, 990.0) - per_mille_us(&alone, 990.0);
    let per_second = |rates: &[Rate]| Rate::together(rates).per_second();
    let kept_pct = per_second(&bulk_beside) / per_second(&bulk_alone) * 100.0;
    let rounded = |rates: &[Rate]| {
        rates
            .iter()
            .map(|rate| round(rate.per_second()))
            .collect::<Vec<_>>()
    };
    let details = json!({
        "alone": summary(&alone),
        "beside": summary(&beside),
        "bulk_rows_per_s_alone": rounded(&bulk_alone),
        "bulk_rows_per_s_beside": rounded(&bulk_beside),
    });
    Ok((vec![extra_us, kept_pct], details))
}

/// How long a turn is: some batches.
fn time(bench: &Bench) -> Duration {
    Duration::from_secs(if bench.setting.quick { 5 } else { 10 })
}

/// What the turns of a round gave.
#[derive(Default)]
struct Turns {
    alone: Vec<Rate>,
    beside: Vec<Rate>,
    /// What the urgent client saw.
    samples: Samples,
}

/// Bulk work alone, with the urgent client, with it, and alone: a machine that becomes slower or faster meanwhile does so
/// for both.
fn turns_beside_bulk(
    bench: &Bench,
    daemon: &Daemon,
    answered: &Receiver<Instant>,
    seed: u64,
) -> Result<Turns> {
    for _ in 0..2 {
        answered
            .recv_timeout(PATIENCE)
            .context("bulk work is not answered")?;
    }
    let mut turns = Turns::default();
    for has_urgent in [false, true, true, false] {
        let (rate, samples) = bench.setting.quiet.turn(&[daemon.id()], || {
            answered.try_iter().for_each(drop);
            if has_urgent {
                let samples = urgent(bench, daemon, seed)?;
                return Ok((rate(answered)?, Some(samples)));
            }
            std::thread::sleep(time(bench));
            Ok((rate(answered)?, None))
        })?;
        match samples {
            Some(samples) => {
                turns.beside.push(rate);
                turns.samples.extend(&samples);
            }
            None => turns.alone.push(rate),
        }
    }
    Ok(turns)
}

/// What was answered from one answer to another, as they come in lumps.
fn rate(answered: &Receiver<Instant>) -> Result<Rate> {
    Rate::between(&answered.try_iter().collect::<Vec<_>>(), BULK_ROWS)
}

/// Batches without end, until told, each asked again as soon as it is answered. The client sleeps meanwhile.
fn bulk(bench: &Bench, daemon: &Daemon, answers: Sender<Instant>, stop: &AtomicBool) -> Result<()> {
    core_affinity::set_for_current(CoreId {
        id: bench.setting.client,
    });
    let mut client = join(daemon, 0, Duration::ZERO)?;
    let model = client.open(BULK)?;
    let mut bounds = Vec::new();
    for number in 0..BULK_IN_FLIGHT {
        let mut bound = client.bind(&model, BULK_ROWS)?;
        for input in &mut bound.inputs {
            // Pages that were never written would all be one page of zeros, and in the cache.
            input.bytes_mut().fill(0x3c);
        }
        client.send(bound.request(number as u64, BATCH))?;
        bounds.push(bound);
    }
    let mut in_flight = BULK_IN_FLIGHT;
    while in_flight > 0 {
        let answer = client.answer()?;
        let bound = &bounds[answer.id as usize];
        client.check(bound, &answer)?;
        std::hint::black_box(bound.read_ends());
        in_flight -= 1;
        if !stop.load(Ordering::Relaxed) && answers.send(Instant::now()).is_ok() {
            client.send(bound.request(answer.id, BATCH))?;
            in_flight += 1;
        }
    }
    Ok(())
}

/// Asks at times that jitter around a pace, whatever became of the one before, and sleeps in between.
fn urgent(bench: &Bench, daemon: &Daemon, seed: u64) -> Result<Samples> {
    bench.as_client(|| {
        let mut client = join(daemon, 0, Duration::ZERO)?;
        let model = client.open(MLP_ID)?;
        let mut bound = client.bind(&model, 1)?;
        bound.inputs[0].bytes_mut().fill(0x3c);
        let mut samples = Samples::default();
        let mut random = 0x5eed_0001 + 2 * seed;
        let begun = Instant::now();
        let mut due_s = 0.0;
        while due_s < time(bench).as_secs_f64() {
            due_s += (0.5 + fraction(&mut random)) / RATE_HZ;
            let due = begun + Duration::from_secs_f64(due_s);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let sent = Instant::now();
            client.send(bound.request(1, REALTIME))?;
            let answer = client.answer()?;
            client.check(&bound, &answer)?;
            std::hint::black_box(bound.read_ends());
            samples.push(sent.elapsed());
        }
        Ok(samples)
    })
}

/// From 0 to 1, by xorshift.
fn fraction(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 11) as f64 / (1_u64 << 53) as f64
}
