//! `cargo xtask tidy`: the repository's own rules, as code. A finding is a line that an editor can jump to.
//!
//! Each rule is a function from the [`Tree`] to findings and knows nothing of the file system, so that its tests are
//! small trees written down. [`licences`] alone asks cargo.

mod arrows;
mod claims;
mod code;
mod crates;
mod licences;
mod manifests;
mod places;
mod sources;
#[cfg(test)]
mod testing;
mod tree;

use std::fmt;

use crate::error::Result;
use tree::Tree;

/// A rule that a line of a file breaks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    /// From 1.
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

type Rule = fn(&Tree) -> Vec<Finding>;

const RULES: [Rule; 14] = [
    arrows::point_down,
    manifests::versions_have_one_place,
    manifests::dependencies_are_argued,
    manifests::lints_are_the_workspaces,
    sources::unsafe_has_an_address,
    sources::lints_are_expected,
    sources::nothing_is_left_to_do,
    sources::no_test_is_ignored,
    sources::no_test_sleeps,
    sources::files_are_short,
    places::root_is_a_title_page,
    places::executor_is_named_once,
    places::no_path_of_this_machine,
    claims::have_tests,
];

/// The command.
pub fn run() -> Result {
    let tree = Tree::of_repository()?;
    let mut findings: Vec<Finding> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    findings.extend(licences::are_allowed()?);
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("tidy: {} files keep {} rules", tree.files.len(), RULES.len() + 1);
            Ok(())
        }
        count => Err(format!("tidy: {count} findings").into()),
    }
}
