//! From a model as it came to one with checkpoints.
//!
//! ONNX Runtime optimises the graph and writes it out; the written graph is timed, node by node; yields are put
//! between its nodes; the result is measured slice by slice. In this order no fusion is lost to a yield.

use std::path::{Path, PathBuf};

use mlos_smi::{Description, SliceProfile};
use ort::session::Session;

use crate::cache::{Draft, Entry, Facts, GRAPH_FILE, ProfileRow, WEIGHTS_FILE};
use crate::describe::describe;
use crate::error::{Error, Result};
use crate::graph::{Edit, Model};
use crate::library::Runtime;
use crate::limits::{
    INLINE_WEIGHTS_BYTES_MAX, LONGEST_NODES_KEPT, NODES_MAX, PREPARED_GRAPH_BYTES_MAX, PROFILE_BUDGET_MS,
    PROFILE_ROWS,
};
use crate::options::LoadOptions;
use crate::plan;
use crate::rearrange;
use crate::sample::{Sample, Sizes, inputs};
use crate::session::{Purpose, open};
use crate::shapes::OutputShape;
use crate::source::Source;
use crate::split;
use crate::sys::Shape;
use crate::timing::{Clock, Runner, Timed, measure, read_report};

/// What a preparation works on.
pub(crate) struct Job<'a> {
    pub runtime: &'a Runtime,
    pub source: &'a Source,
    pub options: &'a LoadOptions,
    pub threads: u32,
}

impl Job<'_> {
    /// Fills a folder of the cache with the prepared model.
    pub fn prepare(&self, cache: &Path, key: &str) -> Result<Entry> {
        match self.attempt(cache, key, Rewriting::ForCheckpoints)? {
            Some(entry) => Ok(entry),
            None => self.attempt(cache, key, Rewriting::Nothing)?.ok_or_else(|| {
                Error::Runtime("a graph that was not rewritten cannot differ from itself".to_owned())
            }),
        }
    }

    /// `None` if the rewriting changed the results: weights may be rearranged by then, so all begins anew.
    fn attempt(&self, cache: &Path, key: &str, rewriting: Rewriting) -> Result<Option<Entry>> {
        let draft = Draft::new(cache)?;
        let optimised = draft.dir.join("optimised.onnx");
        self.optimise(&optimised)?;
        let bytes = read_graph(&optimised)?;
        let model = Model::read(&bytes)?;
        if model.nodes.len() > NODES_MAX {
            let reason = format!(
                "the graph has {} nodes, {NODES_MAX} can be timed",
                model.nodes.len()
            );
            return Err(Error::Runtime(reason));
        }
        let timing = match self.time(&model, &draft.dir) {
            Ok(timing) => timing,
            // A graph that cannot be timed is still worth keeping: it loads faster.
            Err(error) => {
                write(&draft.dir.join(GRAPH_FILE), &bytes)?;
                let note = Some(format!("no yields: the timed run failed: {error}"));
                return draft
                    .publish(
                        key,
                        Facts {
                            note,
                            ..Facts::default()
                        },
                    )
                    .map(Some);
            }
        };
        let Some(bytes) = self.rewritten(&model, &timing, rewriting, &draft.dir)? else {
            return self.finish(draft, key, &model, &timing).map(Some);
        };
        let model = Model::read(&bytes)?;
        let rewritten = self.time(&model, &draft.dir)?;
        if rewritten.answer != timing.answer {
            return Ok(None);
        }
        self.finish(draft, key, &model, &rewritten).map(Some)
    }

    /// The graph with its long products split and its pairs made one; `None` if nothing of it was to be done.
    fn rewritten(
        &self,
        model: &Model<'_>,
        timing: &Timing,
        rewriting: Rewriting,
        dir: &Path,
    ) -> Result<Option<Vec<u8>>> {
        if rewriting == Rewriting::Nothing || !self.wants_checkpoints(timing) {
            return Ok(None);
        }
        let splits = split::splits(model, &timing.order, self.options.slice_target_us)?;
        let pairs = rearrange::pairs(model, &timing.order)?;
        if splits.is_empty() && pairs.is_empty() {
            return Ok(None);
        }
        let bytes = model.rewritten(&split::apply(model, &splits, dir)?)?;
        let model = Model::read(&bytes)?;
        Ok(Some(model.rewritten(&rearrange::apply(&model, &pairs)?)?))
    }

    fn wants_checkpoints(&self, timing: &Timing) -> bool {
        let total_us: u64 = timing.order.iter().map(|timed| timed.time_us).sum();
        self.options.yields && total_us > self.options.slice_target_us
    }

    fn finish(&self, draft: Draft, key: &str, model: &Model<'_>, timing: &Timing) -> Result<Entry> {
        let graph = draft.dir.join(GRAPH_FILE);
        let edit = self.edit(model, timing)?;
        write(&graph, &model.rewritten(&edit)?)?;
        let facts = self.facts(model, timing, &graph)?;
        draft.publish(key, facts)
    }

    fn optimise(&self, graph: &Path) -> Result<()> {
        let weights = (self.source.has_external_data() || self.source.bytes > INLINE_WEIGHTS_BYTES_MAX)
            .then_some(WEIGHTS_FILE);
        open(
            self.runtime,
            &self.source.path,
            self.threads,
            Purpose::Optimise { graph, weights },
        )
        .map(drop)
    }

    /// Runs the graph with ONNX Runtime's profiler on.
    fn time(&self, model: &Model<'_>, dir: &Path) -> Result<Timing> {
        let graph = dir.join("timed.onnx");
        write(&graph, &model.rewritten(&plan::with_timed_names(model)?)?)?;
        // Its own session for the attempts, as failed ones would be in the report too.
        let session = open(self.runtime, &graph, self.threads, Purpose::Prepared)?;
        let description = describe(&session, self.source)?;
        let sizes = self.sizes(&session, &description)?;
        let samples = inputs(&description, &sizes)?;
        let answer = self.runner(&session, &description)?.digest(&samples)?;
        let report = dir.join("report");
        let mut session = open(
            self.runtime,
            &graph,
            self.threads,
            Purpose::Profile { report: &report },
        )?;
        self.runner(&session, &description)?
            .repeat(&samples, |run| run())?;
        let report = PathBuf::from(session.end_profiling()?);
        let order = read_report(&report, model.nodes.len())?;
        Ok(Timing {
            description,
            sizes,
            order,
            answer,
        })
    }

    fn runner<'s>(&self, session: &'s Session, description: &Description) -> Result<Runner<'s>> {
        Runner::new(session, description, Clock::for_threads(self.threads))
    }

    /// The first guess at the sizes of dynamic dimensions that the model runs with.
    fn sizes(&self, session: &Session, description: &Description) -> Result<Sizes> {
        let runner = self.runner(session, description)?;
        let mut first_error = None;
        for sizes in Sizes::guesses(&self.options.sample_dims) {
            match inputs(description, &sizes).and_then(|samples| runner.shapes(&samples)) {
                Ok(_) => return Ok(sizes),
                // The first tells most: it is about the sizes that were meant.
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.unwrap_or_else(|| Error::Runtime("no sizes to try".to_owned())))
    }

    fn edit(&self, model: &Model<'_>, timing: &Timing) -> Result<Edit> {
        let order = &timing.order;
        let cuts = if self.wants_checkpoints(timing) {
            plan::cuts(
                model,
                order,
                &timing.description.inputs,
                self.options.slice_target_us,
            )
        } else {
            Vec::new()
        };
        Ok(plan::with_yields(model, order, &cuts)?)
    }

    /// Measures the finished graph.
    fn facts(&self, model: &Model<'_>, timing: &Timing, graph: &Path) -> Result<Facts> {
        let session = open(self.runtime, graph, self.threads, Purpose::Prepared)?;
        let runner = self.runner(&session, &timing.description)?;
        let mut facts = Facts {
            longest_nodes: longest(model, &timing.order),
            ..Facts::default()
        };
        let mut tried = Vec::new();
        let mut budget_ns = PROFILE_BUDGET_MS * 1_000_000;
        for rows in PROFILE_ROWS {
            let Some(run) = self.try_rows(&runner, timing, rows)? else {
                break;
            };
            let samples = inputs(&timing.description, &timing.sizes.with_rows(rows))?;
            let row = measure(&runner, &samples, self.rows_of(&timing.description, rows))?;
            budget_ns = budget_ns.saturating_sub(row.total_ns * RUNS_PER_ROW);
            facts.profile.push(to_row(row));
            tried.push(run);
            // Twice the rows take twice the time, about.
            if !has_rows(&timing.description) || budget_ns < 2 * row.total_ns * RUNS_PER_ROW {
                break;
            }
        }
        if tried.len() == 1 && has_rows(&timing.description) {
            tried.extend(self.try_rows(&runner, timing, 2)?);
        }
        facts.learn(&timing.description, &tried);
        facts.yields = facts.profile.first().map_or(0, |row| row.checkpoints as usize);
        Ok(facts)
    }

    /// Runs once for the shapes; `None` if the model cannot take so many rows.
    fn try_rows(&self, runner: &Runner<'_>, timing: &Timing, rows: i64) -> Result<Option<Tried>> {
        let samples = inputs(&timing.description, &timing.sizes.with_rows(rows))?;
        let Ok(outputs) = runner.shapes(&samples) else {
            return Ok(None);
        };
        Ok(Some(Tried {
            rows,
            inputs: input_shapes(&samples)?,
            outputs,
        }))
    }

    /// What dimension 0 is called in a row of the profile: fixed ones cannot be asked for.
    fn rows_of(&self, description: &Description, rows: i64) -> i64 {
        match description.inputs.first().and_then(|spec| spec.dims.first()) {
            Some(mlos_smi::Dim::Fixed(size)) if !has_rows(description) => *size as i64,
            _ => rows,
        }
    }
}

/// Warm and timed runs, and the one for the shapes.
const RUNS_PER_ROW: u64 = (crate::limits::WARM_RUNS + crate::limits::PROFILE_RUNS + 1) as u64;

/// Whether the graph is rewritten so that it has checkpoints where they cost least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rewriting {
    ForCheckpoints,
    Nothing,
}

struct Timing {
    description: Description,
    sizes: Sizes,
    order: Vec<Timed>,
    /// Digest of the outputs.
    answer: Vec<u8>,
}

/// Shapes of a run.
struct Tried {
    rows: i64,
    inputs: Vec<Option<Shape>>,
    outputs: Vec<Shape>,
}

impl Facts {
    fn learn(&mut self, description: &Description, tried: &[Tried]) {
        let Some(first) = tried.first() else { return };
        self.output_ranks = first.outputs.iter().map(|shape| shape.len()).collect();
        let follows = |run: &Tried| run.outputs.iter().all(|shape| shape.first() == Some(&run.rows));
        self.rows_follow = (tried.len() > 1).then(|| tried.iter().all(follows));
        self.surprising_outputs = (0..description.outputs.len())
            .filter(|index| tried.iter().any(|run| run.surprises(description, *index)))
            .collect();
    }
}

impl Tried {
    /// Whether an output's shape is not what its declaration says.
    fn surprises(&self, description: &Description, index: usize) -> bool {
        let declared = OutputShape::of(&description.outputs[index], description);
        let told = declared.tell(|input| self.inputs.get(input)?.as_deref());
        told.is_some_and(|told| told != self.outputs[index])
    }
}

/// Whether the number of rows can be chosen.
fn has_rows(description: &Description) -> bool {
    let dynamic = |dims: &[mlos_smi::Dim]| matches!(dims.first(), Some(mlos_smi::Dim::Dynamic(_)));
    description.inputs.iter().any(|spec| dynamic(&spec.dims))
}

fn input_shapes(samples: &[Option<Sample>]) -> Result<Vec<Option<Shape>>> {
    let shape = |sample: &Option<Sample>| match sample {
        Some(sample) => sample.value.description().map(|(_, shape)| Some(shape.into())),
        None => Ok(None),
    };
    samples.iter().map(shape).collect()
}

fn longest(model: &Model<'_>, order: &[Timed]) -> Vec<(String, u64)> {
    let mut order = order.to_vec();
    order.sort_by_key(|timed| std::cmp::Reverse(timed.time_us));
    order.truncate(LONGEST_NODES_KEPT);
    order
        .iter()
        .map(|timed| (model.nodes[timed.node].op_type.to_owned(), timed.time_us))
        .collect()
}

fn to_row(row: SliceProfile) -> ProfileRow {
    ProfileRow {
        rows: row.rows,
        total_ns: row.total_ns,
        longest_slice_ns: row.longest_slice_ns,
        checkpoints: row.checkpoints,
    }
}

fn read_graph(path: &Path) -> Result<Vec<u8>> {
    let failed = |source| Error::io(path, source);
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > PREPARED_GRAPH_BYTES_MAX {
        return Err(Error::Runtime(format!(
            "the optimised graph has {bytes} bytes without its weights"
        )));
    }
    std::fs::read(path).map_err(failed)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(|source| Error::io(path, source))
}
