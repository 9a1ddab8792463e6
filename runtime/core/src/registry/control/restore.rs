//! How the registry starts: from the store, and from what a predecessor that panicked has left serving.

use mlos_api::{LifecycleState, ModelDetail, ModelRef, RegisterRequest};
use tracing::{error, warn};

use super::active::Activation;
use super::{Control, blank};
use crate::registry::Entry;
use crate::registry::package::Package;
use crate::registry::store::{Contents, Record};

impl Control {
    /// Brings back every record of the store, and has each loaded that is not.
    pub async fn restore(&mut self) {
        self.inherit();
        match self.store.contents() {
            Ok(contents) => self.take_up(contents).await,
            Err(reason) => error!(%reason, "the registry could not be read; it goes on with what is loaded"),
        }
        self.snapshot
            .models
            .retain(|_, versions| !versions.entries.is_empty());
        self.publish().await;
        let lost = self.holdings.borrow().lost(&self.snapshot);
        self.retire(lost, None, vec![]);
        self.release_idle().await;
    }

    /// Goes on with what the shards serve: nothing at the start of the process, the rest after a panic.
    fn inherit(&mut self) {
        let holdings = self.holdings.borrow();
        self.snapshot = (*holdings.published).clone();
        for versions in self.snapshot.models.values_mut() {
            versions.entries.retain(|_, entry| {
                entry.detail.state != LifecycleState::Draining || holdings.is_draining(&entry.detail.model)
            });
            for entry in versions.entries.values_mut() {
                // It was published to be served; only that it is has not been said any more.
                if entry.detail.state == LifecycleState::Loading && !entry.graphs.is_empty() {
                    let detail = ModelDetail {
                        state: LifecycleState::Ready,
                        ..(*entry.detail).clone()
                    };
                    *entry = entry.described(detail).into();
                }
            }
        }
    }

    async fn take_up(&mut self, contents: Contents) {
        let Contents { mut records, active } = contents;
        self.drop_unrecorded(&records);
        // What is asked for first comes first, and what failed the last time holds nobody up.
        let is_active = |record: &Record| {
            active
                .get(&record.id)
                .is_some_and(|active| active.version.as_ref() == Some(&record.version))
        };
        records.sort_by_key(|record| (record.failed, !is_active(record)));
        for (id, active) in active {
            self.snapshot.models.entry(id).or_default().choice = active;
        }
        for record in records {
            self.bring_back(record).await;
        }
    }

    /// A panic fell between the removal of a record and of what it stood for.
    fn drop_unrecorded(&mut self, records: &[Record]) {
        let models: Vec<ModelRef> = self
            .snapshot
            .entries()
            .filter(|entry| entry.detail.state != LifecycleState::Draining)
            .map(|entry| entry.detail.model.clone())
            .filter(|model| !records.iter().any(|record| record.model() == *model))
            .collect();
        for model in models {
            self.drain(&model, vec![]);
        }
    }

    async fn bring_back(&mut self, record: Record) {
        let model = record.model();
        if let Ok(entry) = self.snapshot.find(&model)
            && entry.detail.state == LifecycleState::Ready
            && entry.fingerprint == record.fingerprint
        {
            self.fingerprints.insert(model, record.fingerprint);
            return;
        }
        let request = RegisterRequest {
            model: Some(model.clone()),
            path: record.path.clone(),
            manifest_path: record.manifest_path.clone(),
            activate: false,
        };
        let package = Package::read(&request).and_then(|package| {
            self.check_room(&model, package.executables.len())?;
            Ok(package)
        });
        let activation = if record.scanned {
            Activation::IfHigher
        } else {
            Activation::IfNone
        };
        match package {
            Ok(package) => self.load(package, activation).await,
            Err(reason) => {
                warn!(%model, %reason, "could not be read");
                let detail = ModelDetail {
                    state: LifecycleState::Failed,
                    failure: Some(reason.to_string()),
                    ..blank(&model, &record.path)
                };
                self.fail(&model, detail);
            }
        }
    }

    /// Shows a version as failed, where nothing of it serves.
    pub(super) fn fail(&mut self, model: &ModelRef, detail: ModelDetail) {
        self.put(Entry::unloaded(detail));
        self.stand_in(model);
        if let Err(reason) = self.store.set_failed(model, true) {
            error!(%model, %reason, "the failure could not be recorded");
        }
    }
}
