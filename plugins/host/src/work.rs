use crate::error::Error;
use crate::input;
use crate::model::Model;
use crate::output::{Output, Part};
use mlos_tensor_mem::{DType, Tensor};
use std::fmt;
use std::ops::Range;

/// Which outputs a work is to produce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outputs<'a> {
    /// All that the model has.
    All,
    /// These, by index.
    Only(&'a [usize]),
}

/// One job: its inputs, and what has been produced of its outputs so far. It may be run in several
/// [`Call`](crate::Call)s, one part of its rows after the other, and is handed from one to the next.
pub struct Work {
    model: Model,
    inputs: Vec<Option<Tensor>>,
    pub(crate) outputs: Vec<Output>,
    /// Rows of the whole, if it can be split.
    rows: Option<usize>,
    rows_done: usize,
    done: bool,
}

impl Work {
    /// Checks the inputs, in the order of the model's description and `None` for one that is left out, and makes
    /// a work of them.
    ///
    /// # Errors
    /// [`Error::Input`], [`Error::Request`].
    pub fn new(model: &Model, inputs: Vec<Option<Tensor>>, outputs: Outputs<'_>) -> Result<Self, Error> {
        let info = model.info();
        if inputs.len() != info.inputs.len() {
            let problem = format!(
                "{} inputs are given, the model has {}",
                inputs.len(),
                info.inputs.len()
            );
            return Err(Error::Request { problem });
        }
        for (spec, given) in info.inputs.iter().zip(&inputs) {
            input::check(spec, given.as_ref())?;
        }
        let rows = info
            .rows_independent
            .then(|| input::common_rows(&info.inputs, &inputs))
            .transpose()?;
        let outputs = wanted(info.outputs.len(), outputs)?;
        Ok(Self {
            model: model.clone(),
            inputs,
            outputs,
            rows,
            rows_done: 0,
            done: false,
        })
    }

    /// The model that it is for.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The inputs.
    pub fn inputs(&self) -> &[Option<Tensor>] {
        &self.inputs
    }

    /// How many rows it has, if it may be run in parts.
    pub fn rows(&self) -> Option<usize> {
        self.rows
    }

    /// How many rows have been run; the next part starts here.
    pub fn rows_done(&self) -> usize {
        self.rows_done
    }

    /// Whether everything has been run.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The produced outputs with their indices, ascending.
    ///
    /// # Errors
    /// [`Error::Request`] if not everything has been run; [`Error::Output`] if a text output is malformed.
    pub fn into_outputs(mut self) -> Result<Vec<(usize, Tensor)>, Error> {
        if !self.is_done() {
            let problem = format!(
                "the work is not done: {} rows of {:?} have been run",
                self.rows_done, self.rows
            );
            return Err(Error::Request { problem });
        }
        let mut finished = Vec::with_capacity(self.outputs.len());
        for (index, output) in self
            .outputs
            .iter_mut()
            .enumerate()
            .filter(|(_, output)| output.wanted)
        {
            // SAFETY: is_done: for every part the plugin returned SMI_OK after it had asked for this output's
            // memory, which is its word that it has written all of it.
            let Some(tensor) = (unsafe { output.finish() }) else {
                continue;
            };
            if tensor.dtype() == DType::String {
                tensor
                    .strings()
                    .map_err(|e| self.model.output_error(index, e.to_string()))?;
            }
            finished.push((index, tensor));
        }
        Ok(finished)
    }

    /// The part that `rows` names, if it is the next one; without a name, the rest. `None`: there are no rows to count.
    pub(crate) fn part(&self, rows: Option<Range<usize>>) -> Result<Option<Part>, Error> {
        let refuse = |problem: String| Err(Error::Request { problem });
        if self.is_done() {
            return refuse("the work is done already".into());
        }
        let Some(total) = self.rows else {
            return rows.map_or(Ok(None), |_| refuse("the model's batch cannot be split".into()));
        };
        let rows = rows.unwrap_or(self.rows_done..total);
        let is_next = rows.start == self.rows_done && rows.end <= total;
        if !is_next || (rows.is_empty() && total > 0) {
            let done = self.rows_done;
            return refuse(format!(
                "part {rows:?} does not follow the {done} rows done of {total}"
            ));
        }
        Ok(Some(Part { rows, total }))
    }

    /// The plugin has returned success for a part.
    pub(crate) fn complete(&mut self, part: Option<&Part>) {
        self.outputs.iter_mut().for_each(Output::discard_unwanted);
        self.rows_done = part.map_or(0, |part| part.rows.end);
        self.done = part.is_none_or(|part| part.rows.end == part.total);
    }
}

fn wanted(count: usize, outputs: Outputs<'_>) -> Result<Vec<Output>, Error> {
    let all = outputs == Outputs::All;
    let mut list: Vec<Output> = (0..count).map(|_| Output::new(all)).collect();
    if let Outputs::Only(indices) = outputs {
        for &index in indices {
            let problem = || format!("output {index} is asked for, the model has {count}");
            list.get_mut(index)
                .ok_or_else(|| Error::Request { problem: problem() })?
                .wanted = true;
        }
    }
    Ok(list)
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work")
            .field("inputs", &self.inputs)
            .field("rows", &self.rows)
            .field("rows_done", &self.rows_done)
            .finish_non_exhaustive()
    }
}
