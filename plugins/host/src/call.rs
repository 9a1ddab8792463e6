use crate::error::Error;
use crate::gate::{Gate, Open};
use crate::output::Part;
use crate::stack::{self, PooledStack};
use crate::state::{State, StatePtr};
use crate::table::while_running;
use crate::work::Work;
use corosensei::{Coroutine, CoroutineResult};
use mlos_tensor_mem::Pool;
use std::fmt;
use std::ops::Range;
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
    /// The gate said [`Verdict::Suspend`](crate::Verdict::Suspend); resume it later.
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
    /// When it was over and the outputs lay where they shall be, by the monotonic clock: who wants to know the time now
    /// need not look again. 0 if the plugin was never called.
    pub ended_ns: u64,
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

    /// Runs all that is left of `work` to its end, without a gate: what [`start`](Self::start) and
    /// [`resume`](Self::resume) do with one that is [`Open`], for less. Nothing is ever suspended, so the
    /// plugin needs no stack of its own: it runs on that of this thread, where there is as much room on it as plugins
    /// are promised.
    pub fn run_whole(work: Work, pool: &Pool) -> Finished {
        if !stack::has_room() {
            return run_beside(work, pool);
        }
        match prepare(work, None, pool) {
            Ok(prepared) => {
                let state = prepared.place(None);
                let state = state.get();
                state.before_resume();
                // SAFETY: the stack has room, as was just seen, and without a gate nothing leaves it before the end.
                let code = while_running(state, || unsafe { state.infer() });
                state.after_return();
                state.finish(code)
            }
            Err(refused) => Finished::refused(*refused),
        }
    }

    /// Runs it until it is suspended or over.
    ///
    /// # Panics
    /// If it was over before.
    pub fn resume(&mut self) -> Step {
        if let Phase::Running(running) = &mut self.0 {
            let Some(code) = running.resume() else {
                return Step::Suspended;
            };
            let finished = running.state.get().finish(code);
            self.0 = Phase::Over;
            return Step::Done(finished);
        }
        match std::mem::replace(&mut self.0, Phase::Over) {
            Phase::Refused(refused) => Step::Done(Finished::refused(*refused)),
            Phase::Running(_) | Phase::Over => panic!("a finished call was resumed"),
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

impl Finished {
    /// A call that was never started.
    fn refused((work, error): (Work, Error)) -> Self {
        Self {
            work,
            result: Err(error),
            compute_ns: 0,
            longest_slice_ns: 0,
            checkpoints: 0,
            ended_ns: 0,
        }
    }
}

/// Runs a work whole on a stack beside that of this thread.
#[cold]
fn run_beside(work: Work, pool: &Pool) -> Finished {
    let mut call = Call::start(work, None, pool, Rc::new(Open));
    loop {
        if let Step::Done(finished) = call.resume() {
            return finished;
        }
    }
}

/// What a call is before it is placed: a state with its inputs, and the right to run the model.
struct Prepared {
    state: StatePtr,
    part: Option<Part>,
    work: Work,
}

impl Prepared {
    fn place(mut self, gate: Option<Rc<dyn Gate>>) -> StatePtr {
        self.state.place(self.work, self.part, gate);
        self.state
    }
}

fn prepare(mut work: Work, rows: Option<Range<usize>>, pool: &Pool) -> Result<Prepared, Box<(Work, Error)>> {
    let mut state = StatePtr::take();
    // One step after the other: a closure's result of all of them would be moved about for each call.
    let part = match work.part(rows) {
        Ok(part) => part,
        Err(error) => return Err(Box::new((work, error))),
    };
    let cut = part
        .as_ref()
        .filter(|part| part.rows.len() < part.total)
        .map(|part| &part.rows);
    if let Err(error) = state.views().cut(work.model(), work.inputs(), cut, pool) {
        return Err(Box::new((work, error)));
    }
    if let Err(error) = work.model().begin() {
        return Err(Box::new((work, error)));
    }
    work.begin(pool);
    Ok(Prepared { state, part, work })
}

/// A call that holds a stack and, if it needs one, the right to run its model.
struct Running {
    /// Dropped before the state that its stack points to.
    coroutine: Coroutine<(), (), i32, PooledStack>,
    state: StatePtr,
}

impl Running {
    fn new(
        work: Work,
        rows: Option<Range<usize>>,
        pool: &Pool,
        gate: Rc<dyn Gate>,
    ) -> Result<Self, Box<(Work, Error)>> {
        let stack = match PooledStack::take() {
            Ok(stack) => stack,
            Err(error) => return Err(Box::new((work, error))),
        };
        let state = prepare(work, rows, pool)?.place(Some(gate));
        Ok(Self {
            coroutine: coroutine(stack, state.as_ptr()),
            state,
        })
    }

    /// The plugin's status, once it has returned.
    fn resume(&mut self) -> Option<i32> {
        let state = self.state.get();
        state.before_resume();
        match while_running(state, || self.coroutine.resume(())) {
            CoroutineResult::Yield(()) => None,
            CoroutineResult::Return(code) => {
                state.after_return();
                Some(code)
            }
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
        self.state.get().cancel();
        let code = self.resume();
        debug_assert!(code.is_some(), "a cancelled call does not suspend");
    }
}

fn coroutine(stack: PooledStack, state: *const State) -> Coroutine<(), (), i32, PooledStack> {
    Coroutine::with_stack(stack, move |yielder, ()| {
        // SAFETY: Running drops its coroutine before the state.
        let state = unsafe { &*state };
        state.suspends_by(yielder);
        // SAFETY: on the coroutine's stack, whose yielder this is.
        unsafe { state.infer() }
    })
}
