//! Puts the engine together: a shard per core, and the three threads beside them — registry, loader, preprocessing.

use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use async_channel::Receiver;
use mlos_api::{ClientStats, PluginStatus};
use mlos_plugin_host::Plugins;
use mlos_tensor_mem::{Pool, PoolConfig};
use tracing::info;

use crate::actor::{Mailbox, mailbox, supervise};
use crate::config::{EngineConfig, PreemptionMode};
use crate::executor::{self, ExecutorConfig};
use crate::metrics::ShardCounters;
use crate::preprocess::{Preprocess, PreprocessActor};
use crate::registry::control::Wiring;
use crate::registry::loader::Loader;
use crate::registry::{self, Request, Store};
use crate::shard::{Parts, Peer, Shard, ShardMessage};
use crate::topology::{self, Cpu};
use crate::weaken::{Strength, weaken_current_thread};
use crate::{Error, Node, clock, limits};

/// How often a shard that is to end looks whether it may.
const FINISH_TICK: Duration = Duration::from_millis(5);

/// What all shards share, read-only but for its flags.
pub(crate) struct Shared {
    pub version: String,
    pub plugins: Vec<PluginStatus>,
    pub preemption: PreemptionMode,
    pub seats: Vec<Seat>,
    draining: AtomicBool,
    /// Shards whose edges have not ended. Until they have, any shard may be given work by any other.
    serving: AtomicUsize,
    /// Closed when edges are to stop.
    stop: async_channel::Sender<()>,
    stopped: Receiver<()>,
    started: Duration,
    /// Says which clients of this machine are connected, where an edge serves such.
    clients: OnceLock<Box<dyn Fn() -> Vec<ClientStats> + Send + Sync>>,
}

/// What is known of a shard from outside.
pub(crate) struct Seat {
    pub cpu: Cpu,
    pub pool: Pool,
    pub lanes: OnceLock<Vec<String>>,
}

impl Shared {
    /// The clients of this machine that are connected.
    pub fn clients(&self) -> Vec<ClientStats> {
        self.clients.get().map_or_else(Vec::new, |clients| clients())
    }

    /// Relaxed, as the flag is all there is to see: no other memory is read on its account.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub fn uptime(&self) -> Duration {
        clock::now().saturating_sub(self.started)
    }

    pub async fn stopping(&self) {
        let _ = self.stopped.recv().await;
    }

    /// Resolves when no shard can give this one work any more, and it has done all that it was given.
    async fn finish(&self, shard: &Shard) {
        self.serving.fetch_sub(1, Ordering::Relaxed);
        while self.serving.load(Ordering::Relaxed) > 0 || !shard.is_idle() {
            executor::sleep(FINISH_TICK).await;
        }
        // The registry may be waiting for an answer; after this it is told that nobody is here.
        let inbox = &shard.peers[shard.index].inbox;
        inbox.close();
        while !inbox.is_empty() {
            executor::sleep(FINISH_TICK).await;
        }
    }
}

/// The running engine.
pub struct Engine {
    shared: Arc<Shared>,
    shards: Vec<JoinHandle<()>>,
    /// The threads beside the shards; each ends when its mailbox is closed.
    beside: Vec<JoinHandle<()>>,
    registry: Mailbox<Request>,
    preprocess: Mailbox<Preprocess>,
}

impl Engine {
    /// Starts every shard. `serve` runs on each, with that core's [`Node`], until it should stop; edges live in it.
    ///
    /// # Errors
    /// Where a processor, io_uring, memory, or the state folder cannot be had; the text says what to do.
    pub fn start<S, F>(config: EngineConfig, plugins: Plugins, version: &str, serve: S) -> Result<Self, Error>
    where
        S: Fn(Node) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        config.check()?;
        let config = Arc::new(config);
        let cpus = topology::choose(config.cores.as_deref())?;
        let store = Arc::new(open_store(&config.state_dir)?);
        let plugins = Arc::new(plugins);
        let (stop, stopped) = async_channel::bounded(1);
        let seats = cpus
            .iter()
            .map(|cpu| seat(*cpu, &config))
            .collect::<Result<Vec<_>, _>>()?;
        let shared = Arc::new(Shared {
            version: version.to_owned(),
            plugins: plugin_statuses(&plugins),
            preemption: config.preemption,
            seats,
            draining: AtomicBool::new(false),
            serving: AtomicUsize::new(cpus.len()),
            stop,
            stopped,
            started: clock::now(),
            clients: OnceLock::new(),
        });
        let (peers, inboxes): (Vec<Peer>, Vec<_>) = cpus.iter().map(peer).unzip();
        let (registry, registry_inbox) = mailbox(limits::CONTROL_QUEUE_MAX);
        let (preprocess, preprocess_inbox) = mailbox(limits::PREPROCESS_QUEUE_MAX);
        let mut shards = Vec::with_capacity(cpus.len());
        for (index, inbox) in inboxes.into_iter().enumerate() {
            let pool = shared.seats[index].pool.clone();
            let parts = Parts {
                index,
                cpu: cpus[index],
                pool,
                config: config.clone(),
                peers: peers.clone(),
                inbox,
            };
            let (registry, preprocess) = (registry.clone(), preprocess.clone());
            let (shared, serve) = (shared.clone(), serve.clone());
            shards.push(start_shard(parts, move |shard| async move {
                let _ = shared.seats[shard.index].lanes.set(shard.lane_names());
                serve(Node::new(shard.clone(), registry, preprocess, shared.clone())).await;
                shared.finish(&shard).await;
            })?);
        }
        let inboxes = peers.into_iter().map(|peer| peer.inbox).collect();
        let mut beside = start_registry(&config, store, plugins, inboxes, registry.clone(), registry_inbox)?;
        beside.push(start_preprocessing(preprocess_inbox)?);
        info!(cpus = ?cpus.iter().map(|cpu| cpu.index).collect::<Vec<_>>(), preemption = config.preemption.name(), "serving");
        Ok(Self {
            shared,
            shards,
            beside,
            registry,
            preprocess,
        })
    }

    /// Has `/stats` show the clients that an edge knows of. Once; what is said later is not heard.
    pub fn show_clients(&self, clients: impl Fn() -> Vec<ClientStats> + Send + Sync + 'static) {
        let _ = self.shared.clients.set(Box::new(clients));
    }

    /// Says *draining* from now on, so that whoever balances load sends no more. Everything is still answered.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
    }

    /// Makes the edges stop accepting and finish what they have, and waits for it at most this long. True if all did.
    ///
    /// Then the threads beside the shards end: the registry closes its file, and the loader is inside no plugin any
    /// more when the process ends and takes their libraries down.
    pub fn stop(self, patience: Duration) -> bool {
        self.drain();
        self.shared.stop.close();
        let until = clock::now() + patience;
        let answered = join(self.shards, until);
        self.registry.close();
        self.preprocess.close();
        join(self.beside, until);
        answered
    }
}

/// Waits for threads. False if one is still running at that time, or panicked.
fn join(threads: Vec<JoinHandle<()>>, until: Duration) -> bool {
    while !threads.iter().all(JoinHandle::is_finished) {
        if clock::now() >= until {
            return false;
        }
        std::thread::park_timeout(FINISH_TICK);
    }
    threads.into_iter().all(|thread| thread.join().is_ok())
}

fn open_store(state_dir: &Path) -> Result<Store, Error> {
    std::fs::create_dir_all(state_dir).map_err(|source| Error::Start {
        what: format!(
            "with the state folder {}; name another with --state-dir",
            state_dir.display()
        ),
        source,
    })?;
    Store::open(&state_dir.join("registry.redb"))
}

fn seat(cpu: Cpu, config: &EngineConfig) -> Result<Seat, Error> {
    let pool = Pool::new(PoolConfig {
        node: u32::try_from(cpu.node).ok(),
        limit_bytes: config.pool_mib_max << 20,
        huge_pages: config.huge_pages,
        ..PoolConfig::default()
    })?;
    Ok(Seat {
        cpu,
        pool,
        lanes: OnceLock::new(),
    })
}

fn peer(cpu: &Cpu) -> (Peer, Receiver<ShardMessage>) {
    let (inbox, messages) = mailbox(limits::INBOX_MAX);
    (
        Peer {
            inbox,
            counters: Arc::new(ShardCounters::default()),
            node: cpu.node,
        },
        messages,
    )
}

fn plugin_statuses(plugins: &Plugins) -> Vec<PluginStatus> {
    let status = |info: mlos_plugin_host::PluginInfo| PluginStatus {
        id: info.id,
        name: info.name,
        version: info.version,
        formats: info.formats,
        source: info.source.to_string(),
    };
    plugins.list().into_iter().map(status).collect()
}

fn start_shard<F: Future<Output = ()> + 'static>(
    parts: Parts,
    serve: impl FnOnce(std::rc::Rc<Shard>) -> F + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    let name = format!("mlos-front-{}", parts.cpu.index);
    let config = ExecutorConfig {
        cpu: parts.cpu.index,
        name: name.clone(),
    };
    let (started, outcome) = std::sync::mpsc::sync_channel(1);
    let thread = executor::run_on(config, move || async move {
        let shard = match Shard::start(parts) {
            Ok(shard) => shard,
            Err(reason) => return drop(started.send(Err(reason))),
        };
        let _ = started.send(Ok(()));
        shard.informed().await;
        serve(shard).await;
    });
    let ended = |_| std::io::Error::other("its thread ended while starting");
    thread
        .and_then(|thread| Ok((thread, outcome.recv().map_err(ended)?)))
        .map_err(|source| Error::Start { what: name, source })
        .and_then(|(thread, started)| started.map(|()| thread))
}

/// Runs a future on a thread of its own, this strong.
fn start_thread<F: Future<Output = ()>>(
    name: &str,
    strength: Strength,
    main: impl FnOnce() -> F + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _ = weaken_current_thread(strength);
            futures_lite::future::block_on(main());
        })
        .map_err(|source| Error::Start {
            what: name.to_owned(),
            source,
        })
}

fn start_preprocessing(inbox: Receiver<Preprocess>) -> Result<JoinHandle<()>, Error> {
    start_thread("mlos-prepare", Strength::Nice(5), || async move {
        supervise("preprocessing", inbox, || PreprocessActor).await;
    })
}

fn start_registry(
    config: &Arc<EngineConfig>,
    store: Arc<Store>,
    plugins: Arc<Plugins>,
    shards: Vec<Mailbox<ShardMessage>>,
    registry: Mailbox<Request>,
    inbox: Receiver<Request>,
) -> Result<Vec<JoinHandle<()>>, Error> {
    let (loader, orders) = mailbox(limits::LOAD_QUEUE_MAX);
    let (own, settings, loads) = (registry.clone(), config.clone(), plugins.clone());
    let loading = start_thread("mlos-loader", Strength::Idle, move || async move {
        supervise("loader", orders, || Loader {
            plugins: loads.clone(),
            registry: own.clone(),
            cache_dir: settings.state_dir.join("cache"),
            slice_target_us: settings.slice_target_us,
            verify: settings.verify_on_load,
            threads: settings.threads_per_model,
        })
        .await;
    })?;
    let models_dir = config.models_dir.clone();
    let wiring = Wiring {
        store,
        plugins,
        models_dir,
        shards,
        loader,
        own: registry,
    };
    let control = start_thread("mlos-registry", Strength::Nice(5), move || async move {
        registry::serve(wiring, inbox).await;
    })?;
    Ok(vec![loading, control])
}
