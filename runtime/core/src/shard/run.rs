//! One run of a graph: a job, a part of one, or several jobs joined.

use std::ops::Range;
use std::rc::Rc;

use mlos_plugin_host::{Call, Error as PluginError, Finished, Gate, Outputs, Step, Work};
use mlos_scheduler::Member;
use mlos_tensor_mem::{Error as TensorError, Pool, Tensor};
use smallvec::{SmallVec, smallvec};

/// Outputs with their indices, ascending.
pub(crate) type OutputTensors = Vec<(usize, Tensor)>;

/// What a thread is given to run.
#[derive(Debug)]
pub(crate) enum Load {
    /// One job, or these of its rows.
    One(Work, Option<Range<usize>>),
    /// Whole jobs, side by side in one batch, with the rows of each.
    Joined(Vec<(Work, usize)>),
}

/// What the front knows of a run that a thread has, or that is set aside on it.
#[derive(Debug)]
pub(crate) struct Run {
    /// Distinguishes it from every other run of the shard.
    pub seq: u64,
    pub members: SmallVec<[Member; 1]>,
    /// To be stopped at its next checkpoint.
    pub cancelled: bool,
}

/// A run on the thread that computes it.
pub(crate) struct Running {
    pub seq: u64,
    call: Call,
    joined: Vec<(Work, usize)>,
}

/// What became of a run.
pub(crate) enum Progress {
    /// It stands at a checkpoint.
    Suspended(Running),
    /// It is over.
    Ended(Ended),
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The work of each member, and its outputs where they are not in the work itself.
    pub members: SmallVec<[(Work, Option<OutputTensors>); 1]>,
    pub result: Result<(), PluginError>,
    pub compute_ns: u64,
    pub longest_slice_ns: u64,
}

impl Ended {
    /// The end of a run of one job, or of rows of it.
    pub fn of_one(finished: Finished) -> Self {
        Self {
            members: smallvec![(finished.work, None)],
            result: finished.result,
            compute_ns: finished.compute_ns,
            longest_slice_ns: finished.longest_slice_ns,
        }
    }
}

impl Running {
    /// Prepares a run on this thread. Joined inputs are gathered here, by the thread that runs them.
    pub fn start(seq: u64, load: Load, pool: &Pool, gate: Rc<dyn Gate>) -> Result<Self, Box<Ended>> {
        match load {
            Load::One(work, rows) => Ok(Self {
                seq,
                call: Call::start(work, rows, pool, gate),
                joined: vec![],
            }),
            Load::Joined(joined) => match gather(&joined, pool) {
                Ok(work) => Ok(Self {
                    seq,
                    call: Call::start(work, None, pool, gate),
                    joined,
                }),
                Err(error) => Err(Box::new(Ended {
                    members: joined.into_iter().map(|(work, _)| (work, None)).collect(),
                    result: Err(error),
                    compute_ns: 0,
                    longest_slice_ns: 0,
                })),
            },
        }
    }

    /// Runs until the gate suspends it or it is over.
    pub fn resume(mut self) -> Progress {
        match self.call.resume() {
            Step::Suspended => Progress::Suspended(self),
            Step::Done(finished) => Progress::Ended(self.end(finished)),
        }
    }

    fn end(self, finished: Finished) -> Ended {
        if self.joined.is_empty() {
            return Ended::of_one(finished);
        }
        let Finished {
            work,
            mut result,
            compute_ns,
            longest_slice_ns,
            ..
        } = finished;
        let mut outputs: OutputTensors = vec![];
        if result.is_ok() {
            match work.into_outputs() {
                Ok(made) => outputs = made,
                Err(error) => result = Err(error),
            }
        }
        let mut members = SmallVec::new();
        let mut first = 0;
        for (work, rows) in self.joined {
            match scatter(&outputs, first..first + rows) {
                Ok(own) => members.push((work, Some(own))),
                Err(error) => {
                    result = result.and(Err(error));
                    members.push((work, None));
                }
            }
            first += rows;
        }
        Ended {
            members,
            result,
            compute_ns,
            longest_slice_ns,
        }
    }
}

/// Concatenates each input of the members along dimension 0.
fn gather(members: &[(Work, usize)], pool: &Pool) -> Result<Work, PluginError> {
    let Some((first, _)) = members.first() else {
        unreachable!("the policy joins two jobs or more");
    };
    let model = first.model();
    let inputs = (0..model.info().inputs.len())
        .map(|input| {
            gather_one(
                members
                    .iter()
                    .filter_map(|(work, _)| work.inputs()[input].as_ref()),
                pool,
            )
        })
        .collect::<Result<Vec<_>, _>>()?;
    Work::new(model, inputs, Outputs::All)
}

fn gather_one<'a>(
    parts: impl Iterator<Item = &'a Tensor> + Clone,
    pool: &Pool,
) -> Result<Option<Tensor>, PluginError> {
    let Some(first) = parts.clone().next() else {
        return Ok(None);
    };
    let rows = parts
        .clone()
        .map(|part| part.shape().dims().first().copied().unwrap_or(1))
        .sum();
    let bytes = parts.clone().map(Tensor::byte_len).sum();
    let mut gathered = pool
        .loan_bytes(first.dtype(), first.shape().with_dim0(rows), bytes)?
        .byte_writer();
    for part in parts {
        gathered.extend_from_tensor(part).map_err(TensorError::from)?;
    }
    Ok(Some(gathered.finish()?.freeze()))
}

/// These rows of each output, without a copy.
fn scatter(outputs: &[(usize, Tensor)], rows: Range<usize>) -> Result<OutputTensors, PluginError> {
    outputs
        .iter()
        .map(|(index, tensor)| Ok((*index, tensor.rows(rows.clone())?)))
        .collect()
}
