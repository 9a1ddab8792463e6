//! What every shard sees: an immutable map that the registry replaces as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use mlos_api::{Error, LifecycleState, ModelRef, limits};

use super::Entry;

/// The versions of one model.
#[derive(Debug, Clone, Default)]
pub(crate) struct Versions {
    /// What requests without a version get.
    pub active: Option<String>,
    /// What a rollback returns to.
    pub previous: Option<String>,
    /// By version.
    pub entries: BTreeMap<String, Arc<Entry>>,
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
        let wanted = model.version.as_ref().or(versions.active.as_ref());
        let found = wanted.and_then(|version| versions.entries.get(version));
        match (found, &model.version) {
            (Some(entry), _) => Ok(entry),
            (None, Some(_)) => Err(self.not_found(model)),
            // No version has become ready yet: the newest says why.
            (None, None) => versions
                .entries
                .values()
                .next_back()
                .ok_or_else(|| self.not_found(model)),
        }
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
