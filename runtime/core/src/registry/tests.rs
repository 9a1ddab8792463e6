//! The registry's actor with a real loader and the example plugin, before shards that only take note: what happens when
//! it panics, which no request is known to make it do.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use futures_channel::oneshot;
use futures_lite::future::block_on;
use mlos_api::{Error, LifecycleState, ModelRef, RegisterRequest};
use mlos_plugin_host::{HostConfig, Plugins};
use mlos_scheduler::ModelIndex;

use super::loader::Loader;
use super::{Entry, Graph, Request, Snapshot, Store, Ticket, control};
use crate::actor::{Mailbox, mailbox, supervise};
use crate::shard::ShardMessage;

/// Far beyond what any step takes: it only ends what hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a shard keeps of the registry's messages.
#[derive(Default)]
struct Noted {
    graphs: HashMap<ModelIndex, Arc<Graph>>,
}

impl Noted {
    fn publish(&mut self, snapshot: &Snapshot) {
        for graph in snapshot.entries().flat_map(|entry| &entry.graphs) {
            let before = self.graphs.insert(graph.index, graph.clone());
            let same = before.is_none_or(|before| Arc::ptr_eq(&before, graph));
            assert!(
                same,
                "index {:?} was given to another graph while in use",
                graph.index
            );
        }
    }

    fn retire(&mut self, models: &[ModelIndex]) {
        // Perhaps twice: one that the loader has not dropped yet when a panic comes is taken for lost.
        for index in models {
            self.graphs.remove(index);
        }
    }
}

struct Registry {
    requests: Mailbox<Request>,
    snapshots: Receiver<Arc<Snapshot>>,
    folder: tempfile::TempDir,
}

impl Registry {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut plugins = Plugins::new(HostConfig::default());
        plugins.add_library(&affine(folder.path()), "{}").unwrap();
        let plugins = Arc::new(plugins);
        let (requests, inbox) = mailbox(8);
        let (loader, orders) = mailbox(64);
        let (shard, messages) = mailbox(64);
        let (shown, snapshots) = channel();
        let cache_dir = folder.path().join("cache");
        let (own, runs) = (requests.clone(), plugins.clone());
        on_thread(move || {
            block_on(supervise("loader", orders, || Loader {
                plugins: runs.clone(),
                registry: own.clone(),
                cache_dir: cache_dir.clone(),
                slice_target_us: 500,
                verify: false,
                threads: 1,
            }));
        });
        on_thread(move || note(&messages, &shown));
        let store = Arc::new(Store::open(&folder.path().join("registry.redb")).unwrap());
        let wiring = control::Wiring {
            store,
            plugins,
            models_dir: folder.path().to_owned(),
            shards: vec![shard],
            loader,
            own: requests.clone(),
        };
        on_thread(move || block_on(super::serve(wiring, inbox)));
        Self {
            requests,
            snapshots,
            folder,
        }
    }

    fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Request,
    ) -> oneshot::Receiver<Result<T, Error>> {
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(request(reply)).ok().unwrap();
        answer
    }

    /// Registers a model of these lines, and waits until it is ready.
    fn ready(&self, id: &str, lines: &str) -> Arc<Entry> {
        let path = self
            .folder
            .path()
            .join(format!("{}.affine", id.replace('/', "-")));
        std::fs::write(&path, format!("affine 1\n{lines}\n")).unwrap();
        let request = RegisterRequest {
            model: Some(model(id)),
            path,
            manifest_path: None,
            activate: true,
        };
        block_on(self.ask(|reply| Request::Register(request, reply)))
            .unwrap()
            .unwrap();
        self.until(id, |entry| {
            entry.is_some_and(|entry| entry.detail.state == LifecycleState::Ready)
        })
        .unwrap()
    }

    /// Waits for a snapshot in which this holds of a model.
    fn until(&self, id: &str, holds: impl Fn(Option<&Arc<Entry>>) -> bool) -> Option<Arc<Entry>> {
        loop {
            let snapshot = self.snapshots.recv_timeout(PATIENCE).expect("a snapshot comes");
            let entry = snapshot.find(&model(id)).ok();
            if holds(entry) {
                return entry.cloned();
            }
        }
    }

    fn panic(&self) {
        self.requests.try_send(Request::Panic).ok().unwrap();
    }
}

fn note(messages: &async_channel::Receiver<ShardMessage>, shown: &Sender<Arc<Snapshot>>) {
    let mut noted = Noted::default();
    while let Ok(message) = messages.recv_blocking() {
        match message {
            ShardMessage::Publish { snapshot, done } => {
                noted.publish(&snapshot);
                let _ = shown.send(snapshot);
                let _ = done.send(());
            }
            ShardMessage::Retire { models, done } => {
                noted.retire(&models);
                let _ = done.send(());
            }
            _ => unreachable!("the registry says nothing else"),
        }
    }
}

fn on_thread(main: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().spawn(main).unwrap();
}

fn model(id: &str) -> ModelRef {
    ModelRef::parse(id).unwrap()
}

fn affine(folder: &Path) -> PathBuf {
    let plugins = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins");
    let library = folder.join("affine.so");
    let built = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".into()))
        .args(["-shared", "-fPIC", "-std=c11", "-O1", "-I"])
        .arg(format!("{plugins}/smi/include"))
        .arg("-o")
        .args([library.clone(), format!("{plugins}/example-c/affine.c").into()])
        .output()
        .expect("a C compiler is installed");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    library
}

#[test]
fn a_panic_of_the_registry_is_not_noticed_by_what_it_serves() {
    let registry = Registry::start();
    let first = registry.ready("test/first", "a 2");
    // A request is inside it all the time.
    let ticket = Ticket::new(&first.graphs[0]);
    registry.panic();
    let second = registry.ready("test/second", "a 3");
    assert_ne!(first.graphs[0].index, second.graphs[0].index);
    registry.panic();
    let still = registry
        .until("test/first", |entry| {
            entry.is_some_and(|entry| entry.detail.active)
        })
        .unwrap();
    assert_eq!(still.detail.state, LifecycleState::Ready);
    assert!(
        Arc::ptr_eq(&first.graphs[0], &still.graphs[0]),
        "it was loaded again"
    );
    drop((first, second, still));

    // Removed while the request goes on: neither the removal nor who waits for it is lost.
    let mut gone = registry.ask(|reply| Request::Unregister(model("test/first"), reply));
    registry.until("test/first", |entry| {
        entry.is_some_and(|entry| entry.detail.state == LifecycleState::Draining)
    });
    registry.panic();
    let third = registry.ready("test/third", "a 4");
    assert_ne!(ticket.graph().index, third.graphs[0].index);
    assert!(matches!(gone.try_recv(), Ok(None)), "it is still in use");
    drop(ticket);
    registry.until("test/first", |entry| entry.is_none());
    block_on(gone).unwrap().unwrap();
}

#[test]
fn what_a_panic_left_half_done_is_finished() {
    let registry = Registry::start();
    registry.ready("test/model", "a 2");
    // The file changes, is registered again, and the registry panics before or after it has been loaded.
    for factor in 3..8 {
        let path = registry.folder.path().join("test-model.affine");
        std::fs::write(&path, format!("affine 1\na {factor}\nb {}\n", "1".repeat(factor))).unwrap();
        let request = RegisterRequest {
            model: Some(model("test/model")),
            path,
            manifest_path: None,
            activate: false,
        };
        let answer = registry.ask(|reply| Request::Register(request, reply));
        registry.panic();
        block_on(answer).unwrap().unwrap();
    }
    let other = registry.ready("test/other", "a 2");
    drop(other);
    // Of six contents one serves, and the indices of all others are free again: no graph of them is left.
    let last = registry.ask(|reply| Request::Unregister(model("test/model"), reply));
    block_on(last).unwrap().unwrap();
    registry.until("test/model", |entry| entry.is_none());
    let after = registry.ready("test/after", "a 2");
    assert!(after.graphs[0].index.0 < 2, "{:?}", after.graphs[0].index);
}
