//! The library as C programs meet it: compiled and run against a test's daemon.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod command;
#[expect(dead_code, reason = "the Rust client's own tests use more of it")]
#[path = "../../rust/tests/client/support.rs"]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use command::run;
use support::Daemon;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// The library as an installation has it: under its name and that of its interface.
fn install(to: &Path) {
    let deps = std::env::current_exe().unwrap();
    let deps = deps.parent().unwrap();
    let library = ["libmlos.so", "../libmlos.so"].map(|name| deps.join(name));
    let library = library
        .iter()
        .find(|path| path.exists())
        .expect("cargo has built the library");
    for name in ["libmlos.so", "libmlos.so.0"] {
        std::os::unix::fs::symlink(library, to.join(name)).unwrap();
    }
}

fn compile(source: &str, folder: &Path) -> PathBuf {
    install(folder);
    let program = folder.join("program");
    let mut cc = Command::new("gcc");
    cc.args([
        "-std=c11",
        "-D_POSIX_C_SOURCE=200809L",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-pedantic",
    ]);
    cc.arg("-I")
        .arg(format!("{HERE}/include"))
        .arg(format!("{HERE}/{source}"));
    cc.arg("-L").arg(folder).arg("-lmlos").arg("-o").arg(&program);
    run(&mut cc);
    program
}

#[test]
fn the_example_asks_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile("examples/ask.c", folder.path());
    let daemon = Daemon::start();
    let mut ask = Command::new(program);
    ask.env("LD_LIBRARY_PATH", folder.path())
        .arg("t/double")
        .arg(&daemon.path);
    assert_eq!(run(&mut ask), "y: 2 4 6 8\n");
}

#[test]
fn every_call_does_what_the_header_says() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile("tests/calls.c", folder.path());
    let daemon = Daemon::start();
    let mut calls = Command::new(program);
    calls.env("LD_LIBRARY_PATH", folder.path()).arg(&daemon.path);
    assert_eq!(run(&mut calls), "all held\n");
}

#[test]
fn the_header_is_cpp_too() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("header.cpp");
    fs::write(
        &source,
        "#include <mlos.h>\nmlos_terms terms = MLOS_TERMS_INIT;\nmlos_options options = MLOS_OPTIONS_INIT;\n",
    )
    .unwrap();
    let mut cc = Command::new("g++");
    cc.args(["-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I"]);
    run(cc.arg(format!("{HERE}/include")).arg(&source));
}

#[test]
fn header_library_and_manual_name_the_same_functions() {
    let folder = tempfile::tempdir().unwrap();
    install(folder.path());
    let mut nm = Command::new("nm");
    let symbols = run(nm
        .args(["-D", "--defined-only"])
        .arg(folder.path().join("libmlos.so")));
    let exported: BTreeSet<&str> = symbols
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .filter(|name| name.starts_with("mlos_"))
        .collect();
    let header = fs::read_to_string(format!("{HERE}/include/mlos.h")).unwrap();
    let declarations = header
        .lines()
        .filter(|line| !line.starts_with([' ', '/', '#', 't']));
    let declared: BTreeSet<&str> = declarations
        .filter_map(|line| line.split_once('('))
        .filter_map(|(before, _)| before.rsplit([' ', '*']).next())
        .filter(|name| name.starts_with("mlos_"))
        .collect();
    assert_eq!(exported, declared);
    assert!(declared.len() > 20);
    let manual = fs::read_to_string(format!("{HERE}/man/mlos.3")).unwrap();
    for name in declared {
        assert!(manual.contains(name), "the manual does not name {name}");
    }
}

#[test]
fn pkg_config_finds_an_installation_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("lib/pkgconfig");
    fs::create_dir_all(&place).unwrap();
    fs::copy(format!("{HERE}/mlos.pc"), place.join("mlos.pc")).unwrap();
    let ask = |what: &str| {
        let mut pkg_config = Command::new("pkg-config");
        pkg_config.env("PKG_CONFIG_PATH", &place).args([what, "mlos"]);
        run(&mut pkg_config).trim().to_owned()
    };
    assert_eq!(ask("--modversion"), env!("CARGO_PKG_VERSION"));
    let libs = ask("--libs");
    assert!(
        libs.contains("-lmlos") && libs.contains(folder.path().to_str().unwrap()),
        "{libs}"
    );
    assert!(ask("--cflags").contains("include"));
}
