//! What the front itself computes.
//!
//! In `lanes` mode that is short and urgent work, run whole where it arrives. In `layer` and `none` mode the front is
//! the only thread: urgent work still runs where it arrives, the rest as a task of the executor's bulk queue, which at
//! the first checkpoint after its slice gives way (`layer`), or at none (`none`).

use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::task::{Poll, Waker};

use futures_lite::FutureExt;
use mlos_plugin_host::{Call, Checkpoint, Gate, Open, Verdict};
use mlos_scheduler::{Event, Thread};
use mlos_tensor_mem::Pool;

use super::Shard;
use super::run::{Ended, Load, Progress, Running};
use crate::executor;

/// The cooperative runs of the front.
#[derive(Default)]
pub(crate) struct Front {
    /// Has the thread's turn: new, or standing at a checkpoint.
    current: RefCell<Option<Running>>,
    aside: RefCell<[Option<Running>; 4]>,
    /// Whether `current` may run.
    runnable: Cell<bool>,
    waker: Cell<Option<Waker>>,
    /// Runs to be stopped at their next checkpoint. The gate of a run that is suspended for long still sees it.
    cancelled: Rc<RefCell<Vec<u64>>>,
}

struct FrontGate {
    seq: u64,
    /// How long it may hold the thread; none in `none` mode.
    slice_ns: Option<u64>,
    cancelled: Rc<RefCell<Vec<u64>>>,
}

impl Gate for FrontGate {
    fn at_checkpoint(&self, checkpoint: Checkpoint) -> Verdict {
        if self.cancelled.borrow().contains(&self.seq) {
            Verdict::Cancel
        } else if self
            .slice_ns
            .is_some_and(|slice_ns| checkpoint.elapsed_ns >= slice_ns)
        {
            Verdict::Suspend
        } else {
            Verdict::Continue
        }
    }
}

thread_local! {
    static OPEN: Rc<dyn Gate> = Rc::new(Open);
}

/// Runs a load to its end, here and now.
pub(crate) fn run_whole(seq: u64, load: Load, pool: &Pool) -> Ended {
    let load = match load {
        Load::One(work, None) => return Ended::of_one(Call::run_whole(work, pool)),
        load => load,
    };
    let gate = OPEN.with(Rc::clone);
    let mut running = match Running::start(seq, load, pool, gate) {
        Ok(running) => running,
        Err(ended) => return *ended,
    };
    loop {
        match running.resume() {
            Progress::Suspended(standing) => running = standing,
            Progress::Ended(ended) => return ended,
        }
    }
}

impl Front {
    /// Gives a run the front's turn.
    ///
    /// # Errors
    /// How it ended, where it could not be started.
    pub fn start(&self, seq: u64, load: Load, pool: &Pool, slice_ns: Option<u64>) -> Result<(), Box<Ended>> {
        let gate = Rc::new(FrontGate {
            seq,
            slice_ns,
            cancelled: self.cancelled.clone(),
        });
        *self.current.borrow_mut() = Some(Running::start(seq, load, pool, gate)?);
        self.go_on();
        Ok(())
    }

    /// Lets the run that has the turn run.
    pub fn go_on(&self) {
        self.runnable.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Sets the run that has the turn aside.
    pub fn suspend(&self, class: usize) {
        self.runnable.set(false);
        self.aside.borrow_mut()[class] = self.current.take();
    }

    /// Gives a run that was set aside its turn again.
    pub fn resume(&self, class: usize) {
        *self.current.borrow_mut() = self.aside.borrow_mut()[class].take();
        self.go_on();
    }

    /// Stops a run at its next checkpoint.
    pub fn cancel(&self, seq: u64) {
        self.cancelled.borrow_mut().push(seq);
    }

    /// Drops every run.
    pub fn forget(&self) {
        self.runnable.set(false);
        self.cancelled.borrow_mut().clear();
        let current = self.current.take();
        let aside = self.aside.take();
        // Dropped outside the borrows: a plugin that is being cancelled may still reach a checkpoint.
        drop((current, aside));
    }

    async fn turn(&self) -> Running {
        std::future::poll_fn(|cx| {
            if self.runnable.get()
                && let Some(running) = self.current.take()
            {
                self.runnable.set(false);
                return Poll::Ready(running);
            }
            self.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await
    }
}

/// The front's bulk task. A panic starts the shard's state anew.
pub(crate) async fn serve(shard: Rc<Shard>) {
    while AssertUnwindSafe(take_turns(&shard)).catch_unwind().await.is_err() {
        shard.start_anew();
    }
}

/// Runs what has the turn, and gives way between and within runs.
async fn take_turns(shard: &Shard) {
    loop {
        let running = shard.front.turn().await;
        let seq = running.seq;
        match running.resume() {
            Progress::Suspended(standing) => {
                *shard.front.current.borrow_mut() = Some(standing);
                shard.feed(Event::Checkpoint {
                    thread: Thread::FRONT,
                });
            }
            Progress::Ended(ended) => {
                shard
                    .front
                    .cancelled
                    .borrow_mut()
                    .retain(|cancelled| *cancelled != seq);
                shard.ended(Thread::FRONT, seq, ended);
            }
        }
        executor::yield_to_io().await;
    }
}
