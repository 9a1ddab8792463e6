//! `cargo xtask fuzz [TARGET] [--seconds N]`: the fuzz targets under libFuzzer.
//!
//! With the compiler that builds everything else: libFuzzer is steered by counters that LLVM puts into the program, and
//! any rustc passes LLVM that option. What would need a nightly compiler are sanitizers, and what is fuzzed here runs
//! no unsafe code of its own. The same targets run under `cargo fuzz` for whoever has it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::error::Result;
use crate::process::{cargo, command, line, output, root, run as run_shown, target};

/// Packages of fuzz targets. Each is a workspace of its own, as only they are built with counters in them.
const PACKAGES: [&str; 3] = ["axon/package/fuzz", "ipc/http/fuzz", "ipc/shm/fuzz"];

/// Counters at every edge, and the operands of comparisons, which tell libFuzzer what an input should have been.
const COUNTERS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                        -Cllvm-args=-sanitizer-coverage-trace-compares";

/// For each target, when a person asks; a minute finds what is easily found.
const SECONDS: u32 = 60;
/// One input may not take longer, in seconds: that is a find too.
const INPUT_SECONDS_MAX: u32 = 10;
/// Nor may the whole take more memory.
const MEMORY_MIB_MAX: u32 = 2_048;
/// Longer inputs are not tried: they are slow, and what they reach short ones reach too.
const INPUT_BYTES_MAX: u32 = 16_384;

/// A fuzz target.
struct Target {
    name: String,
    package: &'static str,
}

/// The command.
pub fn run(arguments: &[&str]) -> Result {
    let (name, seconds) = options(arguments)?;
    let mut targets = targets()?;
    if let Some(name) = name {
        let names: Vec<String> = targets.iter().map(|target| target.name.clone()).collect();
        targets.retain(|target| target.name == name);
        if targets.is_empty() {
            return Err(format!("there is no fuzz target `{name}`; there are {}", names.join(", ")).into());
        }
    }
    fuzz(&targets, seconds)
}

/// Every target, for so long.
pub fn every(seconds: u32) -> Result {
    fuzz(&targets()?, seconds)
}

fn options<'a>(arguments: &[&'a str]) -> Result<(Option<&'a str>, u32)> {
    let (mut name, mut seconds) = (None, SECONDS);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match *argument {
            "--seconds" => {
                let number = arguments.next().ok_or("--seconds needs a number")?;
                seconds = number
                    .parse()
                    .ok()
                    .filter(|seconds| *seconds > 0)
                    .ok_or_else(|| format!("--seconds needs a number above 0, not `{number}`"))?;
            }
            flag if flag.starts_with('-') => {
                return Err(format!("unknown flag {flag}; the use is fuzz [TARGET] [--seconds N]").into());
            }
            given if name.is_none() => name = Some(given),
            given => return Err(format!("one target or all, not also `{given}`").into()),
        }
    }
    Ok((name, seconds))
}

/// One for each file of the packages' `fuzz_targets`.
fn targets() -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for package in PACKAGES {
        for entry in fs::read_dir(root().join(package).join("fuzz_targets"))? {
            let path = entry?.path();
            let name = path.file_stem().and_then(|name| name.to_str());
            let name = name.ok_or("a fuzz target's name is UTF-8")?.to_owned();
            targets.push(Target { name, package });
        }
    }
    targets.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(targets)
}

/// Builds the targets and runs them, as many at once as there are processors.
fn fuzz(targets: &[Target], seconds: u32) -> Result {
    let host = host()?;
    for package in PACKAGES {
        if targets.iter().any(|target| target.package == package) {
            build(package, &host)?;
        }
    }
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    let mut failures = Vec::new();
    for some in targets.chunks(at_once) {
        let running: Result<Vec<Child>> = some.iter().map(|target| start(target, &host, seconds)).collect();
        for (target, mut child) in some.iter().zip(running?) {
            let status = child.wait()?;
            let log = fs::read_to_string(log_path(target))?;
            match judge(&log, status.success()) {
                Ok(said) => println!("{:<10} {said}", target.name),
                Err(why) => {
                    println!("{log}\n{:<10} FAILED: {why}", target.name);
                    failures.push(format!("{}: {why}", target.name));
                }
            }
        }
    }
    match failures.is_empty() {
        true => Ok(()),
        false => Err(failures.join("\n").into()),
    }
}

fn dir() -> PathBuf {
    target().join("fuzz")
}

fn log_path(target: &Target) -> PathBuf {
    dir().join(format!("{}.log", target.name))
}

/// What this compiler builds for. Named to cargo, so that the counters do not get into build scripts.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = output(command(rustc).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("rustc -vV does not say its host")?.to_owned())
}

fn build(package: &str, host: &str) -> Result {
    let manifest = format!("{package}/Cargo.toml");
    let mut command = cargo(&["build", "--release", "--bins", "--manifest-path", &manifest]);
    command
        .args(["--target", host])
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", format!("{COUNTERS} --cfg fuzzing"))
        .env("CARGO_TARGET_DIR", dir());
    run_shown(&mut command)
}

/// Starts a target with the inputs that are committed and those that earlier runs found.
fn start(target: &Target, host: &str, seconds: u32) -> Result<Child> {
    let found = dir().join("found").join(&target.name);
    let crashes = dir().join("crashes").join(&target.name);
    for folder in [&found, &crashes] {
        fs::create_dir_all(folder)?;
    }
    let mut command = program(target, host);
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-artifact_prefix={}/", crashes.display()))
        .arg("-print_final_stats=1")
        .arg(found)
        .args(seeds(target));
    println!("$ {}", line(&command));
    let log = File::create(log_path(target))?;
    command.stdout(Stdio::null()).stderr(log);
    Ok(command.spawn()?)
}

fn program(target: &Target, host: &str) -> Command {
    command(dir().join(host).join("release").join(&target.name))
}

/// True inputs, and those that once failed.
fn seeds(target: &Target) -> Option<PathBuf> {
    let seeds = Path::new(target.package).join("seeds").join(&target.name);
    root().join(&seeds).is_dir().then_some(seeds)
}

/// What a run came to, by its log.
fn judge(log: &str, has_succeeded: bool) -> std::result::Result<String, String> {
    let stat = |name: &str| {
        let value = log
            .lines()
            .find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name));
        value.and_then(|value| value.trim_start_matches(':').trim().parse::<u64>().ok())
    };
    if !has_succeeded {
        let written = log
            .lines()
            .find_map(|line| line.split_once("Test unit written to "));
        return Err(match written {
            Some((_, path)) => format!(
                "the input is {path}; run the target's program with that path to see it fail, and put it \
                 into the package's seeds/ once it does not"
            ),
            None => "it ended with an error, and no input was written; its log is above".to_owned(),
        });
    }
    if !log.contains("inline 8-bit counters") {
        return Err("it has no counters: it ran blind".to_owned());
    }
    match stat("number_of_executed_units") {
        Some(runs) if runs > 0 => {
            let found = stat("new_units_added").unwrap_or(0);
            Ok(format!("{runs} inputs, {found} of them new ways through"))
        }
        _ => Err("it ran no input".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_a_target_and_a_time() {
        let cases: [(&[&str], _); 4] = [
            (&[], (None, SECONDS)),
            (&["manifest"], (Some("manifest"), SECONDS)),
            (&["--seconds", "5"], (None, 5)),
            (&["body", "--seconds", "9"], (Some("body"), 9)),
        ];
        for (arguments, expect) in cases {
            assert_eq!(options(arguments).unwrap(), expect);
        }
        for wrong in [
            &["--seconds"][..],
            &["--seconds", "0"],
            &["--seconds", "x"],
            &["--fast"],
            &["a", "b"],
        ] {
            assert!(options(wrong).is_err(), "{wrong:?}");
        }
        let error = run(&["nothing"]).unwrap_err().to_string();
        assert!(error.contains("there are archive, body"), "{error}");
    }

    #[test]
    fn every_target_is_known() {
        let names: Vec<String> = targets().unwrap().into_iter().map(|target| target.name).collect();
        assert_eq!(
            names,
            ["archive", "body", "detect", "frame", "manifest", "packet"]
        );
    }

    #[test]
    fn a_run_is_judged_by_its_log() {
        let good = "INFO: Loaded 1 modules   (19823 inline 8-bit counters)\n\
                    stat::number_of_executed_units: 1094604\nstat::new_units_added:          331\n";
        assert_eq!(
            judge(good, true).unwrap(),
            "1094604 inputs, 331 of them new ways through"
        );
        let cases = [
            (
                "INFO: nothing\nstat::number_of_executed_units: 5\n",
                true,
                "ran blind",
            ),
            ("(1 inline 8-bit counters)\n", true, "no input"),
            (
                "artifact_prefix='x/'; Test unit written to x/crash-1\n",
                false,
                "the input is x/crash-1",
            ),
            ("no such option", false, "its log is above"),
        ];
        for (log, has_succeeded, expect) in cases {
            let why = judge(log, has_succeeded).unwrap_err();
            assert!(why.contains(expect), "{why}");
        }
    }
}
