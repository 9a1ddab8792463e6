//! The engine as the edges of one core see it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use futures_channel::oneshot;
use mlos_api::{
    Asker, Binding, Class, Error, Health, InferRequest, InferResponse, Inputs, LifecycleState, ModelDetail,
    ModelRef, ModelStats, ModelSummary, NamedTensor, PluginStatus, PoolStatus, Readiness, RegisterRequest,
    Registered, ScanReport, Service, ShardStats, StandingService, Stats, Terms,
};
use mlos_scheduler::{Event, JobId, ShardLoad, route};
use mlos_tensor_mem::Pool;
use smallvec::SmallVec;

use crate::actor::Mailbox;
use crate::breath::Breath;
use crate::class::{on_miss, to_policy};
use crate::engine::Shared;
use crate::metrics::class_stats;
use crate::preprocess::Preprocess;
use crate::registry::{Bound, Entry, Request, Snapshot, Ticket};
use crate::shard::{Arrival, Done, Reply, Shard, ShardMessage, Submission};
use crate::{clock, executor};

/// Bytes of text that are tokenised where they arrive; more goes to the preprocessing thread.
const TEXT_INLINE_BYTES: usize = 1024;

/// One core's handle to the engine. Cloning is cheap.
#[derive(Clone)]
pub struct Node {
    shard: Rc<Shard>,
    registry: Mailbox<Request>,
    preprocess: Mailbox<Preprocess>,
    shared: Arc<Shared>,
    random: Rc<RefCell<u64>>,
    /// Of large bodies.
    breath: Rc<Breath>,
}

impl Node {
    pub(crate) fn new(
        shard: Rc<Shard>,
        registry: Mailbox<Request>,
        preprocess: Mailbox<Preprocess>,
        shared: Arc<Shared>,
    ) -> Self {
        let seed = 0x9e37_79b9_7f4a_7c15 ^ (shard.index as u64 + 1);
        Self {
            shard,
            registry,
            preprocess,
            shared,
            random: Rc::new(RefCell::new(seed)),
            breath: Rc::default(),
        }
    }

    /// Index of the shard.
    #[must_use]
    pub fn index(&self) -> usize {
        self.shard.index
    }

    /// Resolves when edges should stop accepting, and finish what they have.
    pub async fn stopping(&self) {
        self.shared.stopping().await;
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.shard.snapshot.borrow().clone()
    }

    /// Tensors for whatever the client sent.
    async fn tensors(&self, entry: &Entry, inputs: Inputs) -> Result<Vec<NamedTensor>, Error> {
        let inputs = match inputs {
            Inputs::Tensors(tensors) => return Ok(tensors),
            other => other,
        };
        let step = entry.preprocessor.clone().ok_or_else(|| {
            Error::Unsupported(format!(
                "model '{}' declares no preprocessing of text or images; send its input tensors",
                entry.detail.model
            ))
        })?;
        if let Inputs::Text(texts) = &inputs
            && texts.iter().map(String::len).sum::<usize>() <= TEXT_INLINE_BYTES
        {
            return step.texts(&self.shard.pool, texts);
        }
        let (reply, answer) = oneshot::channel();
        let message = Preprocess {
            step,
            pool: self.shard.pool.clone(),
            inputs,
            reply,
        };
        if self.preprocess.try_send(message).is_err() {
            return Err(Error::Overloaded {
                what: "the preprocessing queue".to_owned(),
                retry_after_ms: 50,
            });
        }
        answer
            .await
            .unwrap_or_else(|_| Err(Error::Internal("the preprocessing failed".to_owned())))
    }

    /// Which shard runs it: this one if that meets the deadline, else the one that is done first.
    fn choose_shard(&self, submission: &Submission) -> usize {
        let own = self.shard.index;
        if self.shard.peers.len() == 1 || submission.deadline_ns.is_none() {
            return own;
        }
        let job = mlos_scheduler::Job {
            id: JobId(u64::MAX),
            model: submission.ticket.graph().index,
            class: to_policy(submission.class),
            deadline_ns: submission.deadline_ns,
            on_miss: on_miss(submission.on_miss),
            rows: submission.rows,
            shape_key: submission.shape_key,
        };
        let prediction = self.shard.predict(&job);
        let now_ns = clock::now_ns();
        let loads: SmallVec<[ShardLoad; 16]> = self
            .shard
            .peers
            .iter()
            .enumerate()
            .map(|(index, peer)| {
                let ahead = Class::ALL.iter().take(submission.class.index() + 1);
                let backlog_ns: u64 = ahead
                    .map(|class| peer.counters.class(*class).backlog_ns.load(Relaxed))
                    .sum();
                let completion_ns = if index == own {
                    prediction.completion_ns
                } else {
                    now_ns + backlog_ns + prediction.bound_ns
                };
                ShardLoad {
                    completion_ns,
                    node: peer.node as u32,
                    serves: true,
                }
            })
            .collect();
        let random = {
            let mut state = self.random.borrow_mut();
            *state ^= *state << 13;
            *state ^= *state >> 7;
            *state ^= *state << 17;
            *state
        };
        route(&loads, own, submission.deadline_ns, random).unwrap_or(own)
    }

    async fn run(&self, submission: Submission) -> Reply {
        let target = self.choose_shard(&submission);
        let (reply, answer) = oneshot::channel();
        let here = |submission, reply| Held::Own(self.shard.submit(submission, None, reply));
        let held = if target == self.shard.index {
            here(submission, reply)
        } else {
            match self.shard.hand_over(target, submission, reply) {
                Ok(ticket) => Held::Foreign { target, ticket },
                Err((submission, reply)) => here(*submission, reply),
            }
        };
        let undo = Undo {
            shard: &self.shard,
            what: Some(held),
        };
        let outcome = answer.await;
        undo.keep();
        outcome.unwrap_or_else(|_| {
            Err(Error::Internal(
                "the engine of this core had to be restarted".to_owned(),
            ))
        })
    }
}

/// A request that this core waits for.
enum Held {
    Own(JobId),
    Foreign { target: usize, ticket: u64 },
}

/// Cancels a request whose client has gone: the future that waited for it was dropped.
struct Undo<'a> {
    shard: &'a Rc<Shard>,
    what: Option<Held>,
}

impl Undo<'_> {
    fn keep(mut self) {
        self.what = None;
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        match self.what.take() {
            Some(Held::Own(job)) => self.shard.feed(Event::Cancel { job }),
            Some(Held::Foreign { target, ticket }) => {
                let _ = self.shard.peers[target]
                    .inbox
                    .try_send(ShardMessage::Cancel { ticket });
            }
            None => {}
        }
    }
}

impl Service for Node {
    fn model(&self, model: &ModelRef) -> Result<Arc<ModelDetail>, Error> {
        self.shard
            .snapshot
            .borrow()
            .find(model)
            .map(|entry| entry.detail.clone())
    }

    fn pool(&self) -> &Pool {
        &self.shard.pool
    }

    async fn breathe(&self) {
        self.breath.take().await;
    }

    async fn infer(&self, request: InferRequest) -> Result<InferResponse, Error> {
        let arrived_ns = clock::now_ns();
        let entry = self.shard.snapshot.borrow().find_ready(&request.model)?.clone();
        let ticket = Ticket::new(entry.graph(request.component.as_deref())?);
        let detail = entry.detail.clone();
        let class = request.class.unwrap_or(detail.class_default);
        let tensors = self.tensors(&entry, request.inputs).await?;
        // Of the graph, only the ticket is kept from here on: whatever lives longer than it might have to unload.
        drop(entry);
        let Bound {
            work,
            rows,
            shape_key,
        } = ticket.graph().bind(tensors, &request.outputs)?;
        let deadline_ns = request
            .deadline
            .map(|deadline| clock::after(arrived_ns, deadline));
        let on_miss = request.on_miss;
        let submission = Submission {
            ticket,
            work,
            rows,
            shape_key,
            class,
            deadline_ns,
            on_miss,
            arrived_ns,
            arrival: Arrival::New,
        };
        let Done {
            ticket,
            outputs,
            timing,
            class,
        } = self.run(submission).await?;
        let names = &ticket.graph().model.info().outputs;
        let wanted = |name: &String| request.outputs.is_empty() || request.outputs.contains(name);
        let outputs = outputs
            .into_iter()
            .filter(|(index, _)| wanted(&names[*index].name))
            .map(|(index, tensor)| NamedTensor {
                name: names[index].name.clone(),
                tensor,
            })
            .collect();
        Ok(InferResponse {
            model: detail.model.clone(),
            outputs,
            timing,
            class,
        })
    }

    async fn register(&self, request: RegisterRequest) -> Result<Registered, Error> {
        self.tell(|reply| Request::Register(request, reply)).await
    }

    async fn scan(&self) -> Result<ScanReport, Error> {
        self.tell(Request::Scan).await
    }

    async fn unregister(&self, model: &ModelRef) -> Result<(), Error> {
        self.tell(|reply| Request::Unregister(model.clone(), reply)).await
    }

    async fn activate(&self, model: &ModelRef) -> Result<ModelRef, Error> {
        self.tell(|reply| Request::Activate(model.clone(), reply)).await
    }

    fn models(&self) -> Vec<ModelSummary> {
        let summary = |entry: &Arc<Entry>| {
            let detail = &entry.detail;
            ModelSummary {
                model: detail.model.clone(),
                state: detail.state,
                active: detail.active,
                plugin: detail.plugin.clone(),
                framework: detail.framework.clone(),
                path: detail.path.clone(),
            }
        };
        self.snapshot().entries().map(summary).collect()
    }

    fn plugins(&self) -> Vec<PluginStatus> {
        self.shared.plugins.clone()
    }

    fn health(&self) -> Health {
        let snapshot = self.snapshot();
        let count = |wanted: &[LifecycleState]| {
            snapshot
                .entries()
                .filter(|entry| wanted.contains(&entry.detail.state))
                .count()
        };
        Health {
            status: if self.shared.is_draining() {
                Readiness::Draining
            } else {
                Readiness::Healthy
            },
            version: self.shared.version.clone(),
            uptime_ms: u64::try_from(self.shared.uptime().as_millis()).unwrap_or(u64::MAX),
            models_ready: count(&[LifecycleState::Ready]),
            models_loading: count(&[LifecycleState::Registered, LifecycleState::Loading]),
        }
    }

    fn stats(&self) -> Stats {
        let shards = || self.shard.peers.iter().map(|peer| peer.counters.as_ref());
        let classes: Vec<_> = Class::ALL
            .into_iter()
            .map(|class| class_stats(class, shards()))
            .collect();
        let completed: u64 = classes.iter().map(|class| class.completed).sum();
        let latency_us: u64 = classes.iter().map(|class| class.latency_sum_us).sum();
        Stats {
            version: self.shared.version.clone(),
            uptime_seconds: self.shared.uptime().as_secs_f64(),
            total_requests: classes.iter().map(|class| class.arrived).sum(),
            successful_requests: completed,
            failed_requests: classes.iter().map(|class| class.failed + class.rejected).sum(),
            avg_response_time_us: if completed == 0 {
                0.0
            } else {
                latency_us as f64 / completed as f64
            },
            preemption: self.shared.preemption.name().to_owned(),
            executor: executor::NAME.to_owned(),
            models: self
                .snapshot()
                .entries()
                .map(|entry| model_stats(entry))
                .collect(),
            shards: (0..self.shard.peers.len())
                .map(|index| self.shard_stats(index))
                .collect(),
            classes,
            clients: self.shared.clients(),
        }
    }
}

/// A binding of one core. Dropping it lets go of the tensors, after the request that may be running.
pub struct Standing {
    shard: Rc<Shard>,
    index: u32,
}

impl std::fmt::Debug for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Standing({} of shard {})", self.index, self.shard.index)
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.shard.release(self.index);
    }
}

impl StandingService for Node {
    type Bound = Standing;

    fn bind(&self, binding: Binding) -> Result<Standing, Error> {
        Ok(Standing {
            index: self.shard.bind(binding)?,
            shard: self.shard.clone(),
        })
    }

    fn ask(&self, bound: &Standing, terms: Terms, asker: &Rc<dyn Asker>, number: u64) -> Result<(), Error> {
        self.shard.ask(bound.index, terms, asker, number)
    }

    fn asked_all(&self) {
        self.shard.asked_all();
    }

    fn cancel(&self, bound: &Standing) {
        self.shard.cancel_asked(bound.index);
    }
}

impl Node {
    async fn tell<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Request,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        if self.registry.try_send(request(reply)).is_err() {
            return Err(Error::Overloaded {
                what: "the registry's queue".to_owned(),
                retry_after_ms: 100,
            });
        }
        answer
            .await
            .unwrap_or_else(|_| Err(Error::Internal("the registry had to be restarted".to_owned())))
    }

    fn shard_stats(&self, index: usize) -> ShardStats {
        let peer = &self.shard.peers[index];
        let counters = &peer.counters;
        let seat = &self.shared.seats[index];
        let pool = seat.pool.stats();
        ShardStats {
            shard: index,
            cpu: seat.cpu.index,
            node: peer.node,
            backlog_us: Class::ALL
                .iter()
                .map(|class| counters.class(*class).backlog_ns.load(Relaxed) / 1_000)
                .sum(),
            lanes: seat.lanes.get().cloned().unwrap_or_default(),
            predictions: counters.predictions.load(Relaxed),
            predictions_accurate: counters.predictions_accurate.load(Relaxed),
            predictions_missed: counters.predictions_missed.load(Relaxed),
            predictions_false_alarm: counters.predictions_false_alarm.load(Relaxed),
            pool: PoolStatus {
                limit_bytes: pool.limit as u64,
                reserved_bytes: pool.committed_bytes as u64,
                in_use_bytes: pool.in_use_bytes as u64,
                loans: pool.loans,
            },
        }
    }
}

fn model_stats(entry: &Entry) -> ModelStats {
    let sum = |count: fn(&crate::metrics::ModelCounters) -> u64| -> u64 {
        let graphs = entry.graphs.iter();
        graphs.flat_map(|graph| graph.all_counters()).map(count).sum()
    };
    ModelStats {
        model: entry.detail.model.to_string(),
        completed: sum(|counters| counters.completed.load(Relaxed)),
        failed: sum(|counters| counters.failed.load(Relaxed)),
        runs: sum(|counters| counters.runs.load(Relaxed)),
        compute_us: sum(|counters| counters.compute_ns.load(Relaxed)) / 1_000,
        queue_us: sum(|counters| counters.queue_ns.load(Relaxed)) / 1_000,
        resident_bytes: entry.detail.resident_bytes,
    }
}
