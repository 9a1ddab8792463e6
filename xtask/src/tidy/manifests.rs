//! Versions have one place, a reason each, and lints are the workspace's.

use super::Finding;
use super::crates::entries;
use super::tree::Tree;

/// What needs no reason: every reader knows what they are for.
const OBVIOUS: [&str; 23] = [
    "anyhow",
    "base64",
    "bytes",
    "clap",
    "clap_complete",
    "criterion",
    "flate2",
    "hex",
    "http",
    "http-body-util",
    "loom",
    "percent-encoding",
    "proptest",
    "serde",
    "serde_json",
    "sha2",
    "signal-hook",
    "tar",
    "tempfile",
    "thiserror",
    "tracing",
    "tracing-subscriber",
    "zstd",
];

/// A member's dependency is `name.workspace = true`.
pub fn versions_have_one_place(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for one in &tree.crates {
        for dependency in one
            .dependencies
            .iter()
            .filter(|dependency| !dependency.entry.contains("workspace = true"))
        {
            let message = format!(
                "the version of {} belongs into the root's [workspace.dependencies]",
                dependency.name
            );
            findings.push(Finding::new(&one.manifest, dependency.line, message));
        }
    }
    findings
}

/// A third-party dependency has its reason on its line.
pub fn dependencies_are_argued(tree: &Tree) -> Vec<Finding> {
    let Some(root) = tree.file("Cargo.toml") else {
        return Vec::new();
    };
    let entries = entries(&root.text).filter(|entry| entry.table == "workspace.dependencies");
    let is_ours = |text: &str| text.contains("path = ");
    let bare = entries
        .filter(|entry| !is_ours(entry.text) && !OBVIOUS.contains(&entry.name) && !entry.text.contains("# "));
    bare.map(|entry| {
        let message = format!("why {}? Say it in a comment on this line", entry.name);
        Finding::new(&root.path, entry.line, message)
    })
    .collect()
}

/// Every member takes the workspace's lints.
pub fn lints_are_the_workspaces(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for one in &tree.crates {
        let text = tree.file(&one.manifest).map_or("", |file| &file.text);
        if !entries(text).any(|entry| entry.table == "lints" && entry.name == "workspace") {
            findings.push(Finding::new(
                &one.manifest,
                1,
                "lacks `[lints]` with `workspace = true`",
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::testing::{check, manifest};

    #[test]
    fn a_version_outside_the_root_is_found() {
        let text = manifest(
            "a",
            "[dependencies]\nx = \"1\"\ny.workspace = true\nz = { workspace = true }\n",
        );
        let fuzz =
            "[package]\nname = \"a-fuzz\"\nversion = \"0.0.0\"\n[dependencies]\nlibfuzzer-sys = \"0.4\"\n";
        let files = [("a/Cargo.toml", text.as_str()), ("a/fuzz/Cargo.toml", fuzz)];
        check(versions_have_one_place, &files, &["a/Cargo.toml:9"]);
    }

    #[test]
    fn a_dependency_without_a_reason_is_found() {
        let text = "[workspace.dependencies]\nours = { path = \"ours\" }\nserde = \"1\"\nodd = \"1\"\nnew = \"1\" # for it\n";
        check(
            dependencies_are_argued,
            &[("Cargo.toml", text)],
            &["Cargo.toml:4"],
        );
    }

    #[test]
    fn a_crate_with_lints_of_its_own_is_found() {
        let bare = "[package]\nname = \"b\"\nversion.workspace = true\n";
        let files = [
            ("a/Cargo.toml", manifest("a", "")),
            ("b/Cargo.toml", bare.to_owned()),
        ];
        let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
        check(lints_are_the_workspaces, &files, &["b/Cargo.toml:1"]);
    }
}
