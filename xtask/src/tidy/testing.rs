//! Small trees for the rules' tests.

use super::tree::{File, Tree};
use super::{Finding, Rule};

/// A tree of these files.
pub fn tree(files: &[(&str, &str)]) -> Tree {
    Tree::new(
        files
            .iter()
            .map(|(path, text)| File::new(path, text.as_bytes()))
            .collect(),
    )
}

/// A manifest of the workspace's.
pub fn manifest(name: &str, rest: &str) -> String {
    format!("[package]\nname = \"{name}\"\nversion.workspace = true\n\n[lints]\nworkspace = true\n\n{rest}")
}

/// Runs the rule and holds the places of its findings against `path:line`.
pub fn check(rule: Rule, files: &[(&str, &str)], expect: &[&str]) -> Vec<Finding> {
    let findings = rule(&tree(files));
    let places: Vec<String> = findings
        .iter()
        .map(|finding| format!("{}:{}", finding.path, finding.line))
        .collect();
    assert_eq!(places, expect, "{findings:?}");
    findings
}
