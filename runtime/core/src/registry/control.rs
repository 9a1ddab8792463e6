//! The one actor that changes which models there are.
//!
//! A change is committed to the store, then published to every shard as a new [`Snapshot`], and only then answered.
//! What a publication replaces is unloaded when the last request that holds it has been answered: no request fails
//! because a model was replaced or removed.

mod active;
mod restore;
mod retire;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use futures_channel::oneshot;
use mlos_api::{Error, LifecycleState, ModelDetail, ModelRef, RegisterRequest, Registered, ScanReport};
use mlos_plugin_host::Plugins;
use tracing::error;

use super::holdings::Holdings;
use super::loader::{Loaded, Order};
use super::package::{self, Package};
use super::snapshot::{Snapshot, Versions};
use super::store::{Record, Store};
use super::{Entry, Graph};
use crate::actor::{Actor, Mailbox};
use crate::shard::ShardMessage;
use crate::{clock, limits};

use active::Activation;
pub(crate) use retire::Gone;

/// What the registry is asked, or told.
pub(crate) enum Request {
    Register(RegisterRequest, oneshot::Sender<Result<Registered, Error>>),
    Scan(oneshot::Sender<Result<ScanReport, Error>>),
    Unregister(ModelRef, oneshot::Sender<Result<(), Error>>),
    Activate(ModelRef, oneshot::Sender<Result<ModelRef, Error>>),
    /// From the loader.
    Loaded {
        ticket: u64,
        result: Result<Box<Loaded>, String>,
    },
    /// Some graph that is to be unloaded is held by nothing any more.
    Idle,
    /// Makes the actor panic, which nothing else is known to do.
    #[cfg(test)]
    Panic,
}

/// A package on its way through the loader.
struct Loading {
    ticket: u64,
    activation: Activation,
    /// Places that it will take in the table of models.
    graphs: usize,
}

/// The registry's actor.
pub(crate) struct Control {
    store: Arc<Store>,
    plugins: Arc<Plugins>,
    models_dir: PathBuf,
    shards: Vec<Mailbox<ShardMessage>>,
    loader: Mailbox<Order>,
    own: Mailbox<Request>,
    snapshot: Snapshot,
    fingerprints: BTreeMap<ModelRef, String>,
    loading: BTreeMap<ModelRef, Loading>,
    holdings: Rc<RefCell<Holdings>>,
    next_ticket: u64,
}

/// What the registry's actor needs of the rest.
#[derive(Clone)]
pub(crate) struct Wiring {
    pub store: Arc<Store>,
    pub plugins: Arc<Plugins>,
    pub models_dir: PathBuf,
    pub shards: Vec<Mailbox<ShardMessage>>,
    pub loader: Mailbox<Order>,
    pub own: Mailbox<Request>,
}

impl Actor for Control {
    type Message = Request;

    async fn handle(&mut self, request: Request) {
        match request {
            Request::Register(request, reply) => {
                let activation = if request.activate {
                    Activation::Always
                } else {
                    Activation::IfNone
                };
                let result = self.register(request, activation).await;
                let _ = reply.send(result);
            }
            Request::Scan(reply) => {
                let result = self.scan().await;
                let _ = reply.send(result);
            }
            Request::Unregister(model, reply) => self.unregister(&model, reply).await,
            Request::Activate(model, reply) => {
                let result = self.activate(&model).await;
                let _ = reply.send(result);
            }
            Request::Loaded { ticket, result } => self.loaded(ticket, result).await,
            Request::Idle => {}
            #[cfg(test)]
            Request::Panic => panic!("asked to"),
        }
        self.release_idle().await;
    }
}

impl Control {
    /// Knows nothing; [`Control::restore`] brings back what the store knows, and what a predecessor has left serving.
    pub fn new(wiring: Wiring, holdings: Rc<RefCell<Holdings>>) -> Self {
        let Wiring {
            store,
            plugins,
            models_dir,
            shards,
            loader,
            own,
        } = wiring;
        Self {
            store,
            plugins,
            models_dir,
            shards,
            loader,
            own,
            snapshot: Snapshot::default(),
            fingerprints: BTreeMap::new(),
            loading: BTreeMap::new(),
            holdings,
            // Not from 0: what the loader was asked by a predecessor that panicked is not taken for an answer.
            next_ticket: clock::now_ns(),
        }
    }

    async fn register(
        &mut self,
        mut request: RegisterRequest,
        activation: Activation,
    ) -> Result<Registered, Error> {
        // The record outlives this process, and the folder that it was started in.
        for path in std::iter::once(&mut request.path).chain(&mut request.manifest_path) {
            *path = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
        }
        let package = Package::read(&request)?;
        let model = package.model.clone();
        let plugin = self.plugin_of(&package)?;
        let known = self.snapshot.find(&model).ok().map(|entry| entry.detail.state);
        if self.fingerprints.get(&model) == Some(&package.fingerprint)
            && let Some(state @ (LifecycleState::Ready | LifecycleState::Loading)) = known
        {
            if activation == Activation::Always {
                match self.loading.get_mut(&model) {
                    Some(loading) if state == LifecycleState::Loading => loading.activation = activation,
                    _ => drop(self.activate(&model).await?),
                }
            }
            return Ok(Registered {
                model,
                plugin,
                state,
                already: true,
            });
        }
        self.check_room(&model, package.executables.len())?;
        let version = model.version.clone().unwrap_or_default();
        let record = Record {
            id: model.id.clone(),
            version,
            path: request.path,
            manifest_path: request.manifest_path,
            fingerprint: package.fingerprint.clone(),
            registered_ms: clock::wall_ms(),
            scanned: activation == Activation::IfHigher,
            failed: false,
        };
        self.store
            .put(&record)
            .map_err(|error| Error::Internal(error.to_string()))?;
        self.load(package, activation).await;
        self.publish().await;
        Ok(Registered {
            model,
            plugin,
            state: LifecycleState::Loading,
            already: false,
        })
    }

    fn plugin_of(&self, package: &Package) -> Result<String, Error> {
        let format = package
            .executables
            .first()
            .map_or("", |executable| executable.format.as_str());
        match self.plugins.for_format(format) {
            Some(plugin) => Ok(plugin.info().id.clone()),
            None => {
                let known: Vec<String> = self
                    .plugins
                    .list()
                    .into_iter()
                    .flat_map(|plugin| plugin.formats)
                    .collect();
                Err(Error::Unsupported(format!(
                    "no plugin runs the format '{format}'; there are plugins for: {}",
                    known.join(", ")
                )))
            }
        }
    }

    fn check_room(&self, model: &ModelRef, graphs: usize) -> Result<(), Error> {
        let known = self.snapshot.models.get(&model.id);
        let is_new = |versions: &&Versions| {
            let version = model.version.as_ref();
            version.is_none_or(|version| !versions.entries.contains_key(version))
        };
        let versions = known.filter(is_new).map_or(0, |versions| versions.entries.len());
        let coming: usize = self.loading.values().map(|loading| loading.graphs).sum();
        if self.holdings.borrow().free() < coming + graphs {
            return Err(Error::Overloaded {
                what: "the table of models".to_owned(),
                retry_after_ms: 1_000,
            });
        }
        if versions >= limits::VERSIONS_MAX {
            let advice = format!("model '{}' has {versions} versions; remove one first", model.id);
            return Err(Error::Conflict(advice));
        }
        Ok(())
    }

    /// Hands a package to the loader. What served under the same name goes on until the new content is ready.
    async fn load(&mut self, package: Package, activation: Activation) {
        let model = package.model.clone();
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let graphs = package.executables.len();
        let loading = Loading {
            ticket,
            activation,
            graphs,
        };
        self.loading.insert(model.clone(), loading);
        self.fingerprints
            .insert(model.clone(), package.fingerprint.clone());
        let serving = self
            .snapshot
            .find(&model)
            .is_ok_and(|entry| entry.detail.state == LifecycleState::Ready);
        if !serving {
            let detail = ModelDetail {
                state: LifecycleState::Loading,
                ..describe(&package)
            };
            self.put(Entry::unloaded(detail));
        }
        let order = Order::Load {
            ticket,
            package: Box::new(package),
        };
        if self.loader.send(order).await.is_err() {
            error!(%model, "the loader has ended");
        }
    }

    async fn loaded(&mut self, ticket: u64, result: Result<Box<Loaded>, String>) {
        // Unregistered, or registered again with other content, while it was being loaded.
        let asked = |(_, loading): &(&ModelRef, &Loading)| loading.ticket == ticket;
        let found = self.loading.iter().find(asked);
        let Some((model, activation)) = found.map(|(model, loading)| (model.clone(), loading.activation))
        else {
            return;
        };
        self.loading.remove(&model);
        // There was room when it was asked for, but what it was to replace may still be in use.
        let fits = |loaded: &Loaded| self.holdings.borrow().free() >= loaded.models.len();
        let result = result.and_then(|loaded| {
            fits(&loaded)
                .then_some(loaded)
                .ok_or_else(|| "the table of models is full".to_owned())
        });
        match result {
            Ok(loaded) => self.serve(&model, *loaded, activation).await,
            Err(reason) => {
                self.fingerprints.remove(&model);
                if let Ok(entry) = self.snapshot.find(&model).cloned() {
                    let detail = |state| ModelDetail {
                        state,
                        failure: Some(reason),
                        ..(*entry.detail).clone()
                    };
                    // Where older content of this version serves, it goes on; the reason is shown beside it.
                    if entry.detail.state == LifecycleState::Ready {
                        self.put(entry.described(detail(LifecycleState::Ready)));
                    } else {
                        self.fail(&model, detail(LifecycleState::Failed));
                    }
                }
                self.publish().await;
            }
        }
    }

    async fn serve(&mut self, model: &ModelRef, loaded: Loaded, activation: Activation) {
        let Ok(before) = self.snapshot.find(model).cloned() else {
            return;
        };
        let ready = self.entry_of(&before, loaded);
        // First every core serves it, then any of them says so: whoever reads "ready" from one may ask another.
        let is_new = before.graphs.is_empty();
        if is_new {
            let detail = ModelDetail {
                state: LifecycleState::Loading,
                ..(*ready.detail).clone()
            };
            self.put(ready.described(detail));
        } else {
            self.put(ready.described((*ready.detail).clone()));
        }
        self.offer(model, activation);
        self.publish().await;
        if is_new {
            self.put(ready);
            self.publish().await;
        }
        if let Err(reason) = self.store.set_failed(model, false) {
            error!(%model, %reason, "that it could be loaded could not be recorded");
        }
        self.retire(before.graphs.clone(), None, vec![]);
    }

    /// What has been loaded, with an index for each graph.
    fn entry_of(&self, before: &Entry, loaded: Loaded) -> Entry {
        let Loaded {
            models,
            policies,
            signatures,
            preprocessor,
            plugin,
            load_ms,
        } = loaded;
        let detail = ModelDetail {
            state: LifecycleState::Ready,
            failure: None,
            plugin,
            preprocessing: preprocessor
                .as_deref()
                .map_or(mlos_api::Preprocessing::None, |step| step.kind()),
            signatures,
            class_default: policies.first().map_or_else(Default::default, |policy| {
                crate::class::from_policy(policy.class_default)
            }),
            resident_bytes: models.iter().map(mlos_plugin_host::Model::resident_bytes).sum(),
            load_ms,
            ..(*before.detail).clone()
        };
        let mut holdings = self.holdings.borrow_mut();
        let shards = self.shards.len();
        let graphs = models.into_iter().zip(policies).map(|(loaded, policy)| {
            holdings
                .seat(|index| Graph::new(index, loaded, policy, self.own.clone(), shards))
                .expect("there is room, as `loaded` has checked")
        });
        let fingerprint = self.fingerprints.get(&before.detail.model);
        Entry {
            graphs: graphs.collect(),
            fingerprint: fingerprint.cloned().unwrap_or_default(),
            preprocessor,
            detail: Arc::new(detail),
        }
    }

    async fn scan(&mut self) -> Result<ScanReport, Error> {
        let mut report = ScanReport::default();
        for root in package::below(&self.models_dir) {
            let request = RegisterRequest {
                model: None,
                path: root.clone(),
                manifest_path: None,
                activate: false,
            };
            match self.register(request, Activation::IfHigher).await {
                Ok(registered) if registered.already => report.known += 1,
                Ok(registered) => report.registered.push(registered.model),
                Err(error) => report.failed.push((root, error.to_string())),
            }
        }
        Ok(report)
    }

    fn put(&mut self, entry: Entry) {
        let model = &entry.detail.model;
        let version = model.version.clone().unwrap_or_default();
        let versions = self.snapshot.models.entry(model.id.clone()).or_default();
        versions.entries.insert(version, Arc::new(entry));
    }

    /// Shows every shard what there is now, and waits until each has seen it.
    async fn publish(&mut self) {
        for versions in self.snapshot.models.values_mut() {
            let names: Vec<String> = versions.entries.keys().cloned().collect();
            for (version, entry) in &mut versions.entries {
                let active = versions.choice.version.as_ref() == Some(version);
                if entry.detail.active != active || entry.detail.versions != names {
                    let detail = ModelDetail {
                        active,
                        versions: names.clone(),
                        ..(*entry.detail).clone()
                    };
                    *entry = Arc::new(entry.described(detail));
                }
            }
            versions.refusal = active::refusal(versions);
        }
        let snapshot = Arc::new(self.snapshot.clone());
        self.holdings.borrow_mut().published = snapshot.clone();
        self.ask_shards(|done| ShardMessage::Publish {
            snapshot: snapshot.clone(),
            done,
        })
        .await;
    }

    /// Tells every shard, and waits for all. A shard that has ended needs not be told.
    async fn ask_shards(&self, message: impl Fn(oneshot::Sender<()>) -> ShardMessage) {
        let mut answers = Vec::with_capacity(self.shards.len());
        for shard in &self.shards {
            let (done, answer) = oneshot::channel();
            if shard.send(message(done)).await.is_ok() {
                answers.push(answer);
            }
        }
        for answer in answers {
            let _ = answer.await;
        }
    }
}

/// What is known of a package before it is loaded.
fn describe(package: &Package) -> ModelDetail {
    let manifest = package.manifest.as_ref();
    let format = package
        .executables
        .first()
        .map(|executable| executable.format.clone())
        .unwrap_or_default();
    ModelDetail {
        framework: manifest
            .map(|manifest| manifest.spec.framework.name.clone())
            .unwrap_or_default(),
        description: manifest
            .map(|manifest| manifest.metadata.description.clone())
            .unwrap_or_default(),
        format,
        class_default: package.serving.class_default,
        ..blank(&package.model, &package.root)
    }
}

fn blank(model: &ModelRef, path: &Path) -> ModelDetail {
    ModelDetail {
        model: model.clone(),
        state: LifecycleState::Registered,
        failure: None,
        active: false,
        format: String::new(),
        framework: String::new(),
        description: String::new(),
        plugin: String::new(),
        path: path.to_owned(),
        signatures: Vec::new(),
        preprocessing: mlos_api::Preprocessing::None,
        class_default: mlos_api::Class::default(),
        resident_bytes: 0,
        load_ms: 0,
        versions: Vec::new(),
    }
}
