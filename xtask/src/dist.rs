//! `cargo xtask dist`: a release build, and an archive of what a machine needs to run it.

use std::fs;
use std::path::Path;

use crate::error::Result;
use crate::process::{cargo, command, output, root, run as run_shown, target};
use crate::setup::{self, Purpose};

const PROGRAMS: [&str; 2] = ["mlosd", "axon"];
const TEXTS: [&str; 5] = [
    "README.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
];
/// As the shells look for them.
const COMPLETIONS: [(&str, &str); 3] = [("bash", ""), ("zsh", "_"), ("fish", ".fish")];

/// The command.
pub fn run() -> Result {
    setup::prepare(Purpose::Run)?;
    run_shown(&mut cargo(&[
        "build",
        "--release",
        "--locked",
        "-p",
        "mlosd",
        "-p",
        "axon",
    ]))?;
    let name = format!(
        "mlos-{}-{}-linux",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH
    );
    let parent = target().join("dist");
    let dir = parent.join(&name);
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fill(&dir)?;
    let archive = format!("{name}.tar.gz");
    // Names and times do not depend on who packs it.
    let same_for_all = [
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mtime=@0",
    ];
    let mut tar = command("tar");
    tar.args(same_for_all)
        .arg("-czf")
        .arg(parent.join(&archive))
        .arg("-C")
        .arg(&parent)
        .arg(&name);
    run_shown(&mut tar)?;
    let sums = output(command("sha256sum").arg(&archive).current_dir(&parent))?;
    fs::write(parent.join(format!("{archive}.sha256")), &sums)?;
    print!("{sums}");
    Ok(())
}

fn fill(dir: &Path) -> Result {
    for sub in ["bin", "include", "completions"] {
        fs::create_dir_all(dir.join(sub))?;
    }
    for program in PROGRAMS {
        let built = target().join("release").join(program);
        let placed = dir.join("bin").join(program);
        output(
            command("strip")
                .arg("--strip-debug")
                .arg("-o")
                .arg(&placed)
                .arg(&built),
        )?;
        complete(dir, program, &placed)?;
    }
    copy(
        &root().join("plugins/smi/include/smi.h"),
        &dir.join("include/smi.h"),
    )?;
    for text in TEXTS {
        copy(&root().join(text), &dir.join(text))?;
    }
    Ok(())
}

fn complete(dir: &Path, program: &str, placed: &Path) -> Result {
    for (shell, mark) in COMPLETIONS {
        let arguments = match program {
            "axon" => ["completions", shell],
            _ => ["--completions", shell],
        };
        let script = output(command(placed).args(arguments))?;
        let name = if mark == "_" {
            format!("_{program}")
        } else {
            format!("{program}{mark}")
        };
        fs::write(dir.join("completions").join(name), script)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result {
    fs::copy(from, to).map_err(|error| format!("{}: {error}", from.display()))?;
    Ok(())
}
