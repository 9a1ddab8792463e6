use crate::clock::now_ns;
use crate::error::Error;
use crate::gate::{Checkpoint, Gate, Verdict};
use crate::input::Views;
use crate::model::Model;
use crate::output::{Demand, Part, Refusal};
use crate::stack::PooledStack;
use crate::table::while_running;
use crate::work::Work;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use mlos_smi::{Status, abi};
use mlos_tensor_mem::Pool;
use smallvec::SmallVec;
use std::cell::{Cell, RefCell, UnsafeCell};
use std::fmt;
use std::ops::Range;
use std::ptr;
use std::rc::Rc;

/// A work, or a part of it, on its way through a plugin, on a stack of its own.
///
/// It stays on the thread that started it (it is `!Send`). Between two calls of [`resume`](Self::resume) other calls may be
/// started, resumed and finished on the thread, in any order, of the same model too if it is re-entrant. Dropping it
/// cancels it: the plugin runs on until it has released what it holds and returned, so that may take until its
/// next checkpoint.
pub struct Call(Phase);

enum Phase {
    /// It could not be started; the first `resume` says why.
    Refused(Box<(Work, Error)>),
    /// It can be resumed.
    Running(Running),
    Over,
}

/// What became of a [`Call::resume`].
#[derive(Debug)]
pub enum Step {
    /// The gate said [`Verdict::Suspend`]; resume it later.
    Suspended,
    /// It is over; it must not be resumed again.
    Done(Finished),
}

/// The end of a call.
#[derive(Debug)]
pub struct Finished {
    /// With the outputs of this part, if the result is `Ok`. After an error it is as before the call: the
    /// same part may be run again.
    pub work: Work,
    /// What became of it.
    pub result: Result<(), Error>,
    /// Time in the plugin, without the suspensions.
    pub compute_ns: u64,
    /// The longest time between two of: start or resumption, checkpoint, end.
    pub longest_slice_ns: u64,
    /// Checkpoints reached.
    pub checkpoints: u64,
}

impl Call {
    /// Makes a call of `work`, or of the part `rows` of it, which must follow the parts run before. Nothing runs
    /// until [`resume`](Self::resume), which also reports a call that cannot be started.
    ///
    /// Memory for outputs comes from `pool`.
    pub fn start(work: Work, rows: Option<Range<usize>>, pool: &Pool, gate: Rc<dyn Gate>) -> Self {
        Self(match Running::new(work, rows, pool, gate) {
            Ok(running) => Phase::Running(running),
            Err(refused) => Phase::Refused(refused),
        })
    }

    /// Runs it until it is suspended or over.
    ///
    /// # Panics
    /// If it was over before.
    pub fn resume(&mut self) -> Step {
        match std::mem::replace(&mut self.0, Phase::Over) {
            Phase::Running(mut running) => match running.resume() {
                None => {
                    self.0 = Phase::Running(running);
                    Step::Suspended
                }
                Some(code) => Step::Done(running.finish(code)),
            },
            Phase::Refused(refused) => {
                let (work, error) = *refused;
                Step::Done(Finished {
                    work,
                    result: Err(error),
                    compute_ns: 0,
                    longest_slice_ns: 0,
                    checkpoints: 0,
                })
            }
            Phase::Over => panic!("a finished call was resumed"),
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Phase::Refused(_) => "Call(refused)",
            Phase::Running(_) => "Call(running)",
            Phase::Over => "Call(over)",
        })
    }
}

/// A call that holds a stack and, if it needs one, the right to run its model.
struct Running {
    /// Dropped before the state that its stack points to.
    coroutine: Coroutine<(), (), i32, PooledStack>,
    state: StatePtr,
}

/// Owner of a call's state, at an address that plugin and coroutine know. Not a `Box`: moving one would claim that
/// nobody else has the address.
struct StatePtr(*mut State);

impl StatePtr {
    fn get(&self) -> &State {
        // SAFETY: made by Box::into_raw, freed in drop only; all changes go through cells.
        unsafe { &*self.0 }
    }
}

impl Drop for StatePtr {
    fn drop(&mut self) {
        // SAFETY: made by Box::into_raw; the coroutine, its only other user, is over or was never resumed.
        let state = unsafe { Box::from_raw(self.0) };
        state.model.end();
    }
}

/// Everything that the plugin's callbacks touch.
pub(crate) struct State {
    model: Model,
    pool: Pool,
    gate: Rc<dyn Gate>,
    part: Option<Part>,
    work: RefCell<Option<Work>>,
    views: Views,
    outputs_wanted: SmallVec<[u8; 8]>,
    /// What the plugin's pointer leads to; written before the first resume only.
    abi: UnsafeCell<abi::Call>,
    /// The way back to `resume`, while the coroutine lives.
    yielder: Cell<*const Yielder<(), ()>>,
    cancelled: Cell<bool>,
    times: Times,
    error_text: Cell<Option<String>>,
    refusal: Cell<Option<Error>>,
}

#[derive(Default)]
struct Times {
    resumed_ns: Cell<u64>,
    mark_ns: Cell<u64>,
    compute_ns: Cell<u64>,
    longest_slice_ns: Cell<u64>,
    checkpoints: Cell<u64>,
}

impl Times {
    fn resume(&self) {
        let now = now_ns();
        self.resumed_ns.set(now);
        self.mark_ns.set(now);
    }

    /// Ends a slice and says where the call stands.
    fn mark(&self) -> Checkpoint {
        let now = now_ns();
        let slice_ns = now.saturating_sub(self.mark_ns.replace(now));
        self.longest_slice_ns
            .set(self.longest_slice_ns.get().max(slice_ns));
        Checkpoint {
            elapsed_ns: now.saturating_sub(self.resumed_ns.get()),
            slice_ns,
        }
    }

    /// Leaves the plugin: the time since the resumption was its own.
    fn pause(&self) {
        let own_ns = self.mark_ns.get().saturating_sub(self.resumed_ns.get());
        self.compute_ns.set(self.compute_ns.get() + own_ns);
    }
}

impl Running {
    fn new(
        mut work: Work,
        rows: Option<Range<usize>>,
        pool: &Pool,
        gate: Rc<dyn Gate>,
    ) -> Result<Self, Box<(Work, Error)>> {
        let ready = work.part(rows).and_then(|part| {
            let rows = part
                .as_ref()
                .filter(|part| part.rows.len() < part.total)
                .map(|part| &part.rows);
            let views = Views::cut(work.inputs(), rows)?;
            let stack = PooledStack::take()?;
            work.model().begin()?;
            Ok((part, views, stack))
        });
        let (part, views, stack) = match ready {
            Ok(ready) => ready,
            Err(error) => return Err(Box::new((work, error))),
        };
        work.outputs.iter_mut().for_each(|output| output.begin());
        let state = State::place(work, part, views, pool.clone(), gate);
        Ok(Self {
            coroutine: coroutine(stack, state.0),
            state,
        })
    }

    /// The plugin's status, once it has returned.
    fn resume(&mut self) -> Option<i32> {
        let state = self.state.get();
        state.times.resume();
        match while_running(state, || self.coroutine.resume(())) {
            CoroutineResult::Yield(()) => None,
            CoroutineResult::Return(code) => {
                state.times.mark();
                state.times.pause();
                Some(code)
            }
        }
    }

    fn finish(self, code: i32) -> Finished {
        let state = self.state.get();
        let mut work = state.work.take().expect("the work is there until the call ends");
        let result = state.judge(code, &work);
        if result.is_ok() {
            work.complete(state.part.as_ref());
        }
        Finished {
            work,
            result,
            compute_ns: state.times.compute_ns.get(),
            longest_slice_ns: state.times.longest_slice_ns.get(),
            checkpoints: state.times.checkpoints.get(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.coroutine.started() || self.coroutine.done() {
            return;
        }
        // The plugin's frames may be C, which cannot be unwound: it is told to give up and returns by itself. It is
        // not suspended again, so one resumption is enough.
        self.state.get().cancelled.set(true);
        let code = self.resume();
        debug_assert!(code.is_some(), "a cancelled call does not suspend");
    }
}

fn coroutine(stack: PooledStack, state: *mut State) -> Coroutine<(), (), i32, PooledStack> {
    Coroutine::with_stack(stack, move |yielder, ()| {
        // SAFETY: Running drops its coroutine before the state.
        let state = unsafe { &*state };
        state.yielder.set(yielder);
        let plugin = state.model.plugin();
        // SAFETY: [between load and unload], and begin() keeps a model that is not re-entrant to this call; the call
        // and all it points to live in the state; the stack has STACK_BYTES.
        unsafe { (plugin.functions().infer)(plugin.table(), state.model.handle(), state.abi.get()) }
    })
}

impl State {
    /// Puts the state of a call where it stays.
    fn place(work: Work, part: Option<Part>, views: Views, pool: Pool, gate: Rc<dyn Gate>) -> StatePtr {
        let host = work.model().plugin().host_table();
        let state = Box::into_raw(Box::new(Self {
            model: work.model().clone(),
            pool,
            gate,
            part,
            outputs_wanted: work
                .outputs
                .iter()
                .map(|output| u8::from(output.wanted))
                .collect(),
            work: RefCell::new(Some(work)),
            views,
            abi: UnsafeCell::new(abi::Call {
                host,
                inputs: ptr::null(),
                outputs_wanted: ptr::null(),
                input_count: 0,
                output_count: 0,
                host_data: ptr::null_mut(),
            }),
            yielder: Cell::new(ptr::null()),
            cancelled: Cell::new(false),
            times: Times::default(),
            error_text: Cell::new(None),
            refusal: Cell::new(None),
        }));
        // SAFETY: allocated above and nobody else's yet; from here on it does not move.
        let this = unsafe { &mut *state };
        if let Some(work) = this.work.get_mut() {
            this.views.lay_out(work.inputs(), this.model.input_names());
        }
        let abi = this.abi.get_mut();
        abi.inputs = this.views.tensors().as_ptr();
        abi.input_count = this.views.tensors().len() as u32;
        abi.outputs_wanted = this.outputs_wanted.as_ptr();
        abi.output_count = this.outputs_wanted.len() as u32;
        StatePtr(state)
    }

    /// The call as the plugin knows it.
    pub(crate) fn abi_call(&self) -> *mut abi::Call {
        self.abi.get()
    }

    pub(crate) fn set_error_text(&self, text: String) {
        self.error_text.set(Some(text));
    }

    pub(crate) fn wants_checkpoint(&self) -> bool {
        self.cancelled.get() || self.gate.wants_checkpoint()
    }

    /// A layer boundary; false: the plugin is to give up.
    pub(crate) fn checkpoint(&self) -> bool {
        if self.cancelled.get() {
            return false;
        }
        self.times.checkpoints.set(self.times.checkpoints.get() + 1);
        match self.gate.at_checkpoint(self.times.mark()) {
            Verdict::Continue => {}
            Verdict::Suspend => self.suspend(),
            Verdict::Cancel => self.cancelled.set(true),
        }
        !self.cancelled.get()
    }

    fn suspend(&self) {
        self.times.pause();
        // SAFETY: checkpoint runs inside the coroutine, which set the pointer to its own yielder.
        unsafe { (*self.yielder.get()).suspend(()) };
    }

    /// Memory for an output of the running part.
    pub(crate) fn alloc_output(
        &self,
        index: u32,
        dtype: i32,
        shape: &[i64],
        size_bytes: u64,
    ) -> Result<*mut u8, Status> {
        let index = index as usize;
        let mut work = self.work.borrow_mut();
        let outputs = work.as_mut().map_or(&mut [][..], |work| &mut work.outputs[..]);
        let count = outputs.len();
        let (Some(output), Some(spec)) = (outputs.get_mut(index), self.model.info().outputs.get(index))
        else {
            self.refusal.set(Some(
                self.broken(format!("it asked for output {index} of {count}")),
            ));
            return Err(Status::InvalidArgument);
        };
        let demand = Demand {
            dtype,
            shape,
            size_bytes,
        };
        output
            .allocate(spec, &demand, self.part.as_ref(), &self.pool)
            .map_err(|refusal| {
                let status = refusal.status();
                self.refusal.set(Some(match refusal {
                    Refusal::Wrong(problem) => self.model.output_error(index, problem),
                    Refusal::Memory(error) => Error::Memory(error),
                }));
                status
            })
    }

    /// What the plugin's status means for the caller.
    fn judge(&self, code: i32, work: &Work) -> Result<(), Error> {
        // Also when the plugin went on regardless: nobody waits for the result of a cancelled call.
        if self.cancelled.get() {
            return Err(Error::Cancelled);
        }
        let refusal = self.refusal.take();
        match Status::from_code(code) {
            None => {
                let missing = work
                    .outputs
                    .iter()
                    .position(|output| output.wanted && !output.was_asked());
                let problem = "was not produced, though the plugin reported success";
                missing.map_or(Ok(()), |index| {
                    Err(refusal.unwrap_or_else(|| self.model.output_error(index, problem.into())))
                })
            }
            Some(Status::Cancelled) => {
                Err(self.broken("it reported a cancellation that nobody asked for".into()))
            }
            Some(status) => Err(refusal.unwrap_or_else(|| Error::Plugin {
                plugin: self.plugin_id(),
                during: "infer",
                status,
                message: self.error_text.take().unwrap_or_else(|| status.to_string()),
            })),
        }
    }

    fn plugin_id(&self) -> String {
        self.model.plugin().info().id.clone()
    }

    fn broken(&self, what: String) -> Error {
        Error::BadPlugin {
            plugin: self.plugin_id(),
            what,
        }
    }
}
