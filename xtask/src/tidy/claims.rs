//! Promises have tests: every claim in SPECIFICATION.md names what holds it.
//!
//! A claim is an item of a list: what is promised, a dash, and what holds it, as `path/to/file.rs::name` between
//! backquotes; several with commas. The name is that of a test or of a benchmark's figure in that file. `[pending]`
//! instead says that nothing holds it yet.

use super::Finding;
use super::tree::Tree;

const SPECIFICATION: &str = "SPECIFICATION.md";
const PENDING: &str = "[pending]";

/// Every claim is held by a test that is there.
pub fn have_tests(tree: &Tree) -> Vec<Finding> {
    let Some(specification) = tree.file(SPECIFICATION) else {
        return Vec::new();
    };
    let claims = claims(&specification.text);
    if claims.is_empty() {
        return vec![Finding::new(
            SPECIFICATION,
            1,
            "states no claim, as `- what is promised — `path/to/file.rs::test``",
        )];
    }
    let wrong = claims
        .into_iter()
        .filter_map(|claim| Some((claim.line, problem(tree, &claim.text)?)));
    wrong
        .map(|(line, message)| Finding::new(SPECIFICATION, line, message))
        .collect()
}

struct Claim {
    line: usize,
    text: String,
}

/// The items of lists, each with the lines that continue it.
fn claims(text: &str) -> Vec<Claim> {
    let mut claims: Vec<Claim> = Vec::new();
    let mut continues = false;
    for (at, line) in text.lines().enumerate() {
        if let Some(item) = line.trim_start().strip_prefix("- ") {
            claims.push(Claim {
                line: at + 1,
                text: item.to_owned(),
            });
            continues = true;
        } else if line.trim().is_empty() || !line.starts_with(' ') {
            continues = false;
        } else if let Some(claim) = claims.last_mut().filter(|_| continues) {
            claim.text.push(' ');
            claim.text.push_str(line.trim());
        }
    }
    claims
}

fn problem(tree: &Tree, claim: &str) -> Option<String> {
    let Some((_, held_by)) = claim.rsplit_once(" — ") else {
        return Some(format!("a claim ends with ` — ` and what holds it, or {PENDING}"));
    };
    if held_by.contains(PENDING) {
        return None;
    }
    let names: Vec<&str> = held_by.split('`').skip(1).step_by(2).collect();
    if names.is_empty() {
        return Some(format!(
            "name the test as `path/to/file.rs::test`, or say {PENDING}"
        ));
    }
    names.into_iter().find_map(|name| missing(tree, name))
}

/// Why the test is not there, if it is not.
fn missing(tree: &Tree, name: &str) -> Option<String> {
    let Some((path, item)) = name.split_once("::") else {
        return Some(format!("`{name}` is not of the form `path/to/file.rs::test`"));
    };
    let Some(file) = tree.file(path) else {
        return Some(format!("there is no file {path}"));
    };
    // A module within the file may be named on the way.
    let item = item.rsplit("::").next().unwrap_or(item);
    let is_there = file.code.contains(&format!("fn {item}(")) || file.text.contains(&format!("\"{item}\""));
    (!is_there).then(|| format!("{path} has no test or figure {item}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::testing::check;

    const TEST: (&str, &str) = (
        "a/tests/b.rs",
        "#[test]\nfn it_holds() {}\nprintln!(\"rt_p99_x\");\n// fn gone() {}\n",
    );

    #[test]
    fn a_claim_without_its_test_is_found() {
        let text = "# Claims\n\n- one — `a/tests/b.rs::it_holds`\n- two — [pending]\n- three, which is\n  long — `a/tests/b.rs::rt_p99_x`,\n  \
                    `a/tests/b.rs::tests::it_holds`\n- four — `a/tests/b.rs::gone`\n- five — `a/c.rs::x`\n- six\n- seven — see below\n\
                    - eight — `it_holds`\n";
        let lines = [
            "SPECIFICATION.md:8",
            "SPECIFICATION.md:9",
            "SPECIFICATION.md:10",
            "SPECIFICATION.md:11",
            "SPECIFICATION.md:12",
        ];
        check(have_tests, &[TEST, ("SPECIFICATION.md", text)], &lines);
    }

    #[test]
    fn a_specification_without_claims_is_found() {
        check(
            have_tests,
            &[("SPECIFICATION.md", "# Nothing\n")],
            &["SPECIFICATION.md:1"],
        );
        check(have_tests, &[TEST], &[]);
    }
}
