//! What stands where.

use super::Finding;
use super::code::lines_with;
use super::tree::{File, Tree};
use crate::process::root;

/// The files in the root: what a visitor wants, and what tools look for only there.
const TITLE_PAGE: [&str; 14] = [
    "README.md",
    "ARCHITECTURE.md",
    "SPECIFICATION.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "Cargo.toml",
    "Cargo.lock",
    "clippy.toml",
    "deny.toml",
    "rustfmt.toml",
    ".gitignore",
];

/// What is larger is fetched or made.
const FILE_SIZE_MAX: usize = 1 << 20;

/// The executor's name, its module, the module that chooses, and the manifest that brings it.
const EXECUTOR: &str = "glommio";
const EXECUTOR_MODULE: &str = "runtime/core/src/executor/";
const EXECUTOR_CRATE: &str = "runtime/core/Cargo.toml";

/// No status reports, logs, binaries or loose scripts in the root, and nothing huge anywhere.
pub fn root_is_a_title_page(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        if !file.path.contains('/') && !TITLE_PAGE.contains(&file.path.as_str()) {
            let message = "the root is a title page: a decision goes to docs/decisions/, a script into xtask";
            findings.push(Finding::new(&file.path, 1, message));
        }
        if file.size > FILE_SIZE_MAX {
            let message = format!(
                "{} bytes: more than {FILE_SIZE_MAX}; fetch it or make it",
                file.size
            );
            findings.push(Finding::new(&file.path, 1, message));
        }
    }
    findings
}

/// Another executor can take its place, as long as one module knows it.
pub fn executor_is_named_once(tree: &Tree) -> Vec<Finding> {
    let message = format!(
        "{EXECUTOR} may be named only in {EXECUTOR_MODULE}: another executor must be able to take its place"
    );
    let is_outside = |file: &&File| !file.path.starts_with(EXECUTOR_MODULE);
    let in_code = tree.rust().filter(is_outside).flat_map(|file| {
        let lines = lines_with(&file.code, EXECUTOR);
        lines.map(|line| Finding::new(&file.path, line, message.clone()))
    });
    let others = tree.crates.iter().filter(|one| one.manifest != EXECUTOR_CRATE);
    let in_manifests = others.flat_map(|one| {
        let named = one
            .dependencies
            .iter()
            .filter(|dependency| dependency.name == EXECUTOR);
        named.map(|dependency| Finding::new(&one.manifest, dependency.line, message.clone()))
    });
    in_code.chain(in_manifests).collect()
}

/// A path of whoever wrote it is wrong for everybody else.
pub fn no_path_of_this_machine(tree: &Tree) -> Vec<Finding> {
    // The superuser's home is the same on every machine.
    let home = std::env::var("HOME")
        .ok()
        .filter(|home| home.len() > 1 && home != "/root");
    let own: Vec<String> = home.into_iter().chain([root().display().to_string()]).collect();
    own.iter().flat_map(|path| lines_naming(tree, path)).collect()
}

fn lines_naming(tree: &Tree, path: &str) -> Vec<Finding> {
    let prefix = format!("{}/", path.trim_end_matches('/'));
    let mut findings = Vec::new();
    for file in &tree.files {
        for (at, line) in file.text.lines().enumerate() {
            let names = line
                .match_indices(&prefix)
                .any(|(at, _)| starts_a_path(&line[..at]));
            if names {
                let message = format!("names {path}, which is there on this machine only");
                findings.push(Finding::new(&file.path, at + 1, message));
            }
        }
    }
    findings
}

/// Whether what follows is not the rest of a longer path, such as the `/root/` of `target/root/`.
fn starts_a_path(before: &str) -> bool {
    !before.ends_with(|c: char| c.is_alphanumeric() || "._-}/".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::testing::{check, manifest, tree};

    #[test]
    fn what_does_not_belong_into_the_root_is_found() {
        let large = "x".repeat(FILE_SIZE_MAX + 1);
        let files = [
            ("README.md", ""),
            ("STATUS.md", ""),
            ("docs/x.md", ""),
            ("models/x.onnx", &large),
        ];
        check(root_is_a_title_page, &files, &["STATUS.md:1", "models/x.onnx:1"]);
    }

    #[test]
    fn the_executor_outside_of_its_module_is_found() {
        let named = manifest("a", "[dependencies]\nglommio.workspace = true\n");
        let core = manifest("mlos-core", "[dependencies]\nglommio.workspace = true\n");
        let files = [
            ("runtime/core/Cargo.toml", core.as_str()),
            ("runtime/core/src/executor/glommio.rs", "use ::glommio::spawn;\n"),
            ("runtime/core/src/engine.rs", "// glommio\nuse glommio::spawn;\n"),
            ("a/Cargo.toml", &named),
        ];
        check(
            executor_is_named_once,
            &files,
            &["runtime/core/src/engine.rs:2", "a/Cargo.toml:9"],
        );
    }

    #[test]
    fn a_path_of_this_machine_is_found() {
        let text = "see /srv/me/mlos/x\n/srv/me-too/\ntarget/srv/me/x\n(/srv/me/)\n";
        let findings = lines_naming(&tree(&[("a.md", text)]), "/srv/me");
        let lines: Vec<usize> = findings.iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [1, 4]);
    }
}
