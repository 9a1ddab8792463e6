//! What every shard sees: an immutable map that the registry replaces as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use mlos_api::{Error, LifecycleState, ModelRef, limits};

use super::store::Active;
use super::{Entry, version};

/// The versions of one model.
#[derive(Debug, Clone, Default)]
pub(crate) struct Versions {
    /// What requests without a version get, and what a rollback returns to.
    pub choice: Active,
    /// By version.
    pub entries: BTreeMap<String, Arc<Entry>>,
    /// What requests without a version are shown where the active one has failed: that one, with what to do.
    pub refusal: Option<Arc<Entry>>,
}

impl Versions {
    /// The active version.
    pub fn active(&self) -> Option<&Arc<Entry>> {
        self.entries.get(self.choice.version.as_ref()?)
    }

    /// From the highest version to the lowest.
    pub fn descending(&self) -> Vec<(&String, &Arc<Entry>)> {
        let mut all: Vec<_> = self.entries.iter().collect();
        all.sort_by(|(left, _), (right, _)| version::compare(right, left));
        all
    }

    /// The highest version that is ready.
    pub fn highest_ready(&self) -> Option<&String> {
        let ready = |(_, entry): &(_, &Arc<Entry>)| entry.detail.state == LifecycleState::Ready;
        self.descending()
            .into_iter()
            .find(ready)
            .map(|(version, _)| version)
    }
}

/// All models, as of one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    /// By `namespace/name`.
    pub models: BTreeMap<String, Versions>,
}

impl Snapshot {
    /// The version asked for, or the active one.
    pub fn find(&self, model: &ModelRef) -> Result<&Arc<Entry>, Error> {
        let versions = self.models.get(&model.id).ok_or_else(|| self.not_found(model))?;
        if let Some(version) = &model.version {
            return versions.entries.get(version).ok_or_else(|| self.not_found(model));
        }
        if let Some(found) = versions.refusal.as_ref().or_else(|| versions.active()) {
            return Ok(found);
        }
        // No version has become ready yet: the highest says why.
        let highest = versions.descending().into_iter().next();
        highest
            .map(|(_, entry)| entry)
            .ok_or_else(|| self.not_found(model))
    }

    /// The version that answers, if it is ready to.
    pub fn find_ready(&self, model: &ModelRef) -> Result<&Arc<Entry>, Error> {
        let entry = self.find(model)?;
        let detail = &entry.detail;
        let state = match detail.state {
            LifecycleState::Ready => return Ok(entry),
            // Loaded: this core just does not say so before every other one serves it too.
            LifecycleState::Loading if !entry.graphs.is_empty() => return Ok(entry),
            LifecycleState::Registered | LifecycleState::Loading => "is still being loaded".to_owned(),
            LifecycleState::Draining => "is being unloaded".to_owned(),
            LifecycleState::Failed => {
                let reason = detail.failure.as_deref().unwrap_or("no reason is recorded");
                return Err(Error::ModelFailed(format!(
                    "model '{}' could not be loaded: {reason}",
                    detail.model
                )));
            }
        };
        Err(Error::Unavailable(format!("model '{}' {state}", detail.model)))
    }

    /// Every version, by id and version.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.models
            .values()
            .flat_map(|versions| versions.entries.values())
    }

    fn not_found(&self, model: &ModelRef) -> Error {
        let mut known: Vec<String> = self.models.keys().cloned().collect();
        if let Some(versions) = self.models.get(&model.id) {
            known = versions
                .entries
                .values()
                .map(|entry| entry.detail.model.to_string())
                .collect();
        }
        let nearest = axon_package::nearest(
            &model.to_string(),
            known.iter().map(String::as_str),
            limits::NEAREST_MAX,
        );
        Error::ModelNotFound {
            asked: model.clone(),
            nearest,
        }
    }
}
