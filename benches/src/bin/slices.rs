//! `slices [--quick]`: what yields cost and what they give, as JSON on the standard output.
//!
//! Each round runs A and B one after the other, so that a disturbance of the machine meets both; medians over rounds
//! count. Figures are wall times. Beside them, `worst_ms` is the longest that was ever seen, disturbances included, and
//! what has `cpu` in its name is the thread's own time, which other load on the machine does not change.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use mlos_plugin_host::{
    Call, Checkpoint, Gate, HostConfig, LoadRequest, Model, Outputs, Plugin, Plugins, Step, Verdict, Work,
};
use mlos_plugin_onnx::{LIBRARY_VARIABLE, OnnxPlugin};
use mlos_tensor_mem::{DType, Pool, PoolConfig, Shape, Tensor};
use mlos_zoo::{Input, Size, Zoo};
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

const SEED: u64 = 1;

/// How often the two sessions are loaded anew, in turn the one or the other first: where weights come to lie is worth
/// 3 % either way, several times what is measured, and the session that is loaded first has it worse. A quick run has a
/// third.
const LOADS: usize = 192;

/// Rounds of a load.
const ROUNDS: usize = 4;

/// Calls of the short model, with and without us; a quick run has a third.
const SHORT_ROUNDS: usize = 18_000;

/// Loads of the bulk part, whose differences are larger,
const BULK_LOADS: usize = 6;

/// and rounds of each, whose runs take about a second.
const BULK_ROUNDS: usize = 3;

/// A model at a size.
struct Case {
    zoo: Zoo,
    rows: usize,
    sequence: usize,
}

fn main() -> Result<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let part = |rounds: usize| if quick { rounds / 3 } else { rounds };
    let (loads, bulk_rounds) = (part(LOADS), part(BULK_ROUNDS));
    let bench = Bench::new()?;
    let single = [
        bench.single(
            &Case {
                zoo: Zoo::ResNet50,
                rows: 1,
                sequence: 0,
            },
            loads,
        )?,
        bench.single(
            &Case {
                zoo: Zoo::BertBase,
                rows: 1,
                sequence: 16,
            },
            loads,
        )?,
    ];
    let bulk = [
        bench.bulk(
            &Case {
                zoo: Zoo::ResNet50,
                rows: 32,
                sequence: 0,
            },
            bulk_rounds,
        )?,
        bench.bulk(
            &Case {
                zoo: Zoo::BertBase,
                rows: 8,
                sequence: 128,
            },
            bulk_rounds,
        )?,
    ];
    let short = bench.short(part(SHORT_ROUNDS))?;
    let report = json!({
        "figures": {
            "yield_overhead_pct": most(&single, "overhead_pct"),
            "yield_gap_max_ms": most(&single, "gap_max_ms"),
            "slice_bulk_max_ms": most(&bulk, "slice_max_ms"),
            "slice_bulk_cost_pct": most(&bulk, "cost_pct"),
            "call_extra_us": short["extra_us"],
        },
        "n": loads * ROUNDS,
        "details": { "single": single, "bulk": bulk, "short": short },
    });
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

fn most(cases: &[Value], figure: &str) -> f64 {
    cases
        .iter()
        .filter_map(|case| case[figure].as_f64())
        .fold(f64::NEG_INFINITY, f64::max)
}

struct Bench {
    plugin: Arc<Plugin>,
    pool: Pool,
    /// Models and their prepared forms; kept between runs, as making them takes longer than measuring them.
    dir: PathBuf,
}

impl Bench {
    fn new() -> Result<Self> {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
        let library = std::env::var_os(LIBRARY_VARIABLE)
            .filter(|path| !path.is_empty())
            .map(PathBuf::from);
        let library = library.unwrap_or_else(|| target.join("onnxruntime/libonnxruntime.so"));
        let mut plugins = Plugins::new(HostConfig::default());
        let config = json!({ "library": library }).to_string();
        plugins.add_builtin(mlos_smi::entry_of::<OnnxPlugin>(), &config)?;
        Ok(Self {
            plugin: plugins.for_format("onnx").context("the plugin loads no onnx")?,
            pool: Pool::new(PoolConfig {
                huge_pages: false,
                ..PoolConfig::default()
            })?,
            dir: target.join("bench/models"),
        })
    }

    /// The model as it came, and as the plugin serves it; every second time in the other order.
    fn open(&self, zoo: Zoo, load: usize) -> Result<(Session, Model)> {
        let path = self.dir.join(zoo.file_name(Size::Full));
        if !path.exists() {
            zoo.write(&self.dir, Size::Full, SEED)?;
        }
        Ok(if load.is_multiple_of(2) {
            let session = open_plain(&path)?;
            (session, self.open_served(&path)?)
        } else {
            let model = self.open_served(&path)?;
            (open_plain(&path)?, model)
        })
    }

    fn open_served(&self, path: &Path) -> Result<Model> {
        let request = LoadRequest {
            path,
            component: "",
            cache_dir: Some(&self.dir.join("prepared")),
            options_json: "{}",
            threads: 1,
        };
        Ok(self.plugin.load(&request)?)
    }

    fn work(&self, model: &Model, inputs: &[Input]) -> Result<Work> {
        let given = model.info().inputs.iter().map(|spec| {
            let input = inputs
                .iter()
                .find(|input| input.name == spec.name)
                .context("an input is missing")?;
            tensor(&self.pool, input).map(Some)
        });
        Ok(Work::new(model, given.collect::<Result<_>>()?, Outputs::All)?)
    }

    /// Runs a work, or a part of it, without ever suspending it.
    fn run(&self, work: Work, rows: Option<Range<usize>>) -> Result<(Work, Run)> {
        let mut call = Call::start(work, rows, &self.pool, Rc::new(GoOn));
        let watch = Watch::start();
        let Step::Done(finished) = call.resume() else {
            bail!("nobody suspended the call")
        };
        let (wall_s, cpu_s) = watch.read();
        finished.result?;
        let slice_s = finished.longest_slice_ns as f64 / 1e9;
        let run = Run {
            wall_s,
            cpu_s,
            slice_s,
            checkpoints: finished.checkpoints,
        };
        Ok((finished.work, run))
    }

    /// Yields, none taken, against the plain session.
    fn single(&self, case: &Case, loads: usize) -> Result<Value> {
        let inputs = case.inputs();
        let (mut plain, mut ours) = (Runs::default(), Runs::default());
        for load in 0..loads {
            let (mut session, model) = self.open(case.zoo, load)?;
            for round in 0..=ROUNDS {
                let one = run_plain(&mut session, &inputs)?;
                let (_, other) = self.run(self.work(&model, &inputs)?, None)?;
                // The first round warms up.
                if round > 0 {
                    plain.0.push(one);
                    ours.0.push(other);
                }
            }
        }
        Ok(json!({
            "model": case.name(),
            "n": plain.0.len(),
            "plain_ms": plain.median(|run| run.wall_s) * 1e3,
            "yields_ms": ours.median(|run| run.wall_s) * 1e3,
            "overhead_pct": ours.percent_over(&plain, loads, |run| run.wall_s),
            "overhead_cpu_pct": ours.percent_over(&plain, loads, |run| run.cpu_s),
            "checkpoints": ours.median(|run| run.checkpoints as f64),
            "gap_max_ms": ours.median(|run| run.slice_s) * 1e3,
            "worst_ms": ours.most(|run| run.slice_s) * 1e3,
        }))
    }

    /// Runs a batch row by row: the sum, and each part.
    fn run_in_parts(&self, model: &Model, inputs: &[Input], rows: usize) -> Result<(Run, Vec<Run>)> {
        let mut work = self.work(model, inputs)?;
        let (mut sum, mut parts) = (Run::default(), Vec::with_capacity(rows));
        for row in 0..rows {
            let part;
            (work, part) = self.run(work, Some(row..row + 1))?;
            sum.wall_s += part.wall_s;
            sum.cpu_s += part.cpu_s;
            parts.push(part);
        }
        Ok((sum, parts))
    }

    /// A batch in micro-batches against the batch as it came.
    fn bulk(&self, case: &Case, rounds: usize) -> Result<Value> {
        let inputs = case.inputs();
        let (mut whole, mut sums, mut parts) = (Runs::default(), Runs::default(), Runs::default());
        for load in 0..BULK_LOADS {
            let (mut session, model) = self.open(case.zoo, load)?;
            for round in 0..=rounds {
                let one = run_plain(&mut session, &inputs)?;
                let (sum, mut each) = self.run_in_parts(&model, &inputs, case.rows)?;
                if round > 0 {
                    whole.0.push(one);
                    sums.0.push(sum);
                    parts.0.append(&mut each);
                }
            }
        }
        Ok(json!({
            "model": case.name(),
            "n": whole.0.len(),
            "whole_ms": whole.median(|run| run.wall_s) * 1e3,
            "parts_ms": sums.median(|run| run.wall_s) * 1e3,
            "cost_pct": sums.percent_over(&whole, BULK_LOADS, |run| run.wall_s),
            "cost_cpu_pct": sums.percent_over(&whole, BULK_LOADS, |run| run.cpu_s),
            "slice_max_ms": parts.median(|run| run.slice_s) * 1e3,
            "worst_ms": parts.most(|run| run.slice_s) * 1e3,
        }))
    }

    /// A call of a model of some microseconds: what the plugin and the host add to it.
    fn short(&self, rounds: usize) -> Result<Value> {
        let case = Case {
            zoo: Zoo::Mlp {
                dim: 128,
                width: 128,
                depth: 3,
            },
            rows: 1,
            sequence: 0,
        };
        let (mut session, model) = self.open(case.zoo, 0)?;
        let inputs = case.inputs();
        let mut bound = Bound::new(&mut session, &inputs)?;
        let (mut plain, mut ours) = (Runs::default(), Runs::default());
        for _ in 0..rounds {
            plain.0.push(bound.run()?);
            ours.0.push(self.run(self.work(&model, &inputs)?, None)?.1);
        }
        let [plain_s, call_s] = [&plain, &ours].map(|runs| runs.median(|run| run.wall_s));
        // Without checkpoints, the one slice is the time in the plugin.
        let plugin_s = ours.median(|run| run.slice_s);
        Ok(json!({
            "model": case.name(),
            "n": rounds,
            "plain_us": plain_s * 1e6,
            "call_us": call_s * 1e6,
            "in_plugin_us": plugin_s * 1e6,
            "extra_us": (call_s - plain_s) * 1e6,
            "plugin_extra_us": (plugin_s - plain_s) * 1e6,
        }))
    }
}

impl Case {
    fn inputs(&self) -> Vec<Input> {
        self.zoo.inputs_of(Size::Full, self.rows, self.sequence, SEED)
    }

    fn name(&self) -> String {
        match self.sequence {
            0 => format!("{} batch {}", self.zoo.name(), self.rows),
            tokens => format!("{} {}x{tokens}", self.zoo.name(), self.rows),
        }
    }
}

/// Wall time and the thread's own.
struct Watch(Instant, f64);

impl Watch {
    fn start() -> Self {
        Self(Instant::now(), cpu_s())
    }

    fn read(&self) -> (f64, f64) {
        (self.0.elapsed().as_secs_f64(), cpu_s() - self.1)
    }
}

fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Never suspends, but is asked every time.
struct GoOn;

impl Gate for GoOn {
    fn at_checkpoint(&self, _: Checkpoint) -> Verdict {
        Verdict::Continue
    }
}

/// What a run took.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    wall_s: f64,
    cpu_s: f64,
    /// Longest slice.
    slice_s: f64,
    checkpoints: u64,
}

#[derive(Default)]
struct Runs(Vec<Run>);

impl Runs {
    fn median(&self, of: impl Fn(&Run) -> f64) -> f64 {
        median(self.0.iter().map(of).collect())
    }

    fn most(&self, of: impl Fn(&Run) -> f64) -> f64 {
        self.0.iter().map(of).fold(0.0, f64::max)
    }

    /// How much more this took: the mean of the middle half of the loads, of each the median over its rounds. What
    /// disturbs a round meets both sides.
    fn percent_over(&self, other: &Self, loads: usize, of: impl Fn(&Run) -> f64) -> f64 {
        let ratios: Vec<f64> = self
            .0
            .iter()
            .zip(&other.0)
            .map(|(ours, theirs)| of(ours) / of(theirs))
            .collect();
        let loads = ratios.chunks(ratios.len().div_ceil(loads).max(1));
        let mut medians: Vec<f64> = loads.map(|load| median(load.to_vec())).collect();
        medians.sort_by(f64::total_cmp);
        let quarter = medians.len() / 4;
        let middle = &medians[quarter..medians.len() - quarter];
        (middle.iter().sum::<f64>() / middle.len() as f64 - 1.0) * 100.0
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn tensor(pool: &Pool, input: &Input) -> Result<Tensor> {
    let dtype = match input.dtype {
        "float32" => DType::F32,
        "int64" => DType::I64,
        other => bail!("no model here takes {other}"),
    };
    let loan = pool.loan_bytes(dtype, Shape::new(&input.shape)?, input.data.len())?;
    Ok(loan.copy_from(&input.data)?.freeze())
}

fn value(input: &Input) -> Result<SessionInputValue<'static>> {
    Ok(match input.dtype {
        "float32" => {
            ort::value::Tensor::from_array((input.shape.clone(), numbers(input, f32::from_le_bytes)))?.into()
        }
        "int64" => {
            ort::value::Tensor::from_array((input.shape.clone(), numbers(input, i64::from_le_bytes)))?.into()
        }
        other => bail!("no model here takes {other}"),
    })
}

fn numbers<T, const N: usize>(input: &Input, read: impl Fn([u8; N]) -> T) -> Vec<T> {
    input
        .data
        .chunks_exact(N)
        .filter_map(|word| word.try_into().ok())
        .map(read)
        .collect()
}

fn open_plain(path: &Path) -> Result<Session> {
    let environment = mlos_plugin_onnx::environment().context("the plugin is not initialised")?;
    let builder = || -> ort::Result<_> {
        let builder = Session::builder(&environment)?.with_intra_threads(1)?;
        Ok(builder.with_optimization_level(GraphOptimizationLevel::All)?)
    };
    Ok(builder()?.commit_from_file(path)?)
}

/// A run of the plain session, without making its inputs.
fn run_plain(session: &mut Session, inputs: &[Input]) -> Result<Run> {
    let given: Vec<(String, SessionInputValue<'_>)> = inputs
        .iter()
        .map(|input| Ok((input.name.clone(), value(input)?)))
        .collect::<Result<_>>()?;
    let watch = Watch::start();
    drop(session.run(given)?);
    let (wall_s, cpu_s) = watch.read();
    Ok(Run {
        wall_s,
        cpu_s,
        ..Run::default()
    })
}

/// A session with inputs and outputs bound: ONNX Runtime at its best for a short model.
struct Bound<'s> {
    session: &'s mut Session,
    binding: ort::session::IoBinding,
}

impl<'s> Bound<'s> {
    fn new(session: &'s mut Session, inputs: &[Input]) -> Result<Self> {
        let mut binding = session.create_binding()?;
        for input in inputs {
            let value =
                ort::value::Tensor::from_array((input.shape.clone(), numbers(input, f32::from_le_bytes)))?;
            binding.bind_input(input.name.as_str(), &value)?;
        }
        let outputs: Vec<String> = session
            .outputs()
            .iter()
            .map(|output| output.name().to_owned())
            .collect();
        for output in outputs {
            binding.bind_output_to_device(output, session.allocator().memory_info())?;
        }
        Ok(Self { session, binding })
    }

    fn run(&mut self) -> Result<Run> {
        let watch = Watch::start();
        drop(self.session.run_binding(&self.binding)?);
        let (wall_s, cpu_s) = watch.read();
        Ok(Run {
            wall_s,
            cpu_s,
            ..Run::default()
        })
    }
}
