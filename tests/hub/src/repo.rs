//! Repositories: directories seen as revisions with commit ids, and their files with the hashes that a hub states.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Mutex,
    time::SystemTime,
};

use sha1::{Digest, Sha1};
use sha2::Sha256;

use crate::limits;

/// A revision of a repository.
#[derive(Clone, Debug)]
pub(crate) struct Revision {
    /// 40 hex digits, a hash of the files.
    pub(crate) commit: String,
    /// Sorted by path.
    pub(crate) files: Vec<RepoFile>,
}

/// A file of a revision.
#[derive(Clone, Debug)]
pub(crate) struct RepoFile {
    /// Path in the repository, with `/`.
    pub(crate) path: String,
    /// Where it lies here.
    pub(crate) source: PathBuf,
    pub(crate) size: u64,
    /// Git's id of the content as a blob.
    pub(crate) blob_sha1: String,
    pub(crate) sha256: String,
    /// Held as an LFS object: served from the content network.
    pub(crate) is_lfs: bool,
}

impl RepoFile {
    pub(crate) fn etag(&self) -> &str {
        if self.is_lfs {
            &self.sha256
        } else {
            &self.blob_sha1
        }
    }
}

/// The directory that is served, with what is known of its files.
pub(crate) struct Repos {
    root: PathBuf,
    hashes: Mutex<HashMap<(PathBuf, u64, SystemTime), Hashes>>,
}

#[derive(Clone)]
struct Hashes {
    blob_sha1: String,
    sha256: String,
}

impl Repos {
    pub(crate) fn new(root: PathBuf) -> Repos {
        Repos {
            root,
            hashes: Mutex::default(),
        }
    }

    /// Every repository as `org/name`, sorted.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for org in subdirectories(&self.root)? {
            for name in subdirectories(&self.root.join(&org))? {
                if !name.contains('@') {
                    names.push(format!("{org}/{name}"));
                }
            }
        }
        names.sort();
        Ok(names)
    }

    pub(crate) fn exists(&self, repo: &str) -> bool {
        is_plain(repo) && self.root.join(repo).is_dir()
    }

    /// A revision by branch name or commit id.
    pub(crate) fn revision(&self, repo: &str, name: &str) -> io::Result<Option<Revision>> {
        if !self.exists(repo) {
            return Ok(None);
        }
        for (branch, directory) in self.branches(repo)? {
            if branch == name || looks_like_commit(name) {
                let revision = self.read_revision(&directory)?;
                if branch == name || revision.commit == name {
                    return Ok(Some(revision));
                }
            }
        }
        Ok(None)
    }

    fn branches(&self, repo: &str) -> io::Result<Vec<(String, PathBuf)>> {
        let mut branches = vec![("main".to_owned(), self.root.join(repo))];
        let (org, name) = repo.split_once('/').unwrap_or(("", repo));
        let prefix = format!("{name}@");
        for directory in subdirectories(&self.root.join(org))? {
            if let Some(branch) = directory.strip_prefix(&prefix) {
                branches.push((branch.to_owned(), self.root.join(org).join(&directory)));
            }
        }
        Ok(branches)
    }

    fn read_revision(&self, directory: &Path) -> io::Result<Revision> {
        let mut files = Vec::new();
        self.collect(directory, "", limits::DIRECTORY_DEPTH_MAX, &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let mut commit = Sha1::new();
        for file in &files {
            commit.update(format!("{} {}\n", file.blob_sha1, file.path));
        }
        Ok(Revision {
            commit: hex::encode(commit.finalize()),
            files,
        })
    }

    fn collect(
        &self,
        directory: &Path,
        prefix: &str,
        depth_left: usize,
        files: &mut Vec<RepoFile>,
    ) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let metadata = fs::metadata(entry.path())?;
            if metadata.is_dir() && depth_left > 0 {
                self.collect(&entry.path(), &format!("{path}/"), depth_left - 1, files)?;
            } else if metadata.is_file() {
                let hashes = self.hashes(entry.path(), metadata.len(), metadata.modified()?)?;
                files.push(RepoFile {
                    is_lfs: metadata.len() >= limits::LFS_BYTES_MIN || has_lfs_name(&path),
                    path,
                    source: entry.path(),
                    size: metadata.len(),
                    blob_sha1: hashes.blob_sha1,
                    sha256: hashes.sha256,
                });
            }
        }
        Ok(())
    }

    fn hashes(&self, path: PathBuf, size: u64, modified: SystemTime) -> io::Result<Hashes> {
        let key = (path, size, modified);
        if let Some(hashes) = self.hashes.lock().expect("no panic while held").get(&key) {
            return Ok(hashes.clone());
        }
        let hashes = hash_file(&key.0, size)?;
        self.hashes
            .lock()
            .expect("no panic while held")
            .insert(key, hashes.clone());
        Ok(hashes)
    }
}

fn hash_file(path: &Path, size: u64) -> io::Result<Hashes> {
    let mut file = File::open(path)?;
    let (mut sha1, mut sha256) = (Sha1::new(), Sha256::new());
    sha1.update(format!("blob {size}\0"));
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(Hashes {
                blob_sha1: hex::encode(sha1.finalize()),
                sha256: hex::encode(sha256.finalize()),
            });
        }
        sha1.update(&buffer[..n]);
        sha256.update(&buffer[..n]);
    }
}

fn subdirectories(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

fn is_plain(repo: &str) -> bool {
    repo.split('/')
        .all(|part| !part.is_empty() && part != "." && part != ".." && !part.contains('@'))
}

fn looks_like_commit(name: &str) -> bool {
    name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The endings that a hub's default `.gitattributes` sends to LFS, as far as models use them.
fn has_lfs_name(path: &str) -> bool {
    const ENDINGS: [&str; 9] = [
        ".onnx",
        ".onnx_data",
        ".onnx.data",
        ".safetensors",
        ".bin",
        ".gguf",
        ".pt",
        ".pth",
        ".tflite",
    ];
    ENDINGS.iter().any(|ending| path.ends_with(ending))
}
