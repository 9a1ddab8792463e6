//! Which version requests without one get.
//!
//! What somebody asked for by name — an activation, or a registration that activates — stays until somebody asks for
//! another: where it cannot be loaded, such requests are refused with the reason rather than answered by a version
//! whose results nobody chose. What a scan made active was nobody's choice: the highest version that is ready takes its
//! place.

use std::cmp::Ordering;
use std::sync::Arc;

use mlos_api::{Error, LifecycleState, ModelDetail, ModelRef};
use tracing::{error, warn};

use super::Control;
use crate::registry::snapshot::Versions;
use crate::registry::store::Active;
use crate::registry::{Entry, version};

/// When a version that has become ready is to become the active one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// Where no other is.
    IfNone,
    /// The same, and where it is higher than one that a scan made active.
    IfHigher,
    /// In any case.
    Always,
}

impl Control {
    /// Makes a version the active one because somebody asked for it, or returns to the one before.
    pub(super) async fn activate(&mut self, model: &ModelRef) -> Result<ModelRef, Error> {
        let versions = self.snapshot.models.get(&model.id);
        let previous = versions.and_then(|versions| versions.choice.previous.clone());
        let wanted = match (&model.version, previous) {
            (Some(_), _) => model.clone(),
            (None, Some(previous)) => ModelRef {
                id: model.id.clone(),
                version: Some(previous),
            },
            (None, None) => {
                self.snapshot.find(model)?;
                return Err(Error::Conflict(format!(
                    "model '{}' has no earlier version to return to",
                    model.id
                )));
            }
        };
        self.snapshot.find_ready(&wanted)?;
        self.choose(&wanted, Activation::Always)?;
        self.publish().await;
        Ok(wanted)
    }

    /// A version is ready: does it become the active one?
    pub(super) fn offer(&mut self, model: &ModelRef, activation: Activation) {
        let (Some(versions), Some(new)) = (self.snapshot.models.get(&model.id), &model.version) else {
            return;
        };
        let (choice, active) = (&versions.choice, versions.active());
        let is_higher = || {
            let active = choice.version.as_deref().unwrap_or_default();
            choice.automatic && version::compare(new, active) == Ordering::Greater
        };
        let takes_over = match (activation, active) {
            (Activation::Always, _) | (_, None) => true,
            (_, Some(active)) if choice.automatic && active.detail.state == LifecycleState::Failed => true,
            (Activation::IfHigher, Some(_)) => is_higher(),
            (Activation::IfNone, Some(_)) => false,
        };
        if takes_over && let Err(reason) = self.choose(model, activation) {
            error!(%model, %reason, "could not become the active version");
        }
    }

    /// Recorded first: what is not on disk is not said to be so.
    fn choose(&mut self, model: &ModelRef, activation: Activation) -> Result<(), Error> {
        let Some(versions) = self.snapshot.models.get_mut(&model.id) else {
            return Ok(());
        };
        let before = &versions.choice;
        let previous = if before.version == model.version {
            &before.previous
        } else {
            &before.version
        };
        let choice = Active {
            version: model.version.clone(),
            previous: previous.clone(),
            automatic: activation == Activation::IfHigher,
        };
        if choice != *before {
            self.store
                .set_active(&model.id, &choice)
                .map_err(|error| Error::Internal(error.to_string()))?;
            versions.choice = choice;
        }
        Ok(())
    }

    /// A version could not be loaded, and nothing of it serves. If it is the active one, another takes its place or
    /// the operator is told.
    pub(super) fn stand_in(&mut self, failed: &ModelRef) {
        let Some(versions) = self.snapshot.models.get(&failed.id) else {
            return;
        };
        if versions.choice.version != failed.version {
            return;
        }
        let instead = versions.highest_ready().filter(|_| versions.choice.automatic);
        let Some(instead) = instead.map(|version| ModelRef {
            id: failed.id.clone(),
            version: Some(version.clone()),
        }) else {
            return error!(
                model = %failed,
                "the active version could not be loaded; requests without a version are refused until it is mended and \
                 registered again, or another is activated"
            );
        };
        warn!(%failed, %instead, "the active version could not be loaded; the highest that is ready takes its place");
        if let Err(reason) = self.choose(&instead, Activation::IfHigher) {
            error!(model = %instead, %reason, "could not become the active version");
        }
    }

    /// Chooses the version that serves when this one goes: the one before it, else the highest that is ready.
    pub(super) fn move_active_away(&mut self, model: &ModelRef) {
        let Some(versions) = self.snapshot.models.get_mut(&model.id) else {
            return;
        };
        if versions.choice.version == model.version {
            let ready = |version: &String| {
                let entry = versions.entries.get(version);
                entry.is_some_and(|entry| entry.detail.state == LifecycleState::Ready)
            };
            let before = versions.choice.previous.clone().filter(ready);
            versions.choice.version = before.or_else(|| versions.highest_ready().cloned());
            versions.choice.previous = None;
        } else if versions.choice.previous == model.version {
            versions.choice.previous = None;
        }
        if let Err(reason) = self.store.remove(model, &versions.choice) {
            error!(%model, %reason, "the removal could not be recorded; it will be back after a restart");
        }
    }
}

/// What requests without a version are shown where the active one has failed and others could be activated.
pub(super) fn refusal(versions: &Versions) -> Option<Arc<Entry>> {
    let active = versions.active()?;
    let reason = active.detail.failure.as_deref()?;
    if active.detail.state != LifecycleState::Failed {
        return None;
    }
    let ready: Vec<String> = versions
        .descending()
        .into_iter()
        .filter(|(_, entry)| entry.detail.state == LifecycleState::Ready)
        .map(|(_, entry)| entry.detail.model.to_string())
        .collect();
    if ready.is_empty() {
        return None;
    }
    let failure = format!(
        "{reason}; it is the active version: mend it and register it again, name a version, or activate another that is \
         ready: {}",
        ready.join(", ")
    );
    let detail = ModelDetail {
        failure: Some(failure),
        ..(*active.detail).clone()
    };
    Some(Arc::new(active.described(detail)))
}
