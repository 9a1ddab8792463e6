//! A model that computes, against itself in process.

use anyhow::{Context, Result};
use mlos_benches::daemon::Daemon;
use mlos_benches::histogram::Samples;
use mlos_benches::models;
use mlos_client::{Options, Terms};
use mlos_plugin_host::{HostConfig, Plugins};
use mlos_plugin_onnx::OnnxPlugin;
use mlos_zoo::{Input, Size, Zoo};
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{IoBinding, Session};
use serde_json::json;

use crate::summary::{Rounds, table};
use crate::{Bench, Measured, POLLING, pinned, turn};

/// Some 5 us in ONNX Runtime.
pub(crate) const MLP: Zoo = Zoo::MLP_SMALL;
pub(crate) const MLP_ID: &str = "mlp-128";

/// Over shared memory, both sides polling, against ONNX Runtime at its best on the daemon's processor.
pub(crate) fn over_in_process(bench: &Bench) -> Result<Measured> {
    let daemon = bench.daemon(&[])?;
    daemon.register(MLP_ID, &models::file(MLP)?)?;
    let mut plugins = Plugins::new(HostConfig::default());
    let config = json!({ "library": models::onnx_library() }).to_string();
    plugins.add_builtin(mlos_smi::entry_of::<OnnxPlugin>(), &config)?;
    let (mut local, mut process) = (Rounds::default(), Rounds::default());
    for _ in 0..bench.rounds() {
        local.push(
            &bench
                .setting
                .quiet
                .turn(&[daemon.id()], || over_local(bench, &daemon))?,
        );
        process.push(&bench.setting.quiet.turn(&[daemon.id()], || {
            pinned(bench.setting.server, || in_process(bench))
        })?);
    }
    eprint!(
        "{}",
        table(&[
            ("MLP over local".to_owned(), &local.samples),
            ("MLP in process".to_owned(), &process.samples)
        ])
    );
    let details = json!({ "local": local.details(), "in_process": process.details() });
    Ok((vec![local.above_us(&process)], details))
}

fn over_local(bench: &Bench, daemon: &Daemon) -> Result<Samples> {
    bench.as_client(|| {
        let client = Options::default().spin(POLLING).connect(daemon.local())?;
        let mut bound = client.open(MLP_ID)?.request().rows(1).bind()?;
        for (at, input) in MLP.inputs(Size::Full, 1, models::SEED).iter().enumerate() {
            bound.input_at_mut::<f32>(at)?.copy_from_slice(&numbers(input));
        }
        let terms = Terms::default();
        turn(bench.turn(), |_| {
            let outputs = bound.infer(&terms)?;
            let numbers = outputs.at::<f32>(0)?;
            std::hint::black_box((numbers.first().copied(), numbers.last().copied()));
            Ok(())
        })
    })
}

fn numbers(input: &Input) -> Vec<f32> {
    let words = input.data.as_chunks().0;
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

/// Inputs and outputs bound once.
fn in_process(bench: &Bench) -> Result<Samples> {
    let environment = mlos_plugin_onnx::environment().context("the plugin is not initialised")?;
    let session = || -> ort::Result<Session> {
        let builder = Session::builder(&environment)?.with_intra_threads(1)?;
        let mut builder = builder.with_optimization_level(GraphOptimizationLevel::All)?;
        builder.commit_from_file(models::file(MLP).map_err(|error| ort::Error::new(error.to_string()))?)
    };
    let mut session = session()?;
    let binding = bind(&session)?;
    turn(bench.turn(), |_| {
        let outputs = session.run_binding(&binding)?;
        for (_, value) in &outputs {
            let (_, numbers) = value.try_extract_tensor::<f32>()?;
            std::hint::black_box((numbers.first().copied(), numbers.last().copied()));
        }
        Ok(())
    })
}

fn bind(session: &Session) -> Result<IoBinding> {
    let mut binding = session.create_binding()?;
    for input in MLP.inputs(Size::Full, 1, models::SEED) {
        let value = ort::value::Tensor::from_array((input.shape.clone(), numbers(&input)))?;
        binding.bind_input(input.name.as_str(), &value)?;
    }
    for output in session.outputs() {
        binding.bind_output_to_device(output.name(), session.allocator().memory_info())?;
    }
    Ok(binding)
}
