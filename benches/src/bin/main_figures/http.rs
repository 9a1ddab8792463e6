//! What HTTP adds.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mlos_benches::client::{Answer, Request};
use mlos_benches::daemon::{Daemon, Mode};
use mlos_benches::figures::pinned;
use mlos_benches::histogram::Samples;
use mlos_benches::models;
use mlos_plugin_host::{HostConfig, Plugins};
use mlos_plugin_onnx::OnnxPlugin;
use mlos_zoo::{Size, Zoo};
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{IoBinding, Session};
use serde_json::json;

use crate::{Bench, Measured};

/// Calls of one turn, one after the other.
const CALLS: usize = 2000;
/// Calls that warm up.
const WARMING: usize = 200;

const VISION: Zoo = Zoo::MobileNetV2;
const VISION_ID: &str = "mobilenet-v2";
const VISION_CALLS: usize = 20;

/// The digits over HTTP, keep-alive, the client on the other core, against ONNX Runtime in process.
pub(crate) fn over_in_process(bench: &Bench) -> Result<Measured> {
    let daemon = bench.digits_daemon(Mode::Lanes)?;
    let request = models::ask_digits("realtime")?;
    let (mut http, mut served, mut process) = (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..bench.rounds() {
        let (latency, total) = bench.setting.quiet.turn(&[daemon.id()], || {
            pinned(bench.setting.client, || calls(&daemon, &request))
        })?;
        http.extend(&latency);
        served.extend(&total);
        process.extend(
            &bench
                .setting
                .quiet
                .turn(&[daemon.id()], || pinned(bench.setting.server, in_process))?,
        );
    }
    let extra_us = (http.per_mille_ms(500.0) - process.per_mille_ms(500.0)) * 1e3;
    let details = json!({
        "http": http.summary(),
        "served": served.summary(),
        "in_process": process.summary(),
    });
    Ok((vec![extra_us], details))
}

fn calls(daemon: &Daemon, request: &Request) -> Result<(Samples, Samples)> {
    let mut connection = daemon.connect()?;
    let (mut latencies, mut totals) = (Samples::default(), Samples::default());
    for call in 0..WARMING + CALLS {
        let (latency, answer) = connection.timed(request)?;
        if call >= WARMING {
            latencies.push(latency);
            totals.push(Duration::from_micros(answer.number("total_us").unwrap_or(0)));
        }
    }
    Ok((latencies, totals))
}

/// ONNX Runtime at its best: inputs and outputs bound once.
fn in_process() -> Result<Samples> {
    let mut plugins = Plugins::new(HostConfig::default());
    let config = json!({ "library": models::onnx_library() }).to_string();
    plugins.add_builtin(mlos_smi::entry_of::<OnnxPlugin>(), &config)?;
    let environment = mlos_plugin_onnx::environment().context("the plugin is not initialised")?;
    let session = || -> ort::Result<Session> {
        let builder = Session::builder(&environment)?.with_intra_threads(1)?;
        let mut builder = builder.with_optimization_level(GraphOptimizationLevel::All)?;
        builder.commit_from_file(models::digits().join("model.onnx"))
    };
    let mut session = session()?;
    let binding = bind(&session)?;
    let mut samples = Samples::default();
    for call in 0..WARMING + CALLS {
        let begun = Instant::now();
        drop(session.run_binding(&binding)?);
        if call >= WARMING {
            samples.push(begun.elapsed());
        }
    }
    Ok(samples)
}

fn bind(session: &Session) -> Result<IoBinding> {
    let mut binding = session.create_binding()?;
    for input in Zoo::Digits.inputs(Size::Full, 1, models::SEED) {
        let numbers: Vec<f32> = input
            .data
            .chunks_exact(4)
            .filter_map(|word| word.try_into().ok())
            .map(f32::from_le_bytes)
            .collect();
        let value = ort::value::Tensor::from_array((input.shape.clone(), numbers))?;
        binding.bind_input(input.name.as_str(), &value)?;
    }
    for output in session.outputs() {
        binding.bind_output_to_device(output.name(), session.allocator().memory_info())?;
    }
    Ok(binding)
}

/// An image as JSON numbers, over what computing it takes: by our client and by `curl`, the worse of both.
pub(crate) fn over_compute(bench: &Bench) -> Result<Measured> {
    let daemon = bench.daemon(Mode::Lanes, &[bench.setting.server])?;
    daemon.register(VISION_ID, &models::file(VISION)?)?;
    let body = models::json_body(VISION, 1)?;
    // As many digits as a client prints that computes in 64 bits.
    let wide = models::wide_json_body(VISION, 1)?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("body.json");
    std::fs::write(&file, &body)?;
    let headers = [
        ("content-type", "application/json"),
        ("x-mlos-priority", "realtime"),
    ];
    let path = models::inference(VISION_ID);
    let ask = |body: &str| Arc::new(Request::post(&path, &headers, body.as_bytes()));
    let (narrow_request, wide_request) = (ask(&body), ask(&wide));
    let (mut ours, mut curl, mut wide_ours) = (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..bench.rounds() {
        for (request, samples) in [(&narrow_request, &mut ours), (&wide_request, &mut wide_ours)] {
            samples.extend(&bench.setting.quiet.turn(&[daemon.id()], || {
                pinned(bench.setting.client, || vision_calls(&daemon, request))
            })?);
        }
        curl.extend(
            &bench
                .setting
                .quiet
                .turn(&[daemon.id()], || curl_calls(&daemon, &path, &file))?,
        );
    }
    let details = json!({
        "ours": ours.summary(),
        "curl": curl.summary(),
        "ours_17_digits": wide_ours.summary(),
        "body_bytes": body.len(),
        "body_bytes_17_digits": wide.len(),
    });
    Ok((
        vec![ours.per_mille_ms(500.0).max(curl.per_mille_ms(500.0))],
        details,
    ))
}

/// Latencies less the computation.
fn vision_calls(daemon: &Daemon, request: &Request) -> Result<Samples> {
    let mut connection = daemon.connect()?;
    let mut samples = Samples::default();
    for call in 0..=VISION_CALLS {
        let (latency, answer) = connection.timed(request)?;
        // The first warms up.
        if call > 0 {
            samples.push(latency.saturating_sub(compute(&answer)?));
        }
    }
    Ok(samples)
}

fn compute(answer: &Answer) -> Result<Duration> {
    answer
        .number("compute_us")
        .map(Duration::from_micros)
        .context("the answer has no compute_us")
}

/// As a user types it: a process and a connection for each, and `Expect: 100-continue` where curl sends that.
fn curl_calls(daemon: &Daemon, path: &str, body: &Path) -> Result<Samples> {
    let url = format!("http://{}{path}", daemon.address);
    let mut samples = Samples::default();
    for call in 0..=VISION_CALLS {
        let output = Command::new("curl")
            .args(["-sS", "--fail-with-body", "-H", "content-type: application/json"])
            .args([
                "-H",
                "x-mlos-priority: realtime",
                "-w",
                "\n%{time_total}",
                "--data-binary",
            ])
            .arg(format!("@{}", body.display()))
            .arg(&url)
            .output()
            .context("curl cannot be started")?;
        if !output.status.success() {
            bail!("curl: {}", String::from_utf8_lossy(&output.stderr));
        }
        let text = String::from_utf8(output.stdout)?;
        let (body, seconds) = text.rsplit_once('\n').context("curl printed no time")?;
        let answer = Answer {
            status: 200,
            body: body.as_bytes().to_vec(),
        };
        if call > 0 {
            let latency = Duration::from_secs_f64(seconds.parse().context("curl's time is no number")?);
            samples.push(latency.saturating_sub(compute(&answer)?));
        }
    }
    Ok(samples)
}
