//! The repository's files, as the rules see them.

use std::fs;

use super::code;
use super::crates::Crate;
use crate::error::Result;
use crate::process::{command, output, root};

/// A file.
pub struct File {
    /// From the root, with `/`.
    pub path: String,
    /// What is in it; lossy where it is no text.
    pub text: String,
    /// The text with comments, strings and characters blanked out, if it is Rust; line for line the same.
    pub code: String,
    /// In bytes.
    pub size: usize,
}

impl File {
    /// Takes a file's content apart.
    pub fn new(path: &str, content: &[u8]) -> Self {
        let text = String::from_utf8_lossy(content).into_owned();
        let is_rust = path.ends_with(".rs");
        Self {
            path: path.to_owned(),
            code: if is_rust { code::only(&text) } else { String::new() },
            text,
            size: content.len(),
        }
    }

    /// Whether it is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// All files, and the crates that they make.
pub struct Tree {
    /// What is tracked, and what would be.
    pub files: Vec<File>,
    /// The workspace's members.
    pub crates: Vec<Crate>,
}

impl Tree {
    /// Sorts files into crates.
    pub fn new(files: Vec<File>) -> Self {
        let crates = Crate::all(&files);
        Self { files, crates }
    }

    /// What git tracks, and what it would: a rule should speak before the commit.
    pub fn of_repository() -> Result<Self> {
        let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let listed = output(command("git").args(list))?;
        let mut paths: Vec<&str> = listed.split('\0').filter(|path| !path.is_empty()).collect();
        paths.sort_unstable();
        paths.dedup();
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            // What is tracked may just have been removed, or be a link to a folder.
            if let Ok(content) = fs::read(root().join(path)) {
                files.push(File::new(path, &content));
            }
        }
        Ok(Self::new(files))
    }

    /// The file at that path.
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// All Rust files.
    pub fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is_rust())
    }

    /// The crate that a file belongs to: the innermost.
    pub fn crate_of(&self, path: &str) -> Option<&Crate> {
        let holders = self.crates.iter().filter(|one| one.holds(path));
        holders.max_by_key(|one| one.dir.len())
    }
}
