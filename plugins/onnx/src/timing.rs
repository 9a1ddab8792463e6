//! How long a model's nodes, and the slices between its checkpoints, take.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use mlos_smi::{DType, Description, SliceProfile};
use ort::session::Session;
use ort::sys::ONNXTensorElementDataType as ElementType;
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use crate::dtype;
use crate::error::{Error, Result};
use crate::limits::{PROFILE_BUDGET_MS, PROFILE_RUNS, WARM_RUNS};
use crate::sample::Sample;
use crate::sys::{Names, Ports, Shape, Value};
use crate::yield_op::{Checkpoint, with_checkpoint};

/// Runs a session on made-up inputs, all outputs asked for, in memory of ONNX Runtime.
pub(crate) struct Runner<'a> {
    session: &'a Session,
    inputs: Names,
    outputs: Names,
    output_count: usize,
    clock: Clock,
}

/// What times are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// The thread's own time, which other load does not change. Right while one thread does all the work.
    Thread,
    /// Time as it passes.
    Wall,
}

impl Clock {
    /// The right one for a session.
    pub fn for_threads(threads: u32) -> Self {
        if threads > 1 { Self::Wall } else { Self::Thread }
    }

    fn now_ns(self) -> u64 {
        let time = clock_gettime(match self {
            Self::Thread => ClockId::ThreadCPUTime,
            Self::Wall => ClockId::Monotonic,
        });
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

impl<'a> Runner<'a> {
    pub fn new(session: &'a Session, description: &Description, clock: Clock) -> Result<Self> {
        Ok(Self {
            session,
            clock,
            inputs: Names::new(description.inputs.iter().map(|spec| spec.name.as_str()))?,
            outputs: Names::new(description.outputs.iter().map(|spec| spec.name.as_str()))?,
            output_count: description.outputs.len(),
        })
    }

    pub fn run(&self, samples: &[Option<Sample>]) -> Result<SmallVec<[Option<Value>; 8]>> {
        let mut ports = Ports::default();
        for (index, sample) in samples.iter().enumerate() {
            if let Some(sample) = sample {
                ports.input(&self.inputs, index, &sample.value);
            }
        }
        for index in 0..self.output_count {
            ports.output(&self.outputs, index, None);
        }
        ports.run(self.session)
    }

    /// Shapes of all outputs.
    pub fn shapes(&self, samples: &[Option<Sample>]) -> Result<Vec<Shape>> {
        let values = self.run(samples)?;
        values
            .iter()
            .flatten()
            .map(|value| Ok(value.description()?.1.into()))
            .collect()
    }

    /// A digest of all outputs; texts count by their shape only.
    pub fn digest(&self, samples: &[Option<Sample>]) -> Result<Vec<u8>> {
        let mut digest = Sha256::new();
        for value in self.run(samples)?.iter().flatten() {
            let (element, shape) = value.description()?;
            shape.iter().for_each(|size| digest.update(size.to_le_bytes()));
            if element != ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING {
                digest.update(value.bytes()?);
            }
        }
        Ok(digest.finalize().to_vec())
    }

    /// Warms up, then runs until there are enough runs or the time is over.
    pub fn repeat(
        &self,
        samples: &[Option<Sample>],
        mut each: impl FnMut(&dyn Fn() -> Result<()>) -> Result<()>,
    ) -> Result<usize> {
        let run = || self.run(samples).map(drop);
        let begun = Instant::now();
        for _ in 0..WARM_RUNS {
            run()?;
        }
        let mut runs = 0;
        while runs < PROFILE_RUNS && (runs == 0 || begun.elapsed() < Duration::from_millis(PROFILE_BUDGET_MS))
        {
            each(&run)?;
            runs += 1;
        }
        Ok(runs)
    }
}

/// Time between checkpoints, as a checkpoint sees it.
struct GapRecorder {
    clock: Clock,
    last_ns: Cell<u64>,
    gaps_ns: RefCell<Vec<u64>>,
}

impl GapRecorder {
    fn start(clock: Clock) -> Self {
        Self {
            clock,
            last_ns: Cell::new(clock.now_ns()),
            gaps_ns: RefCell::default(),
        }
    }

    fn lap(&self) {
        let now_ns = self.clock.now_ns();
        let last_ns = self.last_ns.replace(now_ns);
        self.gaps_ns.borrow_mut().push(now_ns.saturating_sub(last_ns));
    }
}

impl Checkpoint for GapRecorder {
    fn checkpoint(&self) -> ControlFlow<()> {
        self.lap();
        ControlFlow::Continue(())
    }
}

/// Lengths of the slices of one run, in order.
pub(crate) fn slices(clock: Clock, run: &dyn Fn() -> Result<()>) -> Result<Vec<u64>> {
    let recorder = GapRecorder::start(clock);
    with_checkpoint(&recorder, run)?;
    recorder.lap();
    Ok(recorder.gaps_ns.into_inner())
}

/// Measures a session at one size: the median over runs of the total and of the longest slice.
pub(crate) fn measure(runner: &Runner<'_>, samples: &[Option<Sample>], rows: i64) -> Result<SliceProfile> {
    let (mut totals, mut longest, mut checkpoints) = (Vec::new(), Vec::new(), 0);
    runner.repeat(samples, |run| {
        let gaps = slices(runner.clock, run)?;
        totals.push(gaps.iter().sum());
        longest.push(gaps.iter().copied().max().unwrap_or(0));
        checkpoints = gaps.len() as u64 - 1;
        Ok(())
    })?;
    Ok(SliceProfile {
        rows: rows as u64,
        total_ns: median(totals),
        longest_slice_ns: median(longest),
        checkpoints,
    })
}

pub(crate) fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// A node in the order of execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Timed {
    /// Its number in the graph.
    pub node: usize,
    pub time_us: u64,
    /// Types of what it made, without what was left out; `None` for those that the interface does not know.
    pub outputs: Vec<Option<DType>>,
}

const TIMED_PREFIX: &str = "mlos_node_";

/// The name that a node gets for the timed run, by which its events are found again.
pub(crate) fn timed_name(node: usize) -> String {
    format!("{TIMED_PREFIX}{node}")
}

#[derive(Deserialize)]
struct Event {
    cat: String,
    name: String,
    ts: u64,
    dur: u64,
    #[serde(default)]
    args: Arguments,
}

#[derive(Default, Deserialize)]
struct Arguments {
    #[serde(default)]
    output_type_shape: Vec<HashMap<String, Vec<i64>>>,
}

/// Reads ONNX Runtime's report of a graph whose nodes have timed names: the nodes as the last run executed them, each
/// with its shortest time over the runs that were not warming up.
pub(crate) fn read_report(path: &Path, node_count: usize) -> Result<Vec<Timed>> {
    let text = std::fs::read(path).map_err(|source| Error::io(path, source))?;
    let events: Vec<Event> =
        serde_json::from_slice(&text).map_err(|error| Error::Runtime(format!("profile report: {error}")))?;
    let mut by_node: HashMap<usize, Vec<Event>> = HashMap::new();
    for event in events.into_iter().filter(|event| event.cat == "Node") {
        let node = event
            .name
            .strip_prefix(TIMED_PREFIX)
            .and_then(|rest| rest.strip_suffix("_kernel_time"));
        if let Some(Ok(node)) = node.map(str::parse) {
            by_node.entry(node).or_default().push(event);
        }
    }
    if by_node.len() != node_count {
        return Err(Error::Runtime(format!(
            "{} of {node_count} nodes are in the profile report",
            by_node.len()
        )));
    }
    let mut nodes: Vec<(u64, Timed)> = by_node
        .into_iter()
        .filter_map(|(node, runs)| timed(node, runs))
        .collect();
    nodes.sort_by_key(|(ts, timed)| (*ts, timed.node));
    Ok(nodes.into_iter().map(|(_, timed)| timed).collect())
}

/// A node and when it began last.
fn timed(node: usize, mut runs: Vec<Event>) -> Option<(u64, Timed)> {
    runs.sort_by_key(|run| run.ts);
    // Times in the report are wall times: the shortest is the one least disturbed by other load.
    let time_us = runs.iter().skip(WARM_RUNS).map(|run| run.dur).min().unwrap_or(0);
    let last = runs.pop()?;
    // Each tensor is a map of one entry, from its type to its shape.
    let dtype =
        |tensor: &HashMap<String, Vec<i64>>| tensor.keys().next().and_then(|name| dtype::from_report(name));
    let outputs = last.args.output_type_shape.iter().map(dtype).collect();
    Some((
        last.ts,
        Timed {
            node,
            time_us,
            outputs,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_gives_order_and_shortest_times() {
        let event = |node: usize, ts: u64, dur: u64| {
            let args = serde_json::json!({"output_type_shape": [{"float": [1, node]}]});
            let name = format!("{}_kernel_time", timed_name(node));
            serde_json::json!({"cat": "Node", "ph": "X", "name": name, "ts": ts, "dur": dur, "args": args})
        };
        // Warm run, then three; node 1 runs before node 0.
        let nodes = (0..4).flat_map(|run| {
            [
                event(1, run * 100, [90, 5, 7, 6][run as usize]),
                event(0, run * 100 + 50, 20 + run),
            ]
        });
        let session = serde_json::json!({"cat": "Session", "name": "model_run", "ts": 0, "dur": 1});
        let events: Vec<_> = nodes.chain([session]).collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.json");
        std::fs::write(&path, serde_json::to_vec(&events).unwrap()).unwrap();
        let timed = |node, time_us| Timed {
            node,
            time_us,
            outputs: vec![Some(DType::F32)],
        };
        let expect = vec![timed(1, 5), timed(0, 21)];
        assert_eq!(read_report(&path, 2).unwrap(), expect);
        assert!(read_report(&path, 3).is_err());
    }
}
