//! How models go: unloaded when the last request that holds them has been answered.

use std::sync::Arc;

use futures_channel::oneshot;
use mlos_api::{Error, LifecycleState, ModelDetail, ModelRef};
use tracing::{error, info};

use super::Control;
use crate::registry::Graph;
use crate::registry::loader::Order;
use crate::registry::store::Active;
use crate::shard::ShardMessage;

/// Graphs that wait for their last request, and who waits for them to be gone.
pub(super) struct Retiring {
    graphs: Vec<Arc<Graph>>,
    /// Named while it drains; none where another content has already taken its place.
    model: Option<ModelRef>,
    gone: Option<Arc<Gone>>,
}

/// Answers whoever asked for a model to be gone, when the last holder of this has dropped what it had of it.
#[derive(Debug)]
pub(crate) struct Gone(Option<oneshot::Sender<Result<(), Error>>>);

impl Drop for Gone {
    fn drop(&mut self) {
        if let Some(reply) = self.0.take() {
            let _ = reply.send(Ok(()));
        }
    }
}

impl Control {
    /// Forgets one version, or all. The caller gets its answer when the memory has been given back.
    pub(super) async fn unregister(&mut self, model: &ModelRef, reply: oneshot::Sender<Result<(), Error>>) {
        let doomed: Vec<ModelRef> = match self.snapshot.find(model) {
            Err(error) => return drop(reply.send(Err(error))),
            Ok(_) if model.version.is_some() => vec![model.clone()],
            Ok(_) => self.snapshot.models[&model.id]
                .entries
                .values()
                .map(|entry| entry.detail.model.clone())
                .collect(),
        };
        let gone = Arc::new(Gone(Some(reply)));
        for model in doomed {
            self.loading.remove(&model);
            self.fingerprints.remove(&model);
            let Ok(entry) = self.snapshot.find(&model) else {
                continue;
            };
            let graphs = entry.graphs.clone();
            let detail = ModelDetail {
                state: LifecycleState::Draining,
                ..(*entry.detail).clone()
            };
            self.put(detail, vec![], None);
            self.move_active_away(&model);
            self.retire(graphs, Some(model), Some(gone.clone()));
        }
        self.publish().await;
    }

    /// Chooses the version that serves when this one goes: the one before it, else the newest that is ready.
    fn move_active_away(&mut self, model: &ModelRef) {
        let Some(versions) = self.snapshot.models.get_mut(&model.id) else {
            return;
        };
        let ready = |version: &String| {
            versions
                .entries
                .get(version)
                .is_some_and(|entry| entry.detail.state == LifecycleState::Ready)
        };
        if versions.active == model.version {
            let before = versions.previous.take().filter(&ready);
            let newest = || {
                versions
                    .entries
                    .keys()
                    .rev()
                    .find(|version| ready(version))
                    .cloned()
            };
            versions.active = before.or_else(newest);
        } else if versions.previous == model.version {
            versions.previous = None;
        }
        let active = Active {
            version: versions.active.clone(),
            previous: versions.previous.clone(),
        };
        if let Err(reason) = self.store.remove(model, &active) {
            error!(%model, %reason, "the removal could not be recorded; it will be back after a restart");
        }
    }

    pub(super) fn retire(
        &mut self,
        graphs: Vec<Arc<Graph>>,
        model: Option<ModelRef>,
        gone: Option<Arc<Gone>>,
    ) {
        graphs.iter().for_each(|graph| graph.retire());
        self.retiring.push(Retiring { graphs, model, gone });
    }

    /// Hands what nothing holds any more to the loader's thread, which unmaps it.
    pub(super) async fn release_idle(&mut self) {
        let idle = |retiring: &Retiring| retiring.graphs.iter().all(|graph| graph.is_idle());
        let (ready, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.retiring).into_iter().partition(idle);
        self.retiring = waiting;
        if ready.is_empty() {
            return;
        }
        let mut models = Vec::new();
        for retiring in &ready {
            models.extend(retiring.graphs.iter().map(|graph| graph.index));
            if let Some(model) = &retiring.model {
                self.forget(model);
            }
        }
        self.publish().await;
        self.ask_shards(|done| ShardMessage::Retire {
            models: models.clone(),
            done,
        })
        .await;
        self.free.extend(models);
        for Retiring { graphs, model, gone } in ready {
            if let Some(model) = model {
                info!(%model, "unloaded");
            }
            let _ = self.loader.send(Order::Release { graphs, gone }).await;
        }
    }

    fn forget(&mut self, model: &ModelRef) {
        let (Some(versions), Some(version)) = (self.snapshot.models.get_mut(&model.id), &model.version)
        else {
            return;
        };
        // Registered again while it drained: then it is not this content any more.
        if versions
            .entries
            .get(version)
            .is_some_and(|entry| entry.detail.state == LifecycleState::Draining)
        {
            versions.entries.remove(version);
        }
        if versions.entries.is_empty() {
            self.snapshot.models.remove(&model.id);
        }
    }
}
