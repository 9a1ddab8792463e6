//! The registry's file: a record per version, and which version is active.
//!
//! redb commits are atomic and synced, so a daemon killed at any instruction finds either the old state or the new.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mlos_api::ModelRef;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::Error;

/// `namespace/name@version` → JSON of a [`Record`]. JSON, so that a newer daemon can add fields.
const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
/// `namespace/name` → JSON of an [`Active`].
const ACTIVE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("active");

/// One version of a model, as it was registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// `namespace/name`.
    pub id: String,
    /// Its version.
    pub version: String,
    /// The package's folder, or a model file.
    pub path: PathBuf,
    /// Another place for the manifest.
    #[serde(default)]
    pub manifest_path: Option<PathBuf>,
    /// Changes when the content does: a hash over the manifest, or over name, size and time of a bare file.
    #[serde(default)]
    pub fingerprint: String,
    /// When it was registered, ms since 1970.
    #[serde(default)]
    pub registered_ms: u64,
    /// A scan found it: it becomes active if it is higher than what an earlier scan made active.
    #[serde(default)]
    pub scanned: bool,
    /// It could not be loaded the last time. It is tried again at every start, after all others.
    #[serde(default)]
    pub failed: bool,
}

impl Record {
    pub fn model(&self) -> ModelRef {
        ModelRef {
            id: self.id.clone(),
            version: Some(self.version.clone()),
        }
    }
}

/// The version that requests without one get, and the one before it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Active {
    /// Serving now.
    pub version: Option<String>,
    /// What a rollback returns to.
    pub previous: Option<String>,
    /// Nobody asked for this version by name: a scan made it active, and another may take its place without a word.
    #[serde(default)]
    pub automatic: bool,
}

/// Everything the file holds.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub records: Vec<Record>,
    pub active: BTreeMap<String, Active>,
}

/// The open file. Another daemon that opens it gets an error: one registry, one daemon.
#[derive(Debug)]
pub(crate) struct Store {
    database: Database,
    path: PathBuf,
}

impl Store {
    /// Opens the file, or makes it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let fault = |reason: String| Error::Registry {
            path: path.to_owned(),
            reason,
        };
        let database = Database::create(path).map_err(|error| {
            fault(match error {
                redb::DatabaseError::DatabaseAlreadyOpen => {
                    "another mlosd uses it; stop that one, or give this one its own --state-dir".to_owned()
                }
                other => other.to_string(),
            })
        })?;
        let store = Self {
            database,
            path: path.to_owned(),
        };
        store.write(|_, _| Ok(()))?;
        Ok(store)
    }

    /// Reads everything.
    pub fn contents(&self) -> Result<Contents, Error> {
        self.try_contents().map_err(|reason| self.fault(&reason))
    }

    fn try_contents(&self) -> Result<Contents, redb::Error> {
        let read = self.database.begin_read()?;
        let mut contents = Contents::default();
        for row in read.open_table(RECORDS)?.iter()? {
            let (key, value) = row?;
            match serde_json::from_slice(value.value()) {
                Ok(record) => contents.records.push(record),
                Err(error) => tracing::error!(record = key.value(), %error, "skips a record it cannot read"),
            }
        }
        for row in read.open_table(ACTIVE)?.iter()? {
            let (key, value) = row?;
            let active = serde_json::from_slice(value.value()).unwrap_or_default();
            contents.active.insert(key.value().to_owned(), active);
        }
        Ok(contents)
    }

    /// Adds or replaces a record.
    pub fn put(&self, record: &Record) -> Result<(), Error> {
        let json = to_json(record);
        self.write(|records, _| {
            records
                .insert(record.model().to_string().as_str(), json.as_slice())
                .map(drop)
        })
    }

    /// Notes whether the record's content could be loaded. Writes nothing where that is known, or the record is gone.
    pub fn set_failed(&self, model: &ModelRef, failed: bool) -> Result<(), Error> {
        let record = self.record(model).map_err(|reason| self.fault(&reason))?;
        match record {
            Some(record) if record.failed != failed => self.put(&Record { failed, ..record }),
            _ => Ok(()),
        }
    }

    fn record(&self, model: &ModelRef) -> Result<Option<Record>, redb::Error> {
        let records = self.database.begin_read()?.open_table(RECORDS)?;
        let row = records.get(model.to_string().as_str())?;
        Ok(row.and_then(|value| serde_json::from_slice(value.value()).ok()))
    }

    /// Removes a record and says what is active afterwards, at once.
    pub fn remove(&self, model: &ModelRef, active: &Active) -> Result<(), Error> {
        let json = to_json(active);
        self.write(|records, actives| {
            records.remove(model.to_string().as_str())?;
            match active.version {
                Some(_) => actives.insert(model.id.as_str(), json.as_slice()).map(drop),
                None => actives.remove(model.id.as_str()).map(drop),
            }
        })
    }

    /// Says which version is active.
    pub fn set_active(&self, id: &str, active: &Active) -> Result<(), Error> {
        let json = to_json(active);
        self.write(|_, actives| actives.insert(id, json.as_slice()).map(drop))
    }

    fn write(
        &self,
        change: impl FnOnce(
            &mut redb::Table<'_, &str, &[u8]>,
            &mut redb::Table<'_, &str, &[u8]>,
        ) -> Result<(), redb::StorageError>,
    ) -> Result<(), Error> {
        let commit = || -> Result<(), redb::Error> {
            let write = self.database.begin_write()?;
            {
                let mut records = write.open_table(RECORDS)?;
                let mut active = write.open_table(ACTIVE)?;
                change(&mut records, &mut active)?;
            }
            write.commit()?;
            Ok(())
        };
        commit().map_err(|error| self.fault(&error))
    }

    fn fault(&self, reason: &dyn std::fmt::Display) -> Error {
        Error::Registry {
            path: self.path.clone(),
            reason: reason.to_string(),
        }
    }
}

fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings and numbers always serialise")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(version: &str) -> Record {
        Record {
            id: "mlos/digits".to_owned(),
            version: version.to_owned(),
            path: PathBuf::from("/models/digits"),
            manifest_path: None,
            fingerprint: "f".to_owned(),
            registered_ms: 1,
            scanned: false,
            failed: false,
        }
    }

    #[test]
    fn a_record_says_whether_its_content_failed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("registry.redb")).unwrap();
        store.put(&record("1")).unwrap();
        for failed in [true, true, false] {
            store.set_failed(&record("1").model(), failed).unwrap();
            let expected = Record {
                failed,
                ..record("1")
            };
            assert_eq!(store.contents().unwrap().records, [expected]);
        }
        store.set_failed(&record("2").model(), true).unwrap();
        assert_eq!(store.contents().unwrap().records.len(), 1);
    }

    #[test]
    fn records_of_an_earlier_daemon_are_read() {
        let record: Record =
            serde_json::from_str(r#"{"id": "a/b", "version": "1", "path": "/m", "later": 1}"#).unwrap();
        assert!(!record.scanned && !record.failed);
        let active: Active = serde_json::from_str(r#"{"version": "1", "previous": null}"#).unwrap();
        assert!(!active.automatic, "a choice stays one");
    }

    #[test]
    fn what_is_committed_is_read_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.redb");
        let active = Active {
            version: Some("2".to_owned()),
            previous: Some("1".to_owned()),
            automatic: false,
        };
        {
            let store = Store::open(&path).unwrap();
            store.put(&record("1")).unwrap();
            store.put(&record("2")).unwrap();
            store.set_active("mlos/digits", &active).unwrap();
        }
        let contents = Store::open(&path).unwrap().contents().unwrap();
        assert_eq!(contents.records, [record("1"), record("2")]);
        assert_eq!(contents.active["mlos/digits"], active);
    }

    #[test]
    fn removing_the_last_version_forgets_the_model() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("registry.redb")).unwrap();
        store.put(&record("1")).unwrap();
        store.remove(&record("1").model(), &Active::default()).unwrap();
        let contents = store.contents().unwrap();
        assert!(contents.records.is_empty() && contents.active.is_empty());
    }

    #[test]
    fn a_second_daemon_is_told_to_stay_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.redb");
        let _first = Store::open(&path).unwrap();
        let error = Store::open(&path).unwrap_err().to_string();
        assert!(error.contains("another mlosd"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_registry_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.redb");
        std::fs::write(&path, vec![7; 8192]).unwrap();
        assert!(Store::open(&path).is_err());
    }
}
