//! The Python package as a wheel: whoever installs it needs neither the repository nor a compiler.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::process::{command, output, root, run, target};

/// The earliest time that a zip archive can name: the same bytes, whoever packs them.
const EPOCH: &str = "315532800";

/// Builds the wheel around a library that is built already.
pub fn wheel(library: &Path, to: &Path) -> Result {
    let work = target().join("dist").join("work");
    let sources = work.join("python");
    if sources.exists() {
        fs::remove_dir_all(&sources)?;
    }
    fs::create_dir_all(&sources)?;
    // A build leaves files beside its sources, which are not to be left in the repository.
    let mut copy = command("cp");
    output(copy.arg("-r").arg(root().join("clients/python/.")).arg(&sources))?;
    let mut pip = command(environment(&work)?.join("bin/pip"));
    pip.args(["wheel", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .arg("--wheel-dir")
        .arg(to)
        .arg(&sources)
        .env("MLOS_LIBRARY", library)
        .env("SOURCE_DATE_EPOCH", EPOCH);
    run(&mut pip)
}

/// A virtual environment, empty but for pip.
pub fn environment(within: &Path) -> Result<PathBuf> {
    let venv = within.join("venv");
    let mut python = command("python3");
    output(python.args(["-m", "venv", "--clear"]).arg(&venv))?;
    Ok(venv)
}

/// The only wheel of a folder.
pub fn wheel_in(folder: &Path) -> Result<PathBuf> {
    let mut files = fs::read_dir(folder)?;
    let wheel = files.next().ok_or("there is no wheel")??.path();
    match files.next() {
        Some(_) => Err(format!("there is more than one file in {}", folder.display()).into()),
        None => Ok(wheel),
    }
}
