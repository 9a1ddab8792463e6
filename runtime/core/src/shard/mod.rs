//! A shard: one core, its front and its lanes, and the policy that decides for them.
//!
//! The front is the executor's thread. It accepts connections, decides, and computes what is short or urgent. Lanes
//! are weaker threads of the same core for the rest. Everything in [`Shard`] is touched by the front only; other
//! threads speak to it by [`ShardMessage`] and by the [`lane::Report`]s of its lanes.

mod at_once;
mod counts;
mod engine;
mod front;
mod job;
mod lane;
mod run;
mod standing;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use async_channel::{Receiver, TrySendError};
use atomic_waker::AtomicWaker;
use futures_channel::oneshot;
use futures_lite::FutureExt;
use mlos_api::Class;
use mlos_scheduler::{Event, JobId, ModelIndex, Policy, Thread};
use mlos_tensor_mem::Pool;
use tracing::error;

pub(crate) use engine::plugin_error;
use job::Answerer;
pub(crate) use job::{Arrival, Done, Reply, Submission};

use crate::actor::{Actor, Mailbox, supervise};
use crate::breath::Breath;
use crate::config::{EngineConfig, PreemptionMode};
use crate::metrics::ShardCounters;
use crate::registry::{Graph, Snapshot};
use crate::topology::Cpu;
use crate::weaken::prefer_current_thread;
use crate::{clock, executor};

/// What other threads tell a shard.
pub(crate) enum ShardMessage {
    /// Run this for a request that another shard accepted.
    Submit {
        ticket: u64,
        submission: Box<Submission>,
        reply: oneshot::Sender<Reply>,
    },
    /// Whoever submitted under this ticket has gone.
    Cancel { ticket: u64 },
    /// These are the models now.
    Publish {
        snapshot: Arc<Snapshot>,
        done: oneshot::Sender<()>,
    },
    /// Nothing asks for these any more.
    Retire {
        models: Vec<ModelIndex>,
        done: oneshot::Sender<()>,
    },
}

/// What the shards know of each other.
#[derive(Clone)]
pub(crate) struct Peer {
    pub inbox: Mailbox<ShardMessage>,
    pub counters: Arc<ShardCounters>,
    pub node: usize,
}

/// What has the turn on a thread, and what is set aside there, by class.
#[derive(Debug, Default)]
struct ThreadState {
    running: Option<run::Run>,
    aside: [Option<run::Run>; 4],
}

/// What the policy is told.
#[derive(Debug, Clone, Copy)]
enum Input {
    /// Something happened.
    Event(Event),
    /// A model is gone.
    Remove(ModelIndex),
}

/// One core's engine.
pub(crate) struct Shard {
    pub index: usize,
    pub pool: Pool,
    pub counters: Arc<ShardCounters>,
    pub peers: Vec<Peer>,
    pub snapshot: RefCell<Arc<Snapshot>>,
    mode: PreemptionMode,
    config: Arc<EngineConfig>,
    policy: RefCell<Policy>,
    jobs: RefCell<job::Jobs>,
    threads: RefCell<[ThreadState; 4]>,
    lanes: Vec<lane::Lane>,
    front: front::Front,
    /// By index.
    graphs: RefCell<Vec<Option<Arc<Graph>>>>,
    standings: RefCell<standing::Standings>,
    /// Counts the snapshots.
    era: Cell<u64>,
    /// Jobs that came from other shards, by the ticket these know them by.
    foreign: RefCell<HashMap<u64, JobId>>,
    inputs: RefCell<VecDeque<Input>>,
    feeding: Cell<bool>,
    next_seq: Cell<u64>,
    /// A look at the clock that what is asked next may share, since it came together with what was asked before; 0 if there
    /// is none.
    fresh_ns: Cell<u64>,
    /// The gauges say that nothing waits and nothing runs.
    gauges_rest: Cell<bool>,
    /// When the policy decided last.
    decided_ns: Cell<u64>,
    /// When the policy wants a tick; `u64::MAX` for never.
    tick_ns: Cell<u64>,
    /// When the earliest timer rings; `u64::MAX` if none is set.
    timer_ns: Cell<u64>,
    next_ticket: Cell<u64>,
    /// Closed when the first snapshot has come.
    informed: (async_channel::Sender<()>, Receiver<()>),
    me: Weak<Shard>,
}

/// What a shard is made of.
pub(crate) struct Parts {
    pub index: usize,
    pub cpu: Cpu,
    pub pool: Pool,
    pub config: Arc<EngineConfig>,
    pub peers: Vec<Peer>,
    pub inbox: Receiver<ShardMessage>,
}

impl Shard {
    /// Starts a shard on the executor of this thread: its lanes, and the tasks that listen to them and to others.
    pub fn start(parts: Parts) -> Result<Rc<Self>, crate::Error> {
        let Parts {
            index,
            cpu,
            pool,
            config,
            peers,
            inbox,
        } = parts;
        let bell = Arc::new(AtomicWaker::new());
        let lanes = if config.preemption == PreemptionMode::Lanes {
            let classes = [Class::High, Class::Normal, Class::Batch];
            // Only with lanes: else bulk work runs on this very thread.
            let place = (cpu.index, prefer_current_thread());
            let start = |class| lane::Lane::start(place, class, pool.clone(), bell.clone());
            classes.into_iter().map(start).collect::<Result<Vec<_>, _>>()?
        } else {
            Vec::new()
        };
        let shard = Rc::new_cyclic(|me| Self {
            index,
            counters: peers[index].counters.clone(),
            peers,
            snapshot: RefCell::default(),
            mode: config.preemption,
            policy: RefCell::new(Policy::new(config.policy())),
            jobs: RefCell::default(),
            threads: RefCell::default(),
            lanes,
            front: front::Front::default(),
            graphs: RefCell::default(),
            standings: RefCell::default(),
            era: Cell::new(0),
            foreign: RefCell::default(),
            inputs: RefCell::default(),
            feeding: Cell::new(false),
            next_seq: Cell::new(1),
            fresh_ns: Cell::new(0),
            gauges_rest: Cell::new(false),
            decided_ns: Cell::new(0),
            tick_ns: Cell::new(u64::MAX),
            timer_ns: Cell::new(u64::MAX),
            next_ticket: Cell::new(0),
            informed: async_channel::bounded(1),
            me: me.clone(),
            pool,
            config,
        });
        let (messages, timed) = (inbox.downgrade(), Rc::downgrade(&shard));
        executor::news::ask_also(Box::new(move |now_ns| {
            let is_due = |shard: Rc<Self>| now_ns >= shard.timer_ns.get();
            let has_some = |messages: Receiver<_>| !messages.is_empty();
            messages.upgrade().is_some_and(has_some) || timed.upgrade().is_some_and(is_due)
        }));
        let actor = shard.clone();
        let inbox_of = move || Inbox {
            shard: actor.clone(),
            breath: Breath::default(),
        };
        executor::spawn(async move { supervise("shard", inbox, inbox_of).await });
        if shard.mode == PreemptionMode::Lanes {
            executor::spawn(listen(shard.clone(), bell));
        } else {
            executor::spawn_bulk(front::serve(shard.clone()));
        }
        Ok(shard)
    }

    /// Which mechanism weakens each lane.
    pub fn lane_names(&self) -> Vec<String> {
        self.lanes.iter().map(|lane| lane.strength.name()).collect()
    }

    /// The policy's view of a job that has not been submitted yet.
    pub fn predict(&self, job: &mlos_scheduler::Job) -> mlos_scheduler::Prediction {
        self.policy.borrow().predict(clock::now_ns(), job)
    }

    /// A ticket for a job that another shard is to run.
    fn next_ticket(&self) -> u64 {
        self.next_ticket.set(self.next_ticket.get() + 1);
        (self.index as u64) << 48 | self.next_ticket.get()
    }

    fn lane(&self, thread: Thread) -> &lane::Lane {
        &self.lanes[thread.index() - 1]
    }

    /// Takes the new models in. The old ones stay known to the policy until they are retired, for what is in flight.
    fn take_snapshot(&self, snapshot: Arc<Snapshot>) {
        snapshot
            .entries()
            .flat_map(|entry| &entry.graphs)
            .for_each(|graph| self.learn(graph));
        *self.snapshot.borrow_mut() = snapshot;
        self.era.set(self.era.get() + 1);
        self.refresh_standings();
        self.informed.0.close();
    }

    /// Resolves when the shard knows which models there are. Edges wait for it: after a restart, a model that is being
    /// loaded again is not one that nobody has registered.
    pub async fn informed(&self) {
        let _ = self.informed.1.recv().await;
    }

    fn learn(&self, graph: &Arc<Graph>) {
        let at = graph.index.0 as usize;
        let mut graphs = self.graphs.borrow_mut();
        if graphs.len() <= at {
            graphs.resize(at + 1, None);
        }
        let before = graphs[at].replace(graph.clone());
        drop(graphs);
        if before.is_none_or(|before| !Arc::ptr_eq(&before, graph)) {
            self.introduce(graph);
        }
    }

    fn introduce(&self, graph: &Graph) {
        let mut policy = self.policy.borrow_mut();
        policy.add_model(graph.index, graph.policy);
        for row in graph.model.slice_profile() {
            let rows = u32::try_from(row.rows).unwrap_or(u32::MAX);
            policy.set_profile(graph.index, rows, row.total_ns, row.longest_slice_ns);
        }
    }

    fn retire(&self, models: &[ModelIndex]) {
        for index in models {
            self.remove_model(*index);
            if let Some(graph) = self.graphs.borrow_mut().get_mut(index.0 as usize) {
                *graph = None;
            }
        }
    }

    /// Forgets everything that a panic may have left half done: the policy starts anew, and every job is answered
    /// with an error. What threads still compute is ignored when it comes.
    fn start_anew(&self) {
        error!(
            shard = self.index,
            "the shard's engine panicked; its jobs are answered with an error, and it starts anew"
        );
        self.inputs.take();
        *self.policy.borrow_mut() = Policy::new(self.config.policy());
        let threads = self.threads.take();
        for (lane, state) in self.lanes.iter().zip(&threads[1..]) {
            if let Some(run) = &state.running {
                lane.signal().cancel(run.seq);
            }
        }
        self.foreign.borrow_mut().clear();
        self.front.forget();
        self.lanes
            .iter()
            .for_each(|lane| lane.tell(lane::Command::Forget));
        let graphs: Vec<Arc<Graph>> = self.graphs.borrow().iter().flatten().cloned().collect();
        graphs.iter().for_each(|graph| self.introduce(graph));
        let jobs = self.jobs.borrow_mut().drain();
        for job in jobs {
            self.refuse(job, engine::restarted());
        }
        self.free_standings();
    }

    /// Gives queued BATCH work to an idle shard of the same node. What waits although nothing runs here waits for others
    /// to join it, and there as here: it would be handed to and fro for ever.
    fn share_bulk(&self) {
        let has_queued = || self.policy.borrow().queue_len(mlos_scheduler::Class::Batch) > 0;
        if self.peers.len() == 1 || !has_queued() || self.is_bulk_idle() {
            return;
        }
        let node = self.peers[self.index].node;
        let idle = |(index, peer): &(usize, &Peer)| {
            *index != self.index
                && peer.node == node
                && peer.counters.bulk_idle.swap(false, Ordering::Relaxed)
        };
        let Some((target, thief)) = self.peers.iter().enumerate().find(idle) else {
            return;
        };
        let taken = self
            .policy
            .borrow_mut()
            .take_queued(clock::now_ns(), mlos_scheduler::Class::Batch);
        let Some(job) = taken.and_then(|taken| self.jobs.borrow_mut().remove(taken.id)) else {
            // What is queued is short, and runs on the front. The idle one stays so: it may hear of nothing else.
            return thief.counters.bulk_idle.store(true, Ordering::Relaxed);
        };
        if let Some(foreign) = job.foreign {
            self.foreign.borrow_mut().remove(&foreign);
        }
        let job::Job {
            ticket,
            work,
            rows,
            shape_key,
            class,
            deadline_ns,
            arrived_ns,
            reply,
            ..
        } = job;
        let work = work.expect("a job that has not begun has its work");
        let on_miss = mlos_api::OnMiss::Degrade;
        let submission = Submission {
            ticket,
            work,
            rows,
            shape_key,
            class,
            deadline_ns,
            on_miss,
            arrived_ns,
            arrival: Arrival::Adopted,
        };
        match reply {
            Answerer::Channel(reply) => {
                if let Err((submission, reply)) = self.hand_over(target, submission, reply) {
                    self.submit(*submission, None, reply);
                }
            }
            // A binding is this core's.
            Answerer::Asked(asked) => self.ask_again(submission, asked),
        }
    }

    /// Gives a job to another shard. Returns the ticket that it has there, or the job where that shard's inbox is full.
    pub fn hand_over(
        &self,
        target: usize,
        submission: Submission,
        reply: oneshot::Sender<Reply>,
    ) -> Result<u64, (Box<Submission>, oneshot::Sender<Reply>)> {
        let ticket = self.next_ticket();
        let message = ShardMessage::Submit {
            ticket,
            submission: Box::new(submission),
            reply,
        };
        match self.peers[target]
            .inbox
            .try_send(message)
            .map_err(TrySendError::into_inner)
        {
            Err(ShardMessage::Submit {
                submission, reply, ..
            }) => Err((submission, reply)),
            _ => Ok(ticket),
        }
    }

    /// Whether nothing runs here, waits, or is on its way: what a shard waits for before it ends.
    pub fn is_idle(&self) -> bool {
        let rests = |state: &ThreadState| state.running.is_none() && state.aside.iter().all(Option::is_none);
        self.jobs.borrow().is_empty()
            && self.peers[self.index].inbox.is_empty()
            && self.threads.borrow().iter().all(rests)
    }

    /// A lane's call stands at a checkpoint.
    fn checkpoint(&self, thread: Thread, seq: u64) {
        let current = self.threads.borrow()[thread.index()]
            .running
            .as_ref()
            .is_some_and(|run| run.seq == seq);
        if current {
            self.feed(Event::Checkpoint { thread });
        }
    }
}

struct Inbox {
    shard: Rc<Shard>,
    /// Of a burst of messages, each of which may run an inference.
    breath: Breath,
}

impl Actor for Inbox {
    type Message = ShardMessage;

    async fn handle(&mut self, message: ShardMessage) {
        let shard = &self.shard;
        match message {
            ShardMessage::Submit {
                ticket,
                submission,
                reply,
            } => {
                // The other shard may have seen a model that this one is about to be shown.
                shard.learn(submission.ticket.graph());
                shard.submit(*submission, Some(ticket), reply);
                self.breath.take().await;
            }
            ShardMessage::Cancel { ticket } => {
                let job = shard.foreign.borrow().get(&ticket).copied();
                if let Some(job) = job {
                    shard.feed(Event::Cancel { job });
                }
            }
            ShardMessage::Publish { snapshot, done } => {
                shard.take_snapshot(snapshot);
                let _ = done.send(());
            }
            ShardMessage::Retire { models, done } => {
                shard.retire(&models);
                let _ = done.send(());
            }
        }
    }
}

/// Listens to the lanes. A panic starts the shard's state anew.
async fn listen(shard: Rc<Shard>, bell: Arc<AtomicWaker>) {
    while AssertUnwindSafe(take_reports(&shard, &bell))
        .catch_unwind()
        .await
        .is_err()
    {
        shard.start_anew();
    }
}

async fn take_reports(shard: &Shard, bell: &AtomicWaker) {
    loop {
        ring(shard, bell).await;
        let mut rung_for_nothing = true;
        while let Some(report) = shard.lanes.iter().find_map(lane::Lane::hear) {
            rung_for_nothing = false;
            let lane::Report { thread, seq, what } = report;
            match what {
                lane::What::Checkpoint => shard.checkpoint(thread, seq),
                lane::What::Ended(ended) => shard.ended(thread, seq, *ended),
                lane::What::Lost => shard.lost(thread, seq),
            }
        }
        if rung_for_nothing {
            // A lane that lost its core while it rang: the bell rings until the lane has let go of it.
            executor::yield_to_io().await;
        }
    }
}

/// Waits for the bell. It is hung up before the look, so that what is reported after it rings.
async fn ring(shard: &Shard, bell: &AtomicWaker) {
    let mut rung = false;
    poll_fn(|cx| {
        bell.register(cx.waker());
        if rung || shard.lanes.iter().any(lane::Lane::has_report) {
            return Poll::Ready(());
        }
        rung = true;
        Poll::Pending
    })
    .await;
}
