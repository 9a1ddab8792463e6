//! Prepared models on disk: one folder per key, complete or not there.
//!
//! A folder is filled under a temporary name and renamed, so a reader never sees half of one; its last file holds
//! the digests of the others and of itself, so a damaged one is seen, thrown away and made again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::limits::DRAFT_AGE_MAX;
use crate::source::digest_file;

/// The prepared graph within an entry.
pub(crate) const GRAPH_FILE: &str = "model.onnx";
/// Its large weights, if they are not in the graph.
pub(crate) const WEIGHTS_FILE: &str = "weights.bin";
/// What is known about it: a line of JSON, and a line with that line's digest.
const FACTS_FILE: &str = "facts";

/// Changes whenever entries of an earlier version of this plugin must not be used.
const FORMAT: u32 = 6;

/// Times of a run of some rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProfileRow {
    pub rows: u64,
    pub total_ns: u64,
    pub longest_slice_ns: u64,
    pub checkpoints: u64,
}

/// What was learned about a model while it was prepared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// Rows ascending.
    pub profile: Vec<ProfileRow>,
    /// Whether every output had as many rows as the inputs, at two sizes; `None` if that could not be tried.
    pub rows_follow: Option<bool>,
    /// Ranks of the outputs in a run; empty if there was none.
    pub output_ranks: Vec<usize>,
    /// Outputs whose shape in a run was not what their symbolic dimensions say.
    pub surprising_outputs: Vec<usize>,
    /// Yields in the graph.
    pub yields: usize,
    /// The longest nodes: operator, and its time at the profiled size.
    pub longest_nodes: Vec<(String, u64)>,
    /// Why there are no yields, if that is not because the run is short.
    pub note: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Record {
    format: u32,
    key: String,
    facts: Facts,
    /// Digest of each file.
    files: BTreeMap<String, String>,
}

/// A complete folder.
#[derive(Debug)]
pub(crate) struct Entry {
    pub dir: PathBuf,
    pub facts: Facts,
}

impl Entry {
    /// The entry of a key. One that is damaged is removed.
    pub fn find(cache: &Path, key: &str) -> Option<Self> {
        let dir = cache.join(key);
        if !dir.exists() {
            return None;
        }
        match verify(&dir, key) {
            Some(facts) => Some(Self { dir, facts }),
            None => {
                // By rename, so that nobody finds a half-removed folder.
                if let Ok(trash) = Draft::new(cache) {
                    let _ = std::fs::rename(&dir, trash.dir.join("damaged"));
                }
                None
            }
        }
    }
}

/// The facts of a folder, if all that it holds is as it was written.
fn verify(dir: &Path, key: &str) -> Option<Facts> {
    let text = std::fs::read_to_string(dir.join(FACTS_FILE)).ok()?;
    let (line, digest) = text.split_once('\n')?;
    if hex::encode(Sha256::digest(line)) != digest {
        return None;
    }
    let record: Record = serde_json::from_str(line).ok()?;
    let intact =
        |(name, digest): (&String, &String)| file_digest(&dir.join(name)).is_ok_and(|found| found == *digest);
    let good = record.format == FORMAT && record.key == key && record.files.iter().all(intact);
    good.then_some(record.facts)
}

fn file_digest(path: &Path) -> Result<String> {
    let mut digest = Sha256::new();
    digest_file(path, &mut digest)?;
    Ok(hex::encode(digest.finalize()))
}

/// A folder being filled; removed when dropped before it is published.
#[derive(Debug)]
pub(crate) struct Draft {
    cache: PathBuf,
    pub dir: PathBuf,
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Nothing is lost if it stays: the next draft of any process sweeps it away.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Draft {
    pub fn new(cache: &Path) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        std::fs::create_dir_all(cache).map_err(|source| Error::io(cache, source))?;
        sweep(cache);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = cache.join(format!("{DRAFT_PREFIX}{}-{number}", std::process::id()));
        std::fs::create_dir(&dir).map_err(|source| Error::io(&dir, source))?;
        Ok(Self {
            cache: cache.to_owned(),
            dir,
        })
    }

    /// Removes what is not part of the entry, writes the facts, and gives the folder its name.
    pub fn publish(self, key: &str, facts: Facts) -> Result<Entry> {
        self.tidy()?;
        let mut files = BTreeMap::new();
        for name in [GRAPH_FILE, WEIGHTS_FILE] {
            if self.dir.join(name).exists() {
                files.insert(name.to_owned(), file_digest(&self.dir.join(name))?);
            }
        }
        let record = Record {
            format: FORMAT,
            key: key.to_owned(),
            facts,
            files,
        };
        let line = serde_json::to_string(&record).map_err(|error| Error::Runtime(error.to_string()))?;
        let path = self.dir.join(FACTS_FILE);
        let text = format!("{line}\n{}", hex::encode(Sha256::digest(&line)));
        std::fs::write(&path, text).map_err(|source| Error::io(&path, source))?;
        let dir = self.cache.join(key);
        match std::fs::rename(&self.dir, &dir) {
            Ok(()) => Ok(Entry {
                dir,
                facts: record.facts,
            }),
            // Another loader was faster; its entry is as good if it is whole.
            Err(source) => Entry::find(&self.cache, key).ok_or_else(|| Error::io(&dir, source)),
        }
    }

    fn tidy(&self) -> Result<()> {
        let failed = |source| Error::io(&self.dir, source);
        for file in std::fs::read_dir(&self.dir).map_err(failed)? {
            let file = file.map_err(failed)?;
            if ![GRAPH_FILE, WEIGHTS_FILE]
                .iter()
                .any(|name| file.file_name() == *name)
            {
                std::fs::remove_file(file.path()).map_err(failed)?;
            }
        }
        Ok(())
    }
}

const DRAFT_PREFIX: &str = "draft-";

/// Removes drafts of processes that are no more. Old ones only: a process of another container is not in our `/proc`.
fn sweep(cache: &Path) {
    let Ok(entries) = std::fs::read_dir(cache) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name
            .to_str()
            .and_then(|name| name.strip_prefix(DRAFT_PREFIX))
            .and_then(|rest| rest.split_once('-'));
        let Some((process, _)) = process else { continue };
        let age = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .map(|modified| modified.elapsed());
        let old = matches!(age, Ok(Ok(age)) if age > DRAFT_AGE_MAX);
        if old && !Path::new("/proc").join(process).exists() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    fn publish(cache: &Path, key: &str, content: &str) -> Entry {
        let draft = Draft::new(cache).unwrap();
        std::fs::write(draft.dir.join(GRAPH_FILE), content).unwrap();
        std::fs::write(draft.dir.join("leftover"), "x").unwrap();
        draft
            .publish(
                key,
                Facts {
                    yields: 7,
                    ..Facts::default()
                },
            )
            .unwrap()
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_entry_is_found_again_with_its_files_only() {
        let cache = tempfile::tempdir().unwrap();
        assert!(Entry::find(cache.path(), "k").is_none());
        publish(cache.path(), "k", "graph");
        let entry = Entry::find(cache.path(), "k").unwrap();
        assert_eq!(entry.facts.yields, 7);
        assert_eq!(names(&entry.dir), [FACTS_FILE, GRAPH_FILE]);
        assert_eq!(names(cache.path()), ["k"]);
    }

    #[test]
    fn a_damaged_entry_is_removed() {
        for victim in [GRAPH_FILE, FACTS_FILE] {
            let cache = tempfile::tempdir().unwrap();
            let entry = publish(cache.path(), "k", "graph");
            let path = entry.dir.join(victim);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[3] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            assert!(Entry::find(cache.path(), "k").is_none(), "{victim}");
            assert!(names(cache.path()).is_empty(), "{victim}");
        }
    }

    #[test]
    fn an_entry_under_another_key_is_not_believed() {
        let cache = tempfile::tempdir().unwrap();
        let entry = publish(cache.path(), "k", "graph");
        std::fs::rename(&entry.dir, cache.path().join("other")).unwrap();
        assert!(Entry::find(cache.path(), "other").is_none());
    }

    #[test]
    fn the_second_of_two_writers_takes_the_entry_of_the_first() {
        let cache = tempfile::tempdir().unwrap();
        publish(cache.path(), "k", "first");
        let entry = publish(cache.path(), "k", "second");
        assert_eq!(
            std::fs::read_to_string(entry.dir.join(GRAPH_FILE)).unwrap(),
            "first"
        );
        assert_eq!(names(cache.path()), ["k"]);
    }

    #[test]
    fn drafts_of_dead_processes_are_swept() {
        let cache = tempfile::tempdir().unwrap();
        // Beyond the largest process id of Linux; the one of 1 is still young.
        for (name, age) in [
            ("draft-4194999-0", DRAFT_AGE_MAX * 2),
            ("draft-4194999-1", Duration::ZERO),
        ] {
            std::fs::create_dir(cache.path().join(name)).unwrap();
            let dir = std::fs::File::open(cache.path().join(name)).unwrap();
            dir.set_modified(SystemTime::now() - age).unwrap();
        }
        let draft = Draft::new(cache.path()).unwrap();
        let mut expect = vec![
            draft.dir.file_name().unwrap().to_str().unwrap(),
            "draft-4194999-1",
        ];
        expect.sort_unstable();
        assert_eq!(names(cache.path()), expect);
    }
}
