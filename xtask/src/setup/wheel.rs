//! The library out of the wheel that pip downloads. pip checks the wheel against its index, we the library against the
//! pin. Nothing of the wheel is installed, and no Python runs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::library::{Pin, VERSION, sha256};
use crate::error::Result;
use crate::process::{command, output, run, succeeds};

/// Downloads into `work` and gives the checked library's path in there.
pub fn fetch(pin: &Pin, work: &Path) -> Result<PathBuf> {
    let downloads = work.join("wheel");
    if downloads.exists() {
        // An earlier run was interrupted.
        fs::remove_dir_all(&downloads)?;
    }
    run(pip(work)?
        .args([
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary=:all:",
        ])
        // Any Python's wheel has the same library in it: one is named so that one pin is enough.
        .args([
            "--implementation",
            "cp",
            "--python-version",
            "3.11",
            "--platform",
            pin.wheel_platform,
        ])
        .arg("--dest")
        .arg(&downloads)
        .arg(format!("onnxruntime=={VERSION}")))?;
    let wheel = fs::read_dir(&downloads)?
        .next()
        .ok_or("pip left no file")??
        .path();
    output(
        command("python3")
            .args(["-m", "zipfile", "-e"])
            .arg(&wheel)
            .arg(&downloads),
    )?;
    let library = downloads.join(format!("onnxruntime/capi/libonnxruntime.so.{VERSION}"));
    let sum = sha256(&library)?;
    if sum != pin.sha256 {
        return Err(format!(
            "the library in {} has sha256 {sum}, not the pinned {}",
            wheel.display(),
            pin.sha256
        )
        .into());
    }
    Ok(library)
}

/// Debian's python3 comes without pip, but can make an environment that has it.
fn pip(work: &Path) -> Result<Command> {
    let mut python = PathBuf::from("python3");
    if !succeeds(command(&python).args(["-m", "pip", "--version"])) {
        let environment = work.join("venv");
        output(
            command("python3")
                .args(["-m", "venv", "--clear"])
                .arg(&environment),
        )?;
        python = environment.join("bin/python");
    }
    let mut pip = command(python);
    pip.args(["-m", "pip"]);
    Ok(pip)
}
