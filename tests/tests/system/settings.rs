//! Settings: the file, the environment, flags; and what the daemon says of itself.

use std::process::Command;

use mlos_tests::{Daemon, Home, Options, binary, run};
use rustix::process::geteuid;
use serde_json::Value;

/// Runs `--check-config`.
fn check(options: &Options) -> mlos_tests::Finished {
    let home = Home::new();
    run(options.command(&home).arg("--check-config"))
}

#[test]
fn what_is_in_force_is_printed_as_a_file_that_can_be_used() {
    let options = Options::default()
        .setting("engine.slice_target_us = 700")
        .flag("--preemption", "layer");
    let printed = check(&options).succeeded().stdout;
    for line in [
        "slice_target_us = 700",
        "preemption = \"layer\"",
        "pool_mib_max = 4096",
    ] {
        assert!(printed.contains(line), "no `{line}` in\n{printed}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("printed.toml");
    std::fs::write(&file, &printed).unwrap();
    let again = run(Command::new(binary("mlosd"))
        .arg("--check-config")
        .arg("--config")
        .arg(&file));
    assert_eq!(again.succeeded().stdout, printed);
}

#[test]
fn flags_are_stronger_than_the_environment_and_that_than_the_file() {
    let file = Options::default()
        .setting("engine.preemption = 'none'")
        .setting("log.filter = 'warn'");
    let environment = file
        .clone()
        .variable("MLOS_PREEMPTION", "layer")
        .variable("MLOS_LOG", "error");
    let flags = environment
        .clone()
        .flag("--preemption", "lanes")
        .flag("--log", "debug");
    for (options, preemption, filter) in [
        (file, "none", "warn"),
        (environment, "layer", "error"),
        (flags, "lanes", "debug"),
    ] {
        let printed = check(&options).succeeded().stdout;
        assert!(
            printed.contains(&format!("preemption = \"{preemption}\"")),
            "{printed}"
        );
        assert!(printed.contains(&format!("filter = \"{filter}\"")), "{printed}");
    }
}

#[test]
fn settings_that_are_wrong_are_named() {
    for (options, words) in [
        (
            Options::default().setting("engine.slice = 1"),
            &["slice", "mlosd.toml"][..],
        ),
        (
            Options::default().setting("engine.slice_target_us = 1"),
            &["slice_target_us", "50"],
        ),
        (
            Options::default().setting("engine.queue_jobs_max = 0"),
            &["queue_jobs_max"],
        ),
        (Options::default().setting("engine.cores = []"), &["cores"]),
        (
            Options::default().setting("engine.cores = [0, 0]"),
            &["cores", "twice"],
        ),
        (
            Options::default().setting("http.body_mib_max = 0"),
            &["body_mib_max"],
        ),
        (
            Options::default().setting("http.body_mib_max = 'much'"),
            &["body_mib_max"],
        ),
        (Options::default().setting("= ="), &["mlosd.toml"]),
        (
            Options::default().flag("--config", "/nowhere/mlosd.toml"),
            &["mlosd.toml"],
        ),
        (
            Options::default().flag("--preemption", "often"),
            &["often", "lanes"],
        ),
        (Options::default().flag("--http", "localhost"), &["--http"]),
        (
            Options::default().variable("MLOS_CORES", "x"),
            &["MLOS_CORES", "--cores"],
        ),
    ] {
        let ended = check(&options);
        assert!(!ended.status.success(), "{ended:?}");
        let said = words.iter().any(|word| ended.stderr.contains(word));
        assert!(said, "none of {words:?} in {}", ended.stderr);
    }
}

#[test]
fn a_daemon_that_cannot_start_says_why() {
    for (options, words) in [
        (Options::default().flag("--cores", "100000"), &["100000"][..]),
        (
            Options::default().flag("--state-dir", "/proc/nothing"),
            &["/proc/nothing", "--state-dir"],
        ),
        (
            Options::default().flag("--plugin", "/nowhere/plugin.so"),
            &["/nowhere/plugin.so"],
        ),
        (Options::default().flag("--log", "=nonsense="), &["nonsense"]),
        (
            Options::default().flag("--http", "203.0.113.1:1"),
            &["203.0.113.1:1"],
        ),
    ] {
        let home = Home::new();
        let ended = run(&mut options.command(&home));
        assert_eq!(ended.code(), 1, "{ended:?}");
        for word in words {
            assert!(ended.stderr.contains(word), "no {word} in {}", ended.stderr);
        }
    }
}

/// Without ONNX Runtime the daemon serves what other plugins run, and says what to do for the rest.
#[test]
fn a_daemon_without_onnx_runtime_serves_the_rest() {
    let daemon = Daemon::start(&Options::default().flag("--onnx-library", "/nowhere/libonnxruntime.so"));
    assert!(
        daemon.log().contains("/nowhere/libonnxruntime.so"),
        "{}",
        daemon.log()
    );
    daemon.serve(&mlos_tests::Package::affine("test/matrix", "1", "a 2"));
    let digits = mlos_tests::repository("models/digits");
    let answer = daemon
        .client()
        .post("/models/register", &serde_json::json!({ "path": digits }));
    assert_eq!(answer.status, 501, "{}", answer.text());
    assert!(
        answer.message().contains("onnx") && answer.message().contains("affine"),
        "{}",
        answer.text()
    );
}

#[test]
fn every_line_of_a_json_log_is_an_object() {
    let daemon = Daemon::start(
        &Options::default()
            .flag("--log-format", "json")
            .flag("--log", "debug"),
    );
    daemon.serve(&mlos_tests::Package::affine("test/matrix", "1", "a 2"));
    let broken = mlos_tests::Package::affine("test/broken", "1", "non\"sense\u{1b}[31m 1")
        .write(&daemon.home().models());
    daemon
        .client()
        .post("/models/register", &serde_json::json!({ "path": broken }))
        .expect(201);
    daemon.wait_loaded("test/broken");
    let log = daemon.log();
    assert!(log.lines().count() > 5, "{log}");
    for line in log.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(
            entry["level"].is_string() && entry["timestamp"].is_string(),
            "{line}"
        );
    }
}

#[test]
fn plugins_are_listed() {
    let daemon = Daemon::start(&Options::default());
    let listed = daemon.client().get("/plugins").expect(200);
    let ids: Vec<&str> = listed["plugins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|plugin| plugin["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["mlos.onnx", "example.affine"]);
}

/// Where io_uring cannot be had, the daemon says so, and how to permit it. Locked memory is what ordinary users lack.
#[test]
fn a_host_that_forbids_io_uring_is_told_how_to_permit_it() {
    let home = Home::new();
    let daemon = Options::default().command(&home);
    // Root may lock what it likes, so it becomes somebody else, who can read the program and nothing more.
    let (program, arguments) = match geteuid().is_root() {
        true => (
            "setpriv",
            &[
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "prlimit",
                "--memlock=0",
            ][..],
        ),
        false => ("prlimit", &["--memlock=0"][..]),
    };
    let is_there = Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|found| found.status.success());
    if !is_there {
        return println!("not run: `{program}` of util-linux is not installed");
    }
    // Copied, as the folder of the build may be closed to others.
    let copy = tempfile::Builder::new()
        .permissions(open_to_all())
        .tempdir()
        .unwrap();
    let mlosd = copy.path().join("mlosd");
    std::fs::copy(daemon.get_program(), &mlosd).unwrap();
    let state = copy.path().join("state");
    let ended = run(Command::new(program)
        .args(arguments)
        .arg(&mlosd)
        .args(["--http", "127.0.0.1:0", "--state-dir"])
        .arg(state));
    assert_eq!(ended.code(), 1, "{ended:?}");
    for word in ["io_uring needs locked memory", "ulimit -l", "LimitMEMLOCK"] {
        assert!(ended.stderr.contains(word), "no {word} in {}", ended.stderr);
    }
}

fn open_to_all() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o777)
}
