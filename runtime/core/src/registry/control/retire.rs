//! How models go: unloaded when the last request that holds them has been answered.

use std::sync::Arc;

use futures_channel::oneshot;
use mlos_api::{Error, LifecycleState, ModelDetail, ModelRef};
use tracing::info;

use super::Control;
use crate::registry::holdings::Retiring;
use crate::registry::loader::Order;
use crate::registry::{Entry, Graph};
use crate::shard::ShardMessage;

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
            let drains = |entry: &Arc<Entry>| entry.detail.state == LifecycleState::Draining;
            // Somebody else has asked for it to go: both wait for the same end.
            let joins = self.snapshot.find(&model).is_ok_and(drains);
            if !joins || !self.holdings.borrow_mut().join(&model, &gone) {
                self.drain(&model, vec![gone.clone()]);
            }
        }
        self.publish().await;
    }

    /// Takes a version out of service. Who waits for it hears when the last request that holds it is done.
    pub(super) fn drain(&mut self, model: &ModelRef, gone: Vec<Arc<Gone>>) {
        let Ok(entry) = self.snapshot.find(model) else {
            return;
        };
        let graphs = entry.graphs.clone();
        let detail = ModelDetail {
            state: LifecycleState::Draining,
            ..(*entry.detail).clone()
        };
        self.put(Entry::unloaded(detail));
        self.move_active_away(model);
        self.retire(graphs, Some(model.clone()), gone);
    }

    pub(super) fn retire(&self, graphs: Vec<Arc<Graph>>, model: Option<ModelRef>, gone: Vec<Arc<Gone>>) {
        let nothing = graphs.is_empty() && model.is_none();
        if !nothing {
            let retiring = Retiring { graphs, model, gone };
            self.holdings.borrow_mut().retire(retiring);
        }
    }

    /// Hands what nothing holds any more to the loader's thread, which unmaps it.
    pub(super) async fn release_idle(&mut self) {
        let ready = self.holdings.borrow_mut().take_idle();
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
        // Registered again while it drained, then it is not this content any more; and perhaps unregistered again since.
        if self.holdings.borrow().is_draining(model) {
            return;
        }
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
