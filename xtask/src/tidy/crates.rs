//! The workspace's crates, read from their `Cargo.toml` line by line: their style is one entry a line.

use super::tree::File;

/// A member of the workspace.
pub struct Crate {
    /// The package's name.
    pub name: String,
    /// Its folder from the root.
    pub dir: String,
    /// Its manifest's path.
    pub manifest: String,
    /// All its dependencies, of every kind.
    pub dependencies: Vec<Dependency>,
}

/// An entry of a dependency table.
pub struct Dependency {
    /// What the entry is called.
    pub name: String,
    /// From 1.
    pub line: usize,
    /// The whole entry.
    pub entry: String,
    /// Whether only the crate's tests and benchmarks see it.
    pub is_dev: bool,
}

/// A line of a manifest that is an entry of a table.
pub struct Entry<'a> {
    /// The table's name, without brackets.
    pub table: &'a str,
    /// What stands before ` = `, up to the first dot.
    pub name: &'a str,
    /// From 1.
    pub line: usize,
    /// The whole line.
    pub text: &'a str,
}

impl Crate {
    /// The packages among the files that belong to the workspace: they say so with `version.workspace`.
    pub fn all(files: &[File]) -> Vec<Self> {
        files.iter().filter_map(Self::read).collect()
    }

    fn read(file: &File) -> Option<Self> {
        let dir = file.path.strip_suffix("/Cargo.toml")?;
        if !file
            .text
            .lines()
            .any(|line| line.trim() == "version.workspace = true")
        {
            return None;
        }
        let mut one = Self {
            name: String::new(),
            dir: dir.to_owned(),
            manifest: file.path.clone(),
            dependencies: Vec::new(),
        };
        for entry in entries(&file.text) {
            if entry.table == "package" && entry.name == "name" {
                one.name = entry.text.split('"').nth(1)?.to_owned();
            } else if entry.table.ends_with("dependencies") {
                one.dependencies.push(Dependency {
                    name: entry.name.to_owned(),
                    line: entry.line,
                    entry: entry.text.to_owned(),
                    is_dev: entry.table.ends_with("dev-dependencies"),
                });
            }
        }
        Some(one)
    }

    /// Whether the file lies in the crate's folder.
    pub fn holds(&self, path: &str) -> bool {
        path.strip_prefix(&self.dir)
            .is_some_and(|rest| rest.starts_with('/'))
    }

    /// Whether the file is one of the crate's integration tests.
    pub fn tests_hold(&self, path: &str) -> bool {
        path.strip_prefix(&self.dir)
            .is_some_and(|rest| rest.starts_with("/tests/"))
    }

    /// Whether the file is the root of a library or of a program.
    pub fn is_root(&self, path: &str) -> bool {
        let inner = path.strip_prefix(&self.dir).unwrap_or_default();
        let is_binary = inner
            .strip_prefix("/src/bin/")
            .is_some_and(|rest| !rest.contains('/') || rest.ends_with("/main.rs"));
        matches!(inner, "/src/lib.rs" | "/src/main.rs") || is_binary
    }
}

/// The manifest's entries.
pub fn entries(manifest: &str) -> impl Iterator<Item = Entry<'_>> {
    let mut table = "";
    manifest.lines().enumerate().filter_map(move |(at, text)| {
        if let Some(header) = text.trim().strip_prefix('[') {
            table = header.split(']').next().unwrap_or_default().trim_matches('[');
            return None;
        }
        let (name, _) = text
            .split_once('=')
            .filter(|_| !text.trim_start().starts_with('#'))?;
        let name = name.split('.').next().unwrap_or_default().trim();
        Some(Entry {
            table,
            name,
            line: at + 1,
            text,
        })
    })
}

#[cfg(test)]
mod tests {
    use crate::tidy::testing::tree;

    const MANIFEST: &str = "[package]\nname = \"a-b\"\nversion.workspace = true\n\n[dependencies]\nx.workspace = true\n\
                            # y = 1\n[target.'cfg(loom)'.dependencies]\nloom.workspace = true\n[dev-dependencies]\n\
                            z = { workspace = true }\n";

    #[test]
    fn a_manifest_is_read() {
        let tree = tree(&[
            ("a/Cargo.toml", MANIFEST),
            ("a/src/bin/c.rs", ""),
            ("a/fuzz/Cargo.toml", "[package]\nname = \"fuzz\"\n"),
            ("ab/src/lib.rs", ""),
        ]);
        assert_eq!(tree.crates.len(), 1);
        let one = tree.crate_of("a/src/bin/c.rs").unwrap();
        assert_eq!((one.name.as_str(), one.dir.as_str()), ("a-b", "a"));
        let seen: Vec<_> = one
            .dependencies
            .iter()
            .map(|d| (d.name.as_str(), d.line, d.is_dev))
            .collect();
        assert_eq!(seen, [("x", 6, false), ("loom", 9, false), ("z", 11, true)]);
        assert!(tree.crate_of("ab/src/lib.rs").is_none());
    }

    #[test]
    fn roots_and_tests_are_known_by_their_place() {
        let tree = tree(&[("a/Cargo.toml", MANIFEST)]);
        let one = &tree.crates[0];
        for (path, expect) in [
            ("a/src/lib.rs", true),
            ("a/src/main.rs", true),
            ("a/src/bin/x.rs", true),
            ("a/src/bin/x/main.rs", true),
            ("a/src/bin/x/y.rs", false),
            ("a/src/x.rs", false),
            ("a/tests/x.rs", false),
        ] {
            assert_eq!(one.is_root(path), expect, "{path}");
        }
        assert!(one.tests_hold("a/tests/x.rs") && !one.tests_hold("a/src/tests/x.rs"));
    }
}
