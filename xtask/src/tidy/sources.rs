//! What Rust files may hold.

use super::Finding;
use super::code::lines_with;
use super::tree::{File, Tree};

/// Where unsafe code may stand: the layers that touch memory and ABIs. An audit must have an end.
const UNSAFE_ADDRESSES: [&str; 8] = [
    "tensor-mem/",
    "plugins/smi/",
    "plugins/host/",
    // Memory that another process maps.
    "ipc/shm/",
    // The C calls of a plugin.
    "plugins/onnx/",
    // The C interface of the client.
    "clients/c/",
    // Measures the C allocator beside ours.
    "benches/benches/tensor_mem.rs",
    // Sends loans of iceoryx2 that it has not written all over, as our own are not.
    "benches/src/bin/ipc_iceoryx2.rs",
];

const FORBIDS: &str = "#![forbid(unsafe_code)]";

const LINES_MAX: usize = 600;

/// Unsafe code stands in the named places; the root of every other crate forbids it.
pub fn unsafe_has_an_address(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let outside = |file: &&File| {
        !UNSAFE_ADDRESSES
            .iter()
            .any(|address| file.path.starts_with(address))
    };
    for file in tree.rust().filter(outside) {
        let lines = lines_with(&file.code, "unsafe");
        let message = "unsafe code outside of the crates that may have it (CONTRIBUTING.md)";
        findings.extend(lines.map(|line| Finding::new(&file.path, line, message)));
        let is_root = tree
            .crate_of(&file.path)
            .is_some_and(|one| one.is_root(&file.path));
        if is_root && !file.code.contains(FORBIDS) {
            findings.push(Finding::new(&file.path, 1, format!("lacks `{FORBIDS}`")));
        }
    }
    findings
}

/// `#[expect(…, reason = "…")]` tells when it is no longer needed; `#[allow]` does not.
pub fn lints_are_expected(tree: &Tree) -> Vec<Finding> {
    each_line_with(
        tree,
        &["#[allow(", "#![allow("],
        "write `#[expect(…, reason = \"…\")]` instead of `allow`",
    )
}

/// Nothing is a stub.
pub fn nothing_is_left_to_do(tree: &Tree) -> Vec<Finding> {
    each_line_with(
        tree,
        &["todo!", "unimplemented!", "dbg!"],
        "finish this, or take it out",
    )
}

/// A test runs or is not there.
pub fn no_test_is_ignored(tree: &Tree) -> Vec<Finding> {
    each_line_with(
        tree,
        &["#[ignore]", "#[ignore ="],
        "a test runs, or it is not there",
    )
}

/// A test waits for what it needs, not for a while.
pub fn no_test_sleeps(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        let from = first_line_of_tests(tree, file);
        let lines = lines_with(&file.code, "thread::sleep").filter(|line| *line >= from);
        let message = "a test that sleeps is slow, or fails on a slow machine: wait for the event itself";
        findings.extend(lines.map(|line| Finding::new(&file.path, line, message)));
    }
    findings
}

/// Tests in a module of the file stand at its end.
fn first_line_of_tests(tree: &Tree, file: &File) -> usize {
    if tree
        .crate_of(&file.path)
        .is_some_and(|one| one.tests_hold(&file.path))
    {
        return 1;
    }
    let mut lines = file.code.lines().zip(file.code.lines().skip(1)).enumerate();
    let tests =
        lines.find(|(_, (line, next))| line.trim() == "#[cfg(test)]" && next.trim_end().ends_with('{'));
    tests.map_or(usize::MAX, |(at, _)| at + 1)
}

/// A file is one noun.
pub fn files_are_short(tree: &Tree) -> Vec<Finding> {
    let long = tree.rust().filter(|file| file.text.lines().count() > LINES_MAX);
    long.map(|file| {
        let lines = file.text.lines().count();
        let message = format!("{lines} lines: over {LINES_MAX} a file is more than one noun; split it");
        Finding::new(&file.path, LINES_MAX + 1, message)
    })
    .collect()
}

fn each_line_with(tree: &Tree, tokens: &[&str], message: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        for token in tokens {
            findings
                .extend(lines_with(&file.code, token).map(|line| Finding::new(&file.path, line, message)));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::testing::{check, manifest};

    #[test]
    fn unsafe_code_elsewhere_is_found() {
        let (a, host) = (manifest("a", ""), manifest("mlos-plugin-host", ""));
        let files = [
            ("a/Cargo.toml", a.as_str()),
            (
                "a/src/lib.rs",
                "#![forbid(unsafe_code)]\n// unsafe\nfn f() -> &'static str { \"unsafe\" }\n",
            ),
            ("a/src/main.rs", "fn main() {}\n"),
            ("a/src/b.rs", "fn g() {\n    unsafe { h() }\n}\n"),
            ("plugins/host/Cargo.toml", &host),
            ("plugins/host/src/lib.rs", "unsafe fn k() {}\n"),
        ];
        check(
            unsafe_has_an_address,
            &files,
            &["a/src/main.rs:1", "a/src/b.rs:2"],
        );
    }

    #[test]
    fn forbidden_words_are_found_in_code_only() {
        let text = "// todo!()\n#[allow(dead_code)]\nfn f() { todo!() }\n#[ignore = \"slow\"]\nfn g() { dbg!(\"todo!\") }\n";
        check(nothing_is_left_to_do, &[("a.rs", text)], &["a.rs:3", "a.rs:5"]);
        check(lints_are_expected, &[("a.rs", text), ("a.md", text)], &["a.rs:2"]);
        check(no_test_is_ignored, &[("a.rs", text)], &["a.rs:4"]);
    }

    #[test]
    fn a_sleep_is_found_in_tests_only() {
        let a = manifest("a", "");
        let text = "fn retry() { thread::sleep(t) }\n#[cfg(test)]\nmod tests {\n    fn f() { std::thread::sleep(t) }\n}\n";
        let helper = "#[cfg(test)]\nmod support;\nfn retry() { thread::sleep(t) }\n";
        let files = [
            ("a/Cargo.toml", a.as_str()),
            ("a/src/lib.rs", text),
            ("a/src/b.rs", helper),
            ("a/tests/c.rs", "fn f() { thread::sleep(t) }\n"),
        ];
        check(no_test_sleeps, &files, &["a/src/lib.rs:4", "a/tests/c.rs:1"]);
    }

    #[test]
    fn a_long_file_is_found() {
        let (long, short) = ("\n".repeat(LINES_MAX + 1), "\n".repeat(LINES_MAX));
        check(
            files_are_short,
            &[("a.rs", &long), ("b.rs", &short), ("c.md", &long)],
            &["a.rs:601"],
        );
    }
}
