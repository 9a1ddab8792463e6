//! A lane: a thread on the front's core, weaker than it, for the long work of one class.
//!
//! The kernel hands the core over when the front wakes, so nothing in here needs to be short. A lane runs one call
//! at a time and keeps at most one suspended call per class; it does what its front says and decides nothing.
//!
//! **Front and lane share no lock.** A lane can lose its core at any instruction and, while anything else wants the
//! core, not get it back for seconds; a front that waited for a lock of its lane would wait as long. So they speak
//! over rings of one writer and one reader, where neither ever waits for a step of the other.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Thread as ThreadHandle};

use atomic_waker::AtomicWaker;
use core_affinity::CoreId;
use crossbeam::channel::bounded;
use mlos_api::Class;
use mlos_plugin_host::{Checkpoint, Gate, Verdict};
use mlos_scheduler::Thread;
use mlos_tensor_mem::Pool;
use rtrb::{Consumer, Producer, RingBuffer};
use tracing::{error, warn};

use super::run::{Ended, Load, Progress, Running};
use crate::weaken::{Strength, weaken_current_thread};
use crate::{Error, limits};

/// What a front tells a lane.
#[derive(Debug)]
pub(crate) enum Command {
    /// Run this.
    Start { seq: u64, load: Load },
    /// Go on with the call that stands at a checkpoint.
    Continue,
    /// Set the call that stands at a checkpoint aside.
    Suspend(usize),
    /// Take a call that was set aside, and go on with it.
    Resume(usize),
    /// Drop every call; the front has forgotten them.
    Forget,
}

/// What a lane tells its front.
#[derive(Debug)]
pub(crate) struct Report {
    pub thread: Thread,
    pub seq: u64,
    pub what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// The call stands at a checkpoint, because it was asked to.
    Checkpoint,
    /// The call has ended.
    Ended(Box<Ended>),
    /// The lane panicked in it. What it held is gone.
    Lost,
}

/// Asks a running call for something at its next checkpoint: a run's number and what is asked, in one word, so that
/// a word about a run that has ended never reaches its successor.
#[derive(Debug, Default)]
pub(crate) struct Signal(AtomicU64);

const PREEMPT: u64 = 1;
const CANCEL: u64 = 2;
const ASK_BITS: u32 = 2;

impl Signal {
    pub fn preempt(&self, seq: u64) {
        // Cancel is the stronger word; it is not overwritten.
        if self.0.load(Ordering::Relaxed) != seq << ASK_BITS | CANCEL {
            self.0.store(seq << ASK_BITS | PREEMPT, Ordering::Relaxed);
        }
    }

    pub fn cancel(&self, seq: u64) {
        self.0.store(seq << ASK_BITS | CANCEL, Ordering::Relaxed);
    }

    /// Relaxed, as the word carries everything: no other memory is read on its account.
    fn verdict(&self, seq: u64) -> Verdict {
        let word = self.0.load(Ordering::Relaxed);
        if word >> ASK_BITS != seq {
            return Verdict::Continue;
        }
        if word & CANCEL != 0 {
            Verdict::Cancel
        } else {
            Verdict::Suspend
        }
    }

    fn clear(&self, seq: u64) {
        let asked = seq << ASK_BITS | PREEMPT;
        let _ = self
            .0
            .compare_exchange(asked, 0, Ordering::Relaxed, Ordering::Relaxed);
    }
}

struct LaneGate {
    signal: Arc<Signal>,
    seq: u64,
}

impl Gate for LaneGate {
    fn at_checkpoint(&self, _: Checkpoint) -> Verdict {
        self.signal.verdict(self.seq)
    }

    fn wants_checkpoint(&self) -> bool {
        self.signal.verdict(self.seq) != Verdict::Continue
    }
}

/// The front's end of a lane. The lane's thread ends when this is dropped and its call is over.
#[derive(Debug)]
pub(crate) struct Lane {
    /// None once it is dropped: then the lane finds its ring abandoned.
    commands: RefCell<Option<Producer<Command>>>,
    reports: RefCell<Consumer<Report>>,
    signal: Arc<Signal>,
    thread: ThreadHandle,
    /// What the kernel granted.
    pub strength: Strength,
}

/// How strong the lane of a class is against the front, which has the default policy and this nice value. What the
/// kernel owes the weaker lanes comes out of the time of HIGH, too: the stronger that is against them, the better.
const fn strength_of(class: Class, front_nice: i32) -> Strength {
    match class {
        Class::Realtime | Class::High => Strength::Nice(front_nice + 10),
        Class::Normal => Strength::Batch,
        Class::Batch => Strength::Idle,
    }
}

impl Lane {
    /// Starts the lane of a class on a processor whose front has this nice value. It rings `bell` when it has something
    /// to report.
    pub fn start(
        (cpu, front_nice): (usize, i32),
        class: Class,
        pool: Pool,
        bell: Arc<AtomicWaker>,
    ) -> Result<Self, Error> {
        let wanted = strength_of(class, front_nice);
        let (commands, inbox) = RingBuffer::new(limits::LANE_COMMANDS_MAX);
        let (outbox, reports) = RingBuffer::new(limits::LANE_REPORTS_MAX);
        let (granted_tx, granted_rx) = bounded(1);
        let signal = Arc::new(Signal::default());
        let thread = Thread::lane_of(crate::class::to_policy(class));
        let shared = signal.clone();
        let name = format!("mlos-{}-{cpu}", class.name());
        let fault = |source| Error::Start {
            what: format!("lane {name}"),
            source,
        };
        let spawned = thread::Builder::new()
            .name(name.clone())
            .spawn(move || {
                if !core_affinity::set_for_current(CoreId { id: cpu }) {
                    warn!(cpu, "a lane could not be pinned to its core");
                }
                let _ = granted_tx.send(weaken_current_thread(wanted));
                let worker = Worker {
                    thread,
                    pool,
                    outbox,
                    bell,
                    signal: shared,
                    current: None,
                    aside: Default::default(),
                    seq: 0,
                };
                worker.serve(inbox);
            })
            .map_err(fault)?;
        let strength = granted_rx
            .recv()
            .map_err(|_| fault(std::io::Error::other("its thread ended")))?;
        if strength != wanted {
            warn!(
                lane = name,
                held = strength.name(),
                "the lane is not as weak as it should be"
            );
        }
        Ok(Self {
            commands: RefCell::new(Some(commands)),
            reports: RefCell::new(reports),
            signal,
            thread: spawned.thread().clone(),
            strength,
        })
    }

    /// Tells the lane. It never has more than a few commands waiting, since it is told only what its state allows.
    pub fn tell(&self, command: Command) {
        let mut commands = self.commands.borrow_mut();
        let told = commands
            .as_mut()
            .is_some_and(|commands| commands.push(command).is_ok());
        debug_assert!(told, "a lane is told only what its state allows");
        if !told {
            error!("a lane could not be told what to do");
        }
        self.thread.unpark();
    }

    /// Whether the lane has something to report.
    pub fn has_report(&self) -> bool {
        !self.reports.borrow().is_empty()
    }

    /// What the lane has to report.
    pub fn hear(&self) -> Option<Report> {
        self.reports.borrow_mut().pop().ok()
    }

    pub fn signal(&self) -> &Signal {
        &self.signal
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.commands.take();
        self.thread.unpark();
    }
}

struct Worker {
    thread: Thread,
    pool: Pool,
    outbox: Producer<Report>,
    bell: Arc<AtomicWaker>,
    signal: Arc<Signal>,
    current: Option<Running>,
    aside: [Option<Running>; 4],
    /// The run that it computes, or computed last.
    seq: u64,
}

impl Worker {
    fn serve(mut self, mut inbox: Consumer<Command>) {
        while let Some(command) = next(&mut inbox) {
            // A panic costs one run: whoever waits for it is told, and the lane takes the next.
            if catch_unwind(AssertUnwindSafe(|| self.obey(command))).is_err() {
                error!("a lane panicked; the run that it computed is lost");
                self.report(self.seq, What::Lost);
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Start { seq, load } => self.start(seq, load),
            Command::Continue => self.advance(),
            Command::Suspend(class) => self.aside[class] = self.current.take(),
            Command::Resume(class) => {
                self.current = self.aside[class].take();
                self.advance();
            }
            Command::Forget => {
                self.current = None;
                self.aside = Default::default();
            }
        }
    }

    fn start(&mut self, seq: u64, load: Load) {
        self.seq = seq;
        let gate = Rc::new(LaneGate {
            signal: self.signal.clone(),
            seq,
        });
        match Running::start(seq, load, &self.pool, gate) {
            Ok(running) => {
                self.current = Some(running);
                self.advance();
            }
            Err(ended) => self.report(seq, What::Ended(ended)),
        }
    }

    fn advance(&mut self) {
        let Some(running) = self.current.take() else {
            return;
        };
        let seq = running.seq;
        self.seq = seq;
        match running.resume() {
            Progress::Suspended(standing) => {
                self.signal.clear(seq);
                self.current = Some(standing);
                self.report(seq, What::Checkpoint);
            }
            Progress::Ended(ended) => self.report(seq, What::Ended(Box::new(ended))),
        }
    }

    /// There is always room: a lane has one run at a time, and reports its end once.
    fn report(&mut self, seq: u64, what: What) {
        let report = Report {
            thread: self.thread,
            seq,
            what,
        };
        if self.outbox.push(report).is_err() {
            error!("a lane could not report");
        }
        self.bell.wake();
    }
}

/// Waits for the next command. None when the front has ended.
fn next(inbox: &mut Consumer<Command>) -> Option<Command> {
    loop {
        // Looked at first: what was told before the front ended is still found.
        let ended = inbox.is_abandoned();
        match inbox.pop() {
            Ok(command) => return Some(command),
            Err(_) if ended => return None,
            Err(_) => thread::park(),
        }
    }
}
