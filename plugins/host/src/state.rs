//! What the two sides of a call share: its owner outside the coroutine, and the plugin's callbacks inside.

use crate::call::Finished;
use crate::clock::now_ns;
use crate::error::Error;
use crate::gate::{Checkpoint, Gate, Verdict};
use crate::input::Views;
use crate::model::Model;
use crate::output::{Demand, Part, Refusal};
use crate::work::Work;
use corosensei::Yielder;
use mlos_smi::{Status, abi};
use mlos_tensor_mem::Pool;
use smallvec::SmallVec;
use std::cell::{Cell, RefCell, UnsafeCell};
use std::ptr;
use std::rc::Rc;

/// Owner of a call's state, at an address that plugin and coroutine know. Not a `Box`: moving one would claim that
/// nobody else has the address.
pub(crate) struct StatePtr(*mut State);

impl StatePtr {
    pub(crate) fn as_ptr(&self) -> *const State {
        self.0
    }

    pub(crate) fn get(&self) -> &State {
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

impl State {
    /// Puts the state of a call where it stays.
    pub(crate) fn place(
        work: Work,
        part: Option<Part>,
        views: Views,
        pool: Pool,
        gate: Rc<dyn Gate>,
    ) -> StatePtr {
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

    /// Calls the plugin.
    ///
    /// # Safety
    /// On the stack that `yielder` leaves, and once.
    pub(crate) unsafe fn infer(&self, yielder: &Yielder<(), ()>) -> i32 {
        self.yielder.set(yielder);
        let plugin = self.model.plugin();
        // SAFETY: [between load and unload], and begin() keeps a model that is not re-entrant to this call; the call
        // and all it points to live in the state; the stack has STACK_BYTES.
        unsafe { (plugin.functions().infer)(plugin.table(), self.model.handle(), self.abi.get()) }
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
        let mut work = self.work.take().expect("the work is there until the call ends");
        let result = self.judge(code, &work);
        if result.is_ok() {
            work.complete(self.part.as_ref());
        }
        Finished {
            work,
            result,
            compute_ns: self.times.compute_ns.get(),
            longest_slice_ns: self.times.longest_slice_ns.get(),
            checkpoints: self.times.checkpoints.get(),
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
            Verdict::Cancel => self.cancel(),
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
