//! An urgent client beside bulk work that saturates its core.

use std::sync::Arc;

use anyhow::Result;
use mlos_benches::client::Request;
use mlos_benches::daemon::{Daemon, Mode};
use mlos_benches::models::{self, DIGITS};
use mlos_benches::urgent::{Comparison, compare};
use mlos_zoo::Zoo;
use serde_json::json;

use crate::{Bench, Measured};

const BULK: &str = "resnet50";
const BULK_ROWS: usize = 32;
/// One request is being computed while another is on its way.
const CLIENTS_PER_CORE: usize = 2;

/// The kernel spreads connections over the cores by chance, and a turn's urgent client has one, on its own core or on
/// another. So many times shorter turns, and more of them, let both sides have both.
const CHANCES: u32 = 4;

/// Of some 5 ms, asked in class HIGH.
const MIDDLE: Zoo = Zoo::T5Encoder;
const MIDDLE_ID: &str = "t5-encoder";
/// Seldom enough that its requests do not queue behind each other.
const MIDDLE_RATE_HZ: f64 = 60.0;
/// Longer turns make up for the lower rate: over a thousand requests in quick rounds too.
const MIDDLE_TURN_X: f64 = 1.25;

/// Of some 0.6 ms, asked in two classes.
const SHARED: Zoo = Zoo::MLP_MEDIUM;
const SHARED_ID: &str = "mlp";
const SHARED_ROWS: usize = 8;
const SHARED_CLIENTS: usize = 4;

/// REALTIME digits beside ResNet-50, with lanes.
pub(crate) fn realtime(bench: &Bench) -> Result<Measured> {
    let daemon = with_bulk_model(bench.digits_daemon(Mode::Lanes)?)?;
    let urgent = models::ask_digits("realtime")?;
    let how = Comparison {
        bulk_alone: true,
        ..beside_resnet(bench, &urgent)?
    };
    let compared = compare(&daemon, &how, &bench.setting.quiet)?;
    let kept_pct = compared.bulk_kept_pct(how.rate_hz);
    Ok((
        vec![compared.p99_x(), compared.extra_ms(999.0), kept_pct],
        compared.details(),
    ))
}

/// The same with suspension between layers; and, for contrast, with none, and with bulk work in a second thread of
/// the same core that is as strong.
pub(crate) fn layer(bench: &Bench) -> Result<Measured> {
    let urgent = models::ask_digits("realtime")?;
    let daemon = with_bulk_model(bench.digits_daemon(Mode::Layer)?)?;
    let layer = compare(&daemon, &beside_resnet(bench, &urgent)?, &bench.setting.quiet)?;
    drop(daemon);

    let daemon = with_bulk_model(bench.digits_daemon(Mode::None)?)?;
    let once = Comparison {
        rounds: 1,
        ..beside_resnet(bench, &urgent)?
    };
    let none = compare(&daemon, &once, &bench.setting.quiet)?;
    // The second thread is that of another daemon, which is one of equal strength to the kernel.
    let asked = bench.digits_daemon(Mode::Lanes)?;
    let once = Comparison {
        bulk_daemon: Some(&daemon),
        ..once
    };
    let thread = compare(&asked, &once, &bench.setting.quiet)?;
    let details = json!({
        "layer": layer.details(),
        "none": none.details(),
        "second_thread": thread.details(),
    });
    Ok((vec![layer.extra_ms(990.0), layer.extra_ms(999.0)], details))
}

/// A model of some milliseconds in class HIGH.
pub(crate) fn high(bench: &Bench) -> Result<Measured> {
    let daemon = with_bulk_model(bench.daemon(Mode::Lanes, &[bench.setting.server])?)?;
    daemon.register(MIDDLE_ID, &models::file(MIDDLE)?)?;
    let urgent = models::ask_json(MIDDLE_ID, MIDDLE, 1, "high")?;
    let how = Comparison {
        rate_hz: MIDDLE_RATE_HZ,
        turn: bench.turn().mul_f64(MIDDLE_TURN_X),
        ..beside_resnet(bench, &urgent)?
    };
    let compared = compare(&daemon, &how, &bench.setting.quiet)?;
    Ok((vec![compared.p99_x()], compared.details()))
}

/// REALTIME digits while bulk work saturates every core, the client's too.
pub(crate) fn all_cores(bench: &Bench) -> Result<Measured> {
    let cores: Vec<usize> = core_affinity::get_core_ids()
        .unwrap_or_default()
        .iter()
        .map(|core| core.id)
        .collect();
    let daemon = with_bulk_model(bench.daemon(Mode::Lanes, &cores)?)?;
    daemon.register(DIGITS, &models::digits())?;
    let urgent = models::ask_digits("realtime")?;
    let how = Comparison {
        // Enough of them reach every core.
        bulk_clients: 2 * CLIENTS_PER_CORE * cores.len(),
        rounds: bench.rounds() * CHANCES as usize,
        turn: bench.turn() / CHANCES,
        ..beside_resnet(bench, &urgent)?
    };
    let compared = compare(&daemon, &how, &bench.setting.quiet)?;
    Ok((vec![compared.p99_x()], compared.details()))
}

/// One model, asked for single rows in class REALTIME and for batches in class BATCH.
pub(crate) fn same_model(bench: &Bench) -> Result<Measured> {
    let daemon = bench.daemon(Mode::Lanes, &[bench.setting.server])?;
    daemon.register(SHARED_ID, &models::file(SHARED)?)?;
    let urgent = models::ask_json(SHARED_ID, SHARED, 1, "realtime")?;
    let bulk = models::ask_binary(SHARED_ID, SHARED, SHARED_ROWS, "batch")?;
    let how = Comparison {
        bulk: Arc::new(bulk),
        bulk_rows: SHARED_ROWS as u32,
        bulk_clients: SHARED_CLIENTS,
        ..beside_resnet(bench, &urgent)?
    };
    let compared = compare(&daemon, &how, &bench.setting.quiet)?;
    Ok((vec![compared.p99_x()], compared.details()))
}

fn with_bulk_model(daemon: Daemon) -> Result<Daemon> {
    daemon.register(BULK, &models::file(Zoo::ResNet50)?)?;
    Ok(daemon)
}

fn beside_resnet<'a>(bench: &Bench, urgent: &'a Request) -> Result<Comparison<'a>> {
    Ok(Comparison {
        urgent,
        rate_hz: bench.rate_hz(),
        bulk: Arc::new(models::ask_binary(BULK, Zoo::ResNet50, BULK_ROWS, "batch")?),
        bulk_rows: BULK_ROWS as u32,
        bulk_clients: CLIENTS_PER_CORE,
        bulk_daemon: None,
        cpu: bench.setting.client,
        rounds: bench.rounds(),
        turn: bench.turn(),
        bulk_alone: false,
    })
}
