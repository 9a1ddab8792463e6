//! The Python package, installed as people install it and run by pytest against a test's daemon.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod command;
#[expect(dead_code, reason = "the Rust client's own tests use more of it")]
#[path = "../../rust/tests/client/support.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use command::run;
use support::Daemon;

/// What the package's build and tests need from the index. A change of this text makes the environment anew.
const NEEDS: [&str; 4] = [
    "setuptools==84.2.1",
    "numpy>=1.22",
    "pytest==9.2.0",
    "mypy==2.4.1",
];

/// A test that hangs is told by where it does.
const HANGS: [&str; 4] = [
    "-o",
    "faulthandler_timeout=60",
    "-o",
    "faulthandler_exit_on_timeout=true",
];

fn target() -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().expect("the directory lies in target").to_owned()
}

/// A virtual environment with what the package needs; made on the first run.
fn environment() -> PathBuf {
    let venv = target().join("venv-mlos");
    let ready = venv.join("ready");
    let needs = NEEDS.join("\n");
    if fs::read_to_string(&ready).is_ok_and(|had| had == needs) {
        return venv;
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
    let mut pip = Command::new(venv.join("bin/pip"));
    run(pip.args(["install", "--quiet"]).args(NEEDS));
    fs::write(&ready, needs).unwrap();
    venv
}

fn library() -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    let library = deps.parent().unwrap().join("libmlos.so");
    assert!(library.exists(), "cargo has built the library");
    library
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).unwrap();
        }
    }
}

#[test]
fn the_package_installs_and_passes_its_tests() {
    let venv = environment();
    // A build leaves files beside its sources, which are not to be left in the repository.
    let folder = tempfile::tempdir().unwrap();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../python");
    copy(&sources, folder.path());
    let mut pip = Command::new(venv.join("bin/pip"));
    pip.args([
        "install",
        "--quiet",
        "--no-build-isolation",
        "--no-deps",
        "--force-reinstall",
    ]);
    run(pip.arg(folder.path()).env("MLOS_LIBRARY", library()));

    let daemon = Daemon::start();
    let python = venv.join("bin/python");
    let mut pytest = Command::new(&python);
    pytest
        .args(["-m", "pytest", "-v", "-p", "no:cacheprovider"])
        .args(HANGS);
    pytest.arg(folder.path().join("tests"));
    // From elsewhere, so that the package is the one that was installed, with the library that came with it.
    pytest
        .current_dir("/")
        .env("MLOS_TEST_SOCKET", &daemon.path)
        .env_remove("MLOS_LIBRARY");
    run(&mut pytest);

    let mut mypy = Command::new(&python);
    mypy.args([
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "--cache-dir=/dev/null",
        "-p",
        "mlos",
    ]);
    run(mypy.current_dir(folder.path()));
}
