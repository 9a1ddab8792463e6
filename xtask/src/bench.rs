//! `cargo xtask bench NAME [--quick]`: runs the programs that make up a benchmark, puts their figures together in
//! `target/bench/NAME.json`, prints them, and draws them.
//!
//! A program of `benches/src/bin` prints one JSON object, `{"figures": {"id": number}, "details": {…}}`, as the whole
//! of its standard output or as its last line; progress goes to standard error. What a program could measure before it
//! failed is kept, but the benchmark fails.

mod facts;
mod plot;

use std::fs;
use std::process::Stdio;

use crate::error::Result;
use crate::json::Value;
use crate::process::{BUILD, cargo, command, line, run as run_shown, target};
use crate::setup::{self, Purpose, Ready};

struct Bench {
    name: &'static str,
    programs: &'static [&'static str],
    /// What it takes beside the programs of the workspace, as arguments of cargo; of the whole workspace, for the same
    /// features.
    also: &'static [&'static [&'static str]],
    about: &'static str,
}

const BENCHES: [Bench; 3] = [
    Bench {
        name: "main",
        programs: &["decide", "slices", "main_figures"],
        also: &[],
        about: "decisions, slices, urgent requests beside bulk work, HTTP, start and rest",
    },
    Bench {
        name: "axon",
        programs: &["install"],
        also: &[],
        about: "installing from a hub, against curl and sha256sum",
    },
    Bench {
        name: "ipc",
        programs: &["ipc"],
        also: &[
            &["build", "--workspace", "--example", "noop"],
            &[
                "build",
                "--workspace",
                "--features",
                "mlos-benches/iceoryx2",
                "--bin",
                "ipc_iceoryx2",
            ],
        ],
        about: "shared memory, against cache lines, iceoryx2, sockets, HTTP and a model in process",
    },
];

type Members = Vec<(String, Value)>;

/// What the programs printed, put together.
#[derive(Default)]
struct Collected {
    figures: Members,
    /// By program.
    samples: Members,
    /// By program.
    details: Members,
    failures: Vec<String>,
}

/// The command.
pub fn run(arguments: &[&str]) -> Result {
    let (name, quick) = match arguments {
        [] => return list(),
        [name] => (*name, false),
        [name, "--quick"] | ["--quick", name] => (*name, true),
        _ => return Err("usage: cargo xtask bench NAME [--quick]".into()),
    };
    let Some(bench) = BENCHES.iter().find(|bench| bench.name == name) else {
        list()?;
        return Err(format!("there is no benchmark {name}").into());
    };
    let ready = setup::prepare(Purpose::Run)?;
    run_shown(&mut cargo(&BUILD))?;
    for also in bench.also {
        run_shown(&mut cargo(also))?;
    }
    let mut collected = Collected::default();
    for program in bench.programs {
        if let Err(error) = collected.take(program, quick, &ready) {
            eprintln!("{program}: {error}");
            collected.failures.push((*program).to_owned());
        }
    }
    let failures = collected.failures.join(", ");
    write(bench, quick, collected, &ready)?;
    match failures.as_str() {
        "" => Ok(()),
        failures => Err(format!("{failures} failed; the figures lack what they would have measured").into()),
    }
}

fn list() -> Result {
    for bench in &BENCHES {
        println!("{:<6} {}", bench.name, bench.about);
    }
    Ok(())
}

impl Collected {
    /// Runs a program and takes in what it measured.
    fn take(&mut self, program: &str, quick: bool, ready: &Ready) -> Result {
        let mut run = command(target().join("debug").join(program));
        run.args(quick.then_some("--quick"));
        println!("$ {}", line(&run));
        let output = ready.equip(&mut run).stderr(Stdio::inherit()).output()?;
        let printed = report(&String::from_utf8_lossy(&output.stdout));
        if let Ok(report) = &printed {
            self.merge(program, report);
        }
        if !output.status.success() {
            return Err(output.status.to_string().into());
        }
        printed.map(|_| ())
    }

    fn merge(&mut self, program: &str, report: &Value) {
        self.figures.extend(report["figures"].members().iter().cloned());
        for (kind, members) in [("n", &mut self.samples), ("details", &mut self.details)] {
            if report[kind] != Value::Null {
                members.push((program.to_owned(), report[kind].clone()));
            }
        }
    }
}

/// The object that a program printed.
fn report(stdout: &str) -> Result<Value> {
    let last = stdout.trim().lines().next_back().unwrap_or_default();
    let report = Value::parse(stdout).or_else(|_| Value::parse(last))?;
    match report["figures"].members() {
        [] => Err("it printed no figures".into()),
        _ => Ok(report),
    }
}

fn write(bench: &Bench, quick: bool, collected: Collected, ready: &Ready) -> Result {
    let dir = target().join("bench");
    fs::create_dir_all(&dir)?;
    print!("\n{}", table(&collected.figures));
    let plot = dir.join(format!("{}.svg", bench.name));
    fs::write(
        &plot,
        plot::draw(&format!("cargo xtask bench {}", bench.name), &collected.figures),
    )?;
    let mut report = vec![
        ("bench".to_owned(), bench.name.into()),
        ("quick".to_owned(), Value::Bool(quick)),
    ];
    report.extend(facts::gather(&ready.library)?);
    report.push(("n".to_owned(), Value::Object(collected.samples)));
    report.push(("figures".to_owned(), Value::Object(collected.figures)));
    report.push(("details".to_owned(), Value::Object(collected.details)));
    let path = dir.join(format!("{}.json", bench.name));
    fs::write(&path, format!("{:#}\n", Value::Object(report)))?;
    println!("\n{}\n{}", path.display(), plot.display());
    Ok(())
}

fn table(figures: &[(String, Value)]) -> String {
    let width = figures.iter().map(|(id, _)| id.len()).max().unwrap_or(0);
    figures
        .iter()
        .map(|(id, value)| format!("{id:<width$}  {:>12}\n", plot::shown(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_all_that_is_printed_or_the_last_line() {
        let cases = [
            "{\"figures\": {\"a\": 1}}\n",
            "{\n  \"figures\": {\n    \"a\": 1\n  }\n}\n",
            "warming up\n{\"figures\": {\"a\": 1}}\n",
        ];
        for stdout in cases {
            assert_eq!(
                report(stdout).unwrap()["figures"]["a"].as_f64(),
                Some(1.0),
                "{stdout}"
            );
        }
        for (stdout, expect) in [
            ("", "expected a value"),
            ("{\"a\": 1}", "no figures"),
            ("done", "expected a value"),
        ] {
            assert!(
                report(stdout).unwrap_err().to_string().contains(expect),
                "{stdout}"
            );
        }
    }

    #[test]
    fn reports_of_programs_are_put_together() {
        let mut collected = Collected::default();
        collected.merge(
            "a",
            &report(r#"{"figures": {"x": 1}, "n": 3, "details": {"p": 1}}"#).unwrap(),
        );
        collected.merge("b", &report(r#"{"figures": {"y": 2, "z": 3}}"#).unwrap());
        let ids: Vec<&str> = collected.figures.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["x", "y", "z"]);
        assert_eq!((collected.samples.len(), collected.details.len()), (1, 1));
        assert_eq!(table(&collected.figures).lines().count(), 3);
    }

    #[test]
    fn every_program_is_there() {
        for program in BENCHES.iter().flat_map(|bench| bench.programs) {
            let path = crate::process::root().join("benches/src/bin").join(program);
            assert!(path.is_dir() || path.with_extension("rs").is_file(), "{program}");
        }
    }
}
