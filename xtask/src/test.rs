//! `cargo xtask test`: everything that CI runs. A stage that fails does not keep the others from running.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::fuzz;
use crate::process::{cargo, line, run as run_shown, succeeds, target};
use crate::setup::{self, Purpose, Ready};
use crate::tidy;

struct Stage {
    name: &'static str,
    run: fn(&Ready) -> Result<Outcome>,
}

/// In the order of how soon they tell.
const STAGES: [Stage; 8] = [
    Stage {
        name: "format",
        run: format,
    },
    Stage {
        name: "tidy",
        run: tidy,
    },
    Stage {
        name: "lints",
        run: lints,
    },
    Stage {
        name: "docs",
        run: docs,
    },
    Stage {
        name: "tests",
        run: tests,
    },
    Stage {
        name: "loom",
        run: loom,
    },
    Stage {
        name: "fuzz",
        run: fuzzed,
    },
    Stage {
        name: "deny",
        run: deny,
    },
];

/// For each target. Finds what a change has just broken; what is rare takes `cargo xtask fuzz`.
const FUZZ_SECONDS: u32 = 8;

/// What a stage came to that could be run to its end.
enum Outcome {
    /// Nothing to count.
    Passed,
    /// How many tests passed, and which failed.
    Tests(Tally),
    /// Why it was not run.
    Skipped(String),
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
}

/// The command.
pub fn run() -> Result {
    let ready = setup::prepare(Purpose::Test)?;
    let reports: Vec<Report> = STAGES.iter().map(|stage| report(stage, &ready)).collect();
    println!();
    for report in &reports {
        println!("{}", report.line());
    }
    let passed: usize = reports.iter().map(Report::passed).sum();
    let failed: usize = reports.iter().map(Report::failed).sum();
    println!("{passed} passed, {failed} failed");
    match failed {
        0 => Ok(()),
        _ => Err("the test run failed".into()),
    }
}

struct Report {
    name: &'static str,
    outcome: Result<Outcome>,
    time: Duration,
}

fn report(stage: &Stage, ready: &Ready) -> Report {
    println!("\n== {} ==", stage.name);
    let start = Instant::now();
    let outcome = (stage.run)(ready);
    if let Err(error) = &outcome {
        println!("{error}");
    }
    Report {
        name: stage.name,
        outcome,
        time: start.elapsed(),
    }
}

impl Report {
    fn passed(&self) -> usize {
        match &self.outcome {
            Ok(Outcome::Tests(tally)) => tally.passed,
            _ => 0,
        }
    }

    /// A stage that fails without naming a test counts as one.
    fn failed(&self) -> usize {
        match &self.outcome {
            Ok(Outcome::Tests(tally)) => tally.failed.len(),
            Ok(_) => 0,
            Err(_) => 1,
        }
    }

    fn line(&self) -> String {
        let said = match &self.outcome {
            Ok(Outcome::Passed) => "ok".to_owned(),
            Ok(Outcome::Skipped(reason)) => format!("skipped: {reason}"),
            Ok(Outcome::Tests(tally)) if tally.failed.is_empty() => format!("ok, {} passed", tally.passed),
            Ok(Outcome::Tests(tally)) => format!("FAILED: {}", tally.failed.join(", ")),
            // Its first line; all of it stands where the stage ran.
            Err(error) => format!("FAILED: {}", error.to_string().lines().next().unwrap_or_default()),
        };
        format!("{:<8} {:>6.1} s  {said}", self.name, self.time.as_secs_f64())
    }
}

fn format(_: &Ready) -> Result<Outcome> {
    run_shown(&mut cargo(&["fmt", "--all", "--check"]))?;
    Ok(Outcome::Passed)
}

fn tidy(_: &Ready) -> Result<Outcome> {
    tidy::run()?;
    Ok(Outcome::Passed)
}

fn lints(_: &Ready) -> Result<Outcome> {
    run_shown(&mut cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    Ok(Outcome::Passed)
}

/// Links of private items too: most of what there is to read is private.
fn docs(_: &Ready) -> Result<Outcome> {
    let mut command = cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"]);
    run_shown(command.env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(Outcome::Passed)
}

/// The whole-system tests start programs of other packages, which `cargo test` alone does not build. They are built
/// along with the tests, so that both share what they depend on.
fn tests(ready: &Ready) -> Result<Outcome> {
    run_shown(&mut cargo(&["build", "--workspace", "--bins", "--tests"]))?;
    counted(ready.equip(&mut cargo(&["test", "--workspace", "--no-fail-fast"])))
}

/// The parts that threads share, with every order of their steps. Its own folder: the flag rebuilds all that it meets.
fn loom(_: &Ready) -> Result<Outcome> {
    let mut command = cargo(&[
        "test",
        "-p",
        "mlos-tensor-mem",
        "-p",
        "mlos-shm",
        "--lib",
        "--no-fail-fast",
    ]);
    command
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", target().join("loom"));
    counted(&mut command)
}

/// A moment of each, with the inputs that are committed: what failed once is tried again.
fn fuzzed(_: &Ready) -> Result<Outcome> {
    fuzz::every(FUZZ_SECONDS)?;
    Ok(Outcome::Passed)
}

/// Sources and duplicates; the licences are held by `tidy`, which needs no tool.
fn deny(_: &Ready) -> Result<Outcome> {
    if !succeeds(&mut cargo(&["deny", "--version"])) {
        let reason =
            "cargo-deny is not installed, and building it takes minutes; `tidy` has checked the licences";
        return Ok(Outcome::Skipped(reason.to_owned()));
    }
    run_shown(&mut cargo(&[
        "deny",
        "--offline",
        "check",
        "bans",
        "licenses",
        "sources",
    ]))?;
    Ok(Outcome::Passed)
}

/// Runs `cargo test`, shows what it prints, and counts.
fn counted(command: &mut Command) -> Result<Outcome> {
    println!("$ {}", line(command));
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().expect("it was asked to be piped");
    let mut tally = Tally::default();
    for printed in BufReader::new(stdout).split(b'\n') {
        let printed = printed?;
        let printed = String::from_utf8_lossy(&printed);
        println!("{printed}");
        tally.count(&printed);
    }
    let status = child.wait()?;
    match (status.success(), tally.failed.is_empty()) {
        (true, _) if tally.passed == 0 => Err("no test was run".into()),
        (false, true) => Err(format!("`{}` failed outside of a test: {status}", line(command)).into()),
        _ => Ok(Outcome::Tests(tally)),
    }
}

impl Tally {
    /// Takes in a line of a test binary: `test a::b ... FAILED`, `test result: ok. 3 passed; 0 failed; …`.
    fn count(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test ") else {
            return;
        };
        if let Some(result) = rest.strip_prefix("result: ") {
            let before = result.split(" passed;").next().unwrap_or_default();
            self.passed += before
                .rsplit(' ')
                .next()
                .and_then(|count| count.parse().ok())
                .unwrap_or(0);
        } else if let Some(name) = rest.strip_suffix(" ... FAILED") {
            self.failed.push(name.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(text: &str) -> Tally {
        let mut tally = Tally::default();
        text.lines().for_each(|line| tally.count(line));
        tally
    }

    #[test]
    fn what_cargo_test_prints_is_counted() {
        let text = "running 2 tests\ntest a::b ... ok\ntest c ... FAILED\n\n\
                    test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s\n\
                    running 3 tests\n\
                    test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s\n";
        let expect = Tally {
            passed: 4,
            failed: vec!["c".to_owned()],
        };
        assert_eq!(tally(text), expect);
        assert_eq!(tally("testing\nresult: 3 passed;\n"), Tally::default());
    }

    #[test]
    fn a_stage_that_fails_without_a_test_counts() {
        let report = Report {
            name: "lints",
            outcome: Err("two\nlines".into()),
            time: Duration::from_millis(1500),
        };
        assert_eq!((report.passed(), report.failed()), (0, 1));
        assert_eq!(report.line(), "lints       1.5 s  FAILED: two");
    }

    #[test]
    fn a_test_run_that_dies_is_an_error_and_one_that_runs_nothing_too() {
        let cases = [
            (
                "echo 'test result: ok. 1 passed; 0 failed'; exit 1",
                "outside of a test",
            ),
            ("exit 0", "no test was run"),
        ];
        for (script, expect) in cases {
            let error = counted(crate::process::command("sh").args(["-c", script]))
                .err()
                .unwrap()
                .to_string();
            assert!(error.contains(expect), "{error}");
        }
        let outcome =
            counted(crate::process::command("sh").args(["-c", "echo 'test a ... FAILED'; exit 101"]));
        assert!(matches!(outcome, Ok(Outcome::Tests(tally)) if tally.failed == ["a"]));
    }
}
