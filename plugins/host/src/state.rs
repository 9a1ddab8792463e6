//! What the two sides of a call share: its owner outside the coroutine, and the plugin's callbacks inside.

use crate::call::Finished;
use crate::clock::now_ns;
use crate::error::Error;
use crate::gate::{Checkpoint, Gate, Verdict};
use crate::input::Views;
use crate::limits::STACKS_IDLE_MAX;
use crate::model::Model;
use crate::output::{Demand, Output, Part};
use crate::work::{Parts, Work};
use corosensei::Yielder;
use mlos_smi::{Status, abi};
use smallvec::SmallVec;
use std::cell::{Cell, RefCell, UnsafeCell};
use std::ptr;
use std::rc::Rc;

thread_local! {
    /// States of calls that are over, for the next ones.
    #[expect(clippy::vec_box, reason = "a state is large, and stays where it is for as long as it is in use")]
    static IDLE: RefCell<Vec<Box<State>>> = const { RefCell::new(Vec::new()) };
}

/// Owner of a call's state, at an address that plugin and coroutine know. Not a `Box`: moving one would claim that
/// nobody else has the address.
pub(crate) struct StatePtr(*mut State);

impl StatePtr {
    /// The state that this thread used last, or a new one.
    pub(crate) fn take() -> Self {
        let idle = IDLE.with_borrow_mut(Vec::pop);
        Self(Box::into_raw(idle.unwrap_or_else(State::new)))
    }

    pub(crate) fn as_ptr(&self) -> *const State {
        self.0
    }

    pub(crate) fn get(&self) -> &State {
        // SAFETY: made by Box::into_raw, given back in drop only; once it is placed all changes go through cells.
        unsafe { &*self.0 }
    }

    /// For the time before it is placed.
    fn get_mut(&mut self) -> &mut State {
        debug_assert!(self.get().job.is_none(), "its address is known");
        // SAFETY: made by Box::into_raw; nobody has been told the address yet.
        unsafe { &mut *self.0 }
    }

    /// The room for a call's inputs.
    pub(crate) fn views(&mut self) -> &mut Views {
        &mut self.get_mut().views
    }

    /// Puts a call where it stays; its inputs have been cut.
    #[inline]
    pub(crate) fn place(&mut self, work: Work, part: Option<Part>, gate: Option<Rc<dyn Gate>>) {
        let state = self.get_mut();
        state.views.lay_out(work.inputs(), work.model().input_names());
        state
            .outputs_wanted
            .extend(work.parts().outputs.iter().map(|output| u8::from(output.wanted)));
        *state.abi.get_mut() = abi::Call {
            host: work.model().plugin().host_table(),
            inputs: state.views.tensors().as_ptr(),
            outputs_wanted: state.outputs_wanted.as_ptr(),
            input_count: state.views.tensors().len() as u32,
            output_count: state.outputs_wanted.len() as u32,
            host_data: ptr::null_mut(),
        };
        state.job = Some(Job {
            gate,
            part,
            work: RefCell::new(Some(work)),
        });
    }
}

impl Drop for StatePtr {
    fn drop(&mut self) {
        // SAFETY: made by Box::into_raw; the coroutine, its only other user, is over or was never resumed.
        let mut state = unsafe { Box::from_raw(self.0) };
        state.clear();
        // While the thread ends the list may be gone; then the state is simply freed.
        let _ = IDLE.try_with(|idle| {
            let mut idle = idle.borrow_mut();
            if idle.len() < STACKS_IDLE_MAX {
                idle.push(state);
            }
        });
    }
}

/// Everything that the plugin's callbacks touch. It outlives its call for the sake of its memory.
pub(crate) struct State {
    /// There while it belongs to a call.
    job: Option<Job>,
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

/// What a call is about.
struct Job {
    /// None: it runs to its end, and there is nothing to leave its stack by.
    gate: Option<Rc<dyn Gate>>,
    part: Option<Part>,
    /// Until the call is over.
    work: RefCell<Option<Work>>,
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

impl State {
    fn new() -> Box<Self> {
        let abi = abi::Call {
            host: ptr::null(),
            inputs: ptr::null(),
            outputs_wanted: ptr::null(),
            input_count: 0,
            output_count: 0,
            host_data: ptr::null_mut(),
        };
        Box::new(Self {
            job: None,
            views: Views::default(),
            outputs_wanted: SmallVec::new(),
            abi: UnsafeCell::new(abi),
            yielder: Cell::new(ptr::null()),
            cancelled: Cell::default(),
            times: Times::default(),
            error_text: Cell::default(),
            refusal: Cell::default(),
        })
    }

    fn job(&self) -> &Job {
        self.job.as_ref().expect("a state in use has a job")
    }

    /// Forgets the call, and keeps the room.
    fn clear(&mut self) {
        // A call that was never resumed, or was dropped while it was suspended.
        let unfinished = self.job.as_mut().and_then(|job| job.work.get_mut().as_ref());
        if let Some(work) = unfinished {
            work.model().end();
        }
        self.job = None;
        self.views.clear();
        self.outputs_wanted.clear();
        self.yielder = Cell::new(ptr::null());
        self.cancelled = Cell::default();
        self.times = Times::default();
        self.error_text = Cell::default();
        self.refusal = Cell::default();
    }

    /// The way back from the stack that the plugin is about to be called on.
    pub(crate) fn suspends_by(&self, yielder: &Yielder<(), ()>) {
        self.yielder.set(yielder);
    }

    /// Calls the plugin.
    ///
    /// # Safety
    /// Once, on a stack with room for a plugin; where there is a gate, on the one that [`suspends_by`](Self::suspends_by)
    /// named the way back from.
    pub(crate) unsafe fn infer(&self) -> i32 {
        let (infer, plugin, model) = {
            let work = self.job().work.borrow();
            let model = &work
                .as_ref()
                .expect("the work is there until the call ends")
                .model();
            (
                model.plugin().functions().infer,
                model.plugin().table(),
                model.handle(),
            )
        };
        // SAFETY: [between load and unload], as the work keeps the model, and begin() keeps one that is not re-entrant to
        // this call; the call and all it points to live in the state; the stack has STACK_BYTES.
        unsafe { infer(plugin, model, self.abi.get()) }
    }

    pub(crate) fn before_resume(&self) {
        self.times.resume();
    }

    pub(crate) fn after_return(&self) {
        self.times.mark();
        self.times.pause();
    }

    /// From now on checkpoints tell the plugin to give up.
    pub(crate) fn cancel(&self) {
        self.cancelled.set(true);
    }

    /// The end, once the plugin has returned `code`.
    pub(crate) fn finish(&self, code: i32) -> Finished {
        let job = self.job();
        let mut work = job.work.take().expect("the work is there until the call ends");
        work.model().end();
        // Seldom, and it may take longer than the plugin did: then the time of its return is not the end.
        let is_copied = work.parts().outputs.iter().any(Output::is_elsewhere);
        let result = self.judge(code, &work).and_then(|()| {
            // SAFETY: judged: the plugin returned SMI_OK and has asked for all that is wanted.
            unsafe { work.complete(job.part.as_ref()) }
        });
        Finished {
            work,
            result,
            compute_ns: self.times.compute_ns.get(),
            longest_slice_ns: self.times.longest_slice_ns.get(),
            checkpoints: self.times.checkpoints.get(),
            ended_ns: if is_copied {
                now_ns()
            } else {
                self.times.mark_ns.get()
            },
        }
    }

    /// The call as the plugin knows it.
    pub(crate) fn abi_call(&self) -> *mut abi::Call {
        self.abi.get()
    }

    pub(crate) fn set_error_text(&self, text: String) {
        self.error_text.set(Some(text));
    }

    pub(crate) fn wants_checkpoint(&self) -> bool {
        let gate = self.job().gate.as_ref();
        self.cancelled.get() || gate.is_some_and(|gate| gate.wants_checkpoint())
    }

    /// A layer boundary; false: the plugin is to give up.
    pub(crate) fn checkpoint(&self) -> bool {
        if self.cancelled.get() {
            return false;
        }
        self.times.checkpoints.set(self.times.checkpoints.get() + 1);
        let checkpoint = self.times.mark();
        let Some(gate) = &self.job().gate else { return true };
        match gate.at_checkpoint(checkpoint) {
            Verdict::Continue => {}
            Verdict::Suspend => self.suspend(),
            Verdict::Cancel => self.cancel(),
        }
        !self.cancelled.get()
    }

    fn suspend(&self) {
        self.times.pause();
        // SAFETY: there is a gate, so checkpoint runs inside the coroutine, which set the pointer to its own yielder.
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
        let job = self.job();
        let mut work = job.work.borrow_mut();
        let parts = work.as_mut().map(Work::parts_mut);
        let Some(Parts {
            model,
            outputs,
            pool: Some(pool),
            ..
        }) = parts
        else {
            return Err(Status::InvalidArgument);
        };
        let count = outputs.len();
        let (Some(output), Some(spec)) = (outputs.get_mut(index), model.info().outputs.get(index)) else {
            let what = format!("it asked for output {index} of {count}");
            self.refusal.set(Some(broken(model, what)));
            return Err(Status::InvalidArgument);
        };
        let demand = Demand {
            dtype,
            shape,
            size_bytes,
        };
        output
            .allocate(spec, &demand, job.part.as_ref(), pool)
            .map_err(|refusal| {
                let status = refusal.status();
                self.refusal.set(Some(model.output_refused(index, refusal)));
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
                    .parts()
                    .outputs
                    .iter()
                    .position(|output| output.wanted && !output.was_asked());
                let problem = "was not produced, though the plugin reported success";
                missing.map_or(Ok(()), |index| {
                    Err(refusal.unwrap_or_else(|| work.model().output_error(index, problem.into())))
                })
            }
            Some(Status::Cancelled) => Err(broken(
                work.model(),
                "it reported a cancellation that nobody asked for".into(),
            )),
            Some(status) => Err(refusal.unwrap_or_else(|| Error::Plugin {
                plugin: plugin_id(work.model()),
                during: "infer",
                status,
                message: self.error_text.take().unwrap_or_else(|| status.to_string()),
            })),
        }
    }
}

fn plugin_id(model: &Model) -> String {
    model.plugin().info().id.clone()
}

fn broken(model: &Model, what: String) -> Error {
    Error::BadPlugin {
        plugin: plugin_id(model),
        what,
    }
}
