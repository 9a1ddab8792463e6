//! The licences of all that is linked, held against a list. cargo tells them; no tool has to be installed.

use super::Finding;
use crate::error::Result;
use crate::json::Value;
use crate::process::{cargo, output};

/// Licences that ask for no more than to be named. `deny.toml` has the same list.
const ALLOWED: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages whose licence asks for more, each with why that is met.
const EXCEPTIONS: [(&str, &str); 1] = [
    // MPL-2.0 is per file: used as it comes, its source published as it is. The executor brings it.
    ("bitmaps", "MPL-2.0+"),
];

/// Every dependency may be used under licences of the list.
pub fn are_allowed() -> Result<Vec<Finding>> {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = output(&mut cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--filter-platform",
        &platform,
    ]))?;
    Ok(not_allowed(&Value::parse(&metadata)?))
}

fn not_allowed(metadata: &Value) -> Vec<Finding> {
    // The packages are all that the lock file names; the graph has those that this platform links.
    let linked: Vec<&str> = metadata["resolve"]["nodes"]
        .items()
        .iter()
        .filter_map(|node| node["id"].as_str())
        .collect();
    let packages = metadata["packages"].items().iter();
    let linked = packages.filter(|package| package["id"].as_str().is_some_and(|id| linked.contains(&id)));
    linked
        .filter_map(problem)
        .map(|message| Finding::new("Cargo.lock", 1, message))
        .collect()
}

fn problem(package: &Value) -> Option<String> {
    let name = package["name"].as_str().unwrap_or("?");
    let Some(licence) = package["license"].as_str() else {
        return Some(format!("{name} states no licence"));
    };
    let is_met = is_allowed(licence) || EXCEPTIONS.contains(&(name, licence));
    (!is_met).then(|| format!("{name} is under {licence}, which the list in {} lacks", file!()))
}

/// Whether an SPDX expression can be met with licences of the list. AND binds stronger than OR; the old `/` means OR.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (allowed, rest) = either(&words);
    allowed && rest.is_empty()
}

fn either<'a>(words: &'a [&'a str]) -> (bool, &'a [&'a str]) {
    let (mut allowed, mut rest) = both(words);
    while let ["OR", after @ ..] = rest {
        let (other, left) = both(after);
        (allowed, rest) = (allowed || other, left);
    }
    (allowed, rest)
}

fn both<'a>(words: &'a [&'a str]) -> (bool, &'a [&'a str]) {
    let (mut allowed, mut rest) = one(words);
    while let ["AND", after @ ..] = rest {
        let (other, left) = one(after);
        (allowed, rest) = (allowed && other, left);
    }
    (allowed, rest)
}

fn one<'a>(words: &'a [&'a str]) -> (bool, &'a [&'a str]) {
    match words {
        ["(", inner @ ..] => match either(inner) {
            (allowed, [")", rest @ ..]) => (allowed, rest),
            (_, rest) => (false, rest),
        },
        [licence, "WITH", exception, rest @ ..] => (
            ALLOWED.contains(&format!("{licence} WITH {exception}").as_str()),
            rest,
        ),
        [licence, rest @ ..] => (ALLOWED.contains(licence), rest),
        [] => (false, words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read() {
        let cases = [
            ("MIT", true),
            ("MIT OR Apache-2.0", true),
            ("MIT/Apache-2.0", true),
            ("GPL-3.0", false),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0 AND MIT", false),
            ("(MIT OR GPL-3.0) AND Unicode-3.0", true),
            ("(MIT OR Apache-2.0) AND GPL-3.0", false),
            ("Apache-2.0 WITH LLVM-exception OR GPL-2.0", true),
            ("GPL-2.0 WITH LLVM-exception", false),
            ("MIT OR GPL-3.0 AND LGPL-2.1", true),
            ("(MIT", false),
            ("MIT)", false),
            ("", false),
        ];
        for (expression, expect) in cases {
            assert_eq!(is_allowed(expression), expect, "{expression}");
        }
    }

    #[test]
    fn only_what_is_linked_counts() {
        let metadata = r#"{"packages": [
            {"id": "a", "name": "a", "license": "MIT"},
            {"id": "b", "name": "b", "license": "GPL-3.0"},
            {"id": "c", "name": "c", "license": null},
            {"id": "d", "name": "d", "license": "GPL-3.0"},
            {"id": "e", "name": "bitmaps", "license": "MPL-2.0+"},
            {"id": "f", "name": "f", "license": "MPL-2.0+"}
        ], "resolve": {"nodes": [{"id": "a"}, {"id": "b"}, {"id": "c"}, {"id": "e"}, {"id": "f"}]}}"#;
        let findings = not_allowed(&Value::parse(metadata).unwrap());
        let messages: Vec<&str> = findings.iter().map(|finding| finding.message.as_str()).collect();
        assert_eq!(messages.len(), 3, "{messages:?}");
        assert!(messages[0].starts_with("b is under GPL-3.0") && messages[1] == "c states no licence");
        assert!(messages[2].starts_with("f is under MPL"));
    }
}
