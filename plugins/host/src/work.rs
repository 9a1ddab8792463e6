use crate::error::Error;
use crate::input;
use crate::model::Model;
use crate::output::{Output, Part};
use mlos_tensor_mem::{Pool, Region, Shape, Tensor};
use std::fmt;
use std::ops::Range;

/// Which outputs a work is to produce, and where.
#[derive(Debug, Clone, Copy)]
pub enum Outputs<'a> {
    /// All that the model has.
    All,
    /// These, by index.
    Only(&'a [usize]),
    /// Those for which memory is given, one entry for each that the model has. An output may have any shape that the model
    /// declares and the memory has room for.
    Into(&'a [Option<Region>]),
}

/// One job: its inputs, and what has been produced of its outputs so far. It may be run in several
/// [`Call`](crate::Call)s, one part of its rows after the other, and is handed from one to the next.
///
/// **In memory of another process.** Inputs may be shared tensors ([`Tensor::over`]), and outputs may go to a [`Region`]
/// ([`Outputs::Into`]). The plugin then works on them where they lie, except for element types by which engines find
/// their way (indices, sizes, conditions, text): those are copied, so that the other process cannot change them between
/// their check and their use. A work over such memory is made once and run often: [`again`](Self::again).
pub struct Work(Box<Parts>);

/// In a box, since a work passes through many hands: queues, threads, calls.
pub(crate) struct Parts {
    pub(crate) model: Model,
    pub(crate) inputs: Vec<Option<Tensor>>,
    pub(crate) outputs: Vec<Output>,
    /// Where memory comes from; kept from call to call, as taking a share is an atomic operation.
    pub(crate) pool: Option<Pool>,
    /// Rows of the whole, if it can be split.
    rows: Option<usize>,
    rows_done: usize,
    done: bool,
    /// Of the outputs, as of the last run: kept from run to run, since they are seldom others.
    shapes: Vec<Option<Shape>>,
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
        Ok(Self(Box::new(Parts {
            model: model.clone(),
            inputs,
            outputs,
            pool: None,
            rows,
            rows_done: 0,
            done: false,
            shapes: vec![None; info.outputs.len()],
        })))
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.0
    }

    /// A call begins, with memory from this pool.
    pub(crate) fn begin(&mut self, pool: &Pool) {
        self.0.outputs.iter_mut().for_each(Output::begin);
        if !self.0.pool.as_ref().is_some_and(|known| known.is_same(pool)) {
            self.0.pool = Some(pool.clone());
        }
    }

    pub(crate) fn parts_mut(&mut self) -> &mut Parts {
        &mut self.0
    }

    /// The model that it is for.
    pub fn model(&self) -> &Model {
        &self.0.model
    }

    /// The inputs.
    pub fn inputs(&self) -> &[Option<Tensor>] {
        &self.0.inputs
    }

    /// How many rows it has, if it may be run in parts.
    pub fn rows(&self) -> Option<usize> {
        self.0.rows
    }

    /// How many rows have been run; the next part starts here.
    pub fn rows_done(&self) -> usize {
        self.0.rows_done
    }

    /// Whether everything has been run.
    pub fn is_done(&self) -> bool {
        self.0.done
    }

    /// Makes it as if it had not been run: the same inputs, whatever they hold now, and the same memory for outputs.
    /// Allocates nothing; and neither does a call of it.
    pub fn again(&mut self) {
        self.0.outputs.iter_mut().for_each(Output::forget);
        self.0.rows_done = 0;
        self.0.done = false;
    }

    /// The shape of an output and its length in bytes, once everything has been run; `None` for one that was not wanted
    /// or has been taken.
    pub fn extent(&self, output: usize) -> Option<(Shape, usize)> {
        let extent = self.0.outputs.get(output).and_then(Output::extent);
        extent
            .filter(|_| self.0.done)
            .map(|(shape, byte_len)| (*shape, byte_len))
    }

    /// The shapes of all outputs, once everything has been run; `None` for one that was not wanted. Before that, what they
    /// were when it was run last.
    pub fn shapes(&self) -> &[Option<Shape>] {
        &self.0.shapes
    }

    /// Takes outputs that were computed together with those of other works, and is then done. They are copied to the
    /// memory that was given for them, if any was.
    ///
    /// # Errors
    /// [`Error::Output`] if a wanted one is missing, [`Error::OutputSpace`] if the memory given is too small. It may be run again then.
    pub fn accept(&mut self, made: &[(usize, Tensor)]) -> Result<(), Error> {
        let Parts { model, outputs, .. } = &mut *self.0;
        for (index, output) in outputs.iter_mut().enumerate().filter(|(_, output)| output.wanted) {
            let tensor = made.iter().find(|(made, _)| *made == index);
            let Some((_, tensor)) = tensor else {
                return Err(model.output_error(index, "was not produced".into()));
            };
            output
                .accept(tensor)
                .map_err(|refusal| model.output_refused(index, refusal))?;
        }
        self.0.rows_done = self.0.rows.unwrap_or(0);
        self.0.end();
        Ok(())
    }

    /// The produced outputs with their indices, ascending. Those in memory that was given are shared tensors.
    ///
    /// # Errors
    /// [`Error::Request`] if not everything has been run.
    pub fn into_outputs(mut self) -> Result<Vec<(usize, Tensor)>, Error> {
        if !self.is_done() {
            let problem = format!(
                "the work is not done: {} rows of {:?} have been run",
                self.0.rows_done, self.0.rows
            );
            return Err(Error::Request { problem });
        }
        let mut finished = Vec::with_capacity(self.0.outputs.len());
        for (index, output) in self.0.outputs.iter_mut().enumerate() {
            finished.extend(output.finish()?.map(|tensor| (index, tensor)));
        }
        Ok(finished)
    }

    /// The part that `rows` names, if it is the next one; without a name, the rest. `None`: there are no rows to count.
    #[inline]
    pub(crate) fn part(&self, rows: Option<Range<usize>>) -> Result<Option<Part>, Error> {
        let refuse = |problem: String| Err(Error::Request { problem });
        if self.is_done() {
            return refuse("the work is done already".into());
        }
        let Some(total) = self.0.rows else {
            return rows.map_or(Ok(None), |_| refuse("the model's batch cannot be split".into()));
        };
        let rows = rows.unwrap_or(self.0.rows_done..total);
        let is_next = rows.start == self.0.rows_done && rows.end <= total;
        if !is_next || (rows.is_empty() && total > 0) {
            let done = self.0.rows_done;
            return refuse(format!(
                "part {rows:?} does not follow the {done} rows done of {total}"
            ));
        }
        Ok(Some(Part { rows, total }))
    }

    /// The plugin has returned success for a part.
    ///
    /// # Safety
    /// It has, having asked for the memory of every wanted output: its word that it has written all of it.
    pub(crate) unsafe fn complete(&mut self, part: Option<&Part>) -> Result<(), Error> {
        if part.is_none_or(|part| part.rows.end == part.total) {
            for (index, output) in self.0.outputs.iter_mut().enumerate() {
                // SAFETY: the caller's promise, for this part and for all before it.
                unsafe { output.settle() }.map_err(|problem| self.0.model.output_error(index, problem))?;
            }
            self.0.end();
        }
        self.0.rows_done = part.map_or(0, |part| part.rows.end);
        Ok(())
    }
}

impl Parts {
    /// Everything has been run.
    fn end(&mut self) {
        self.done = true;
        for (known, output) in self.shapes.iter_mut().zip(&self.outputs) {
            let shape = output.extent().map(|(shape, _)| shape);
            if known.as_ref() != shape {
                *known = shape.copied();
            }
        }
    }
}

fn wanted(count: usize, outputs: Outputs<'_>) -> Result<Vec<Output>, Error> {
    let refuse = |problem| Err(Error::Request { problem });
    match outputs {
        Outputs::All => Ok((0..count).map(|_| Output::wanted()).collect()),
        Outputs::Only(indices) => {
            let mut list: Vec<Output> = (0..count).map(|_| Output::default()).collect();
            for &index in indices {
                let Some(output) = list.get_mut(index) else {
                    return refuse(format!("output {index} is asked for, the model has {count}"));
                };
                output.wanted = true;
            }
            Ok(list)
        }
        Outputs::Into(given) if given.len() == count => {
            let output =
                |given: &Option<Region>| given.clone().map_or_else(Output::default, Output::into_memory);
            Ok(given.iter().map(output).collect())
        }
        Outputs::Into(given) => refuse(format!(
            "memory for {} outputs is given, the model has {count}",
            given.len()
        )),
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work")
            .field("inputs", &self.0.inputs)
            .field("rows", &self.0.rows)
            .field("rows_done", &self.0.rows_done)
            .finish_non_exhaustive()
    }
}
