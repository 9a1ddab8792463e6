//! `cargo xtask dist`: a release build, an archive of what a machine needs to run and to ask it, and a trial of that.

mod python;
mod trial;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::process::{cargo, command, output, root, run as run_shown, target};
use crate::setup::{self, Purpose};

const PROGRAMS: [&str; 2] = ["mlosd", "axon"];
const PACKAGES: [&str; 3] = ["mlosd", "axon", "mlos-c"];
/// What is taken from the repository as it is, and where it goes.
const FILES: [(&str, &str); 10] = [
    ("README.md", "README.md"),
    ("CHANGELOG.md", "CHANGELOG.md"),
    ("SECURITY.md", "SECURITY.md"),
    ("LICENSE-MIT", "LICENSE-MIT"),
    ("LICENSE-APACHE", "LICENSE-APACHE"),
    ("plugins/smi/include/smi.h", "include/smi.h"),
    ("clients/c/include/mlos.h", "include/mlos.h"),
    ("clients/c/mlos.pc", "lib/pkgconfig/mlos.pc"),
    ("clients/c/man/mlos.3", "share/man/man3/mlos.3"),
    ("clients/c/examples/ask.c", "examples/ask.c"),
];
/// The C library under the name of its interface, by which programs load it; and the one by which they are linked.
const LIBRARY: &str = "libmlos.so.0";
const LINKED: &str = "libmlos.so";
/// As the shells look for them.
const COMPLETIONS: [(&str, &str); 3] = [("bash", ""), ("zsh", "_"), ("fish", ".fish")];

/// The command.
pub fn run() -> Result {
    let ready = setup::prepare(Purpose::Pack)?;
    let packages = PACKAGES.iter().flat_map(|package| ["-p", package]);
    let build: Vec<&str> = ["build", "--release", "--locked"]
        .into_iter()
        .chain(packages)
        .collect();
    run_shown(&mut cargo(&build))?;
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
    let archive = pack(&parent, &name)?;
    trial::run(&archive, &name, &ready)?;
    let file = format!("{name}.tar.gz");
    let sums = output(command("sha256sum").arg(&file).current_dir(&parent))?;
    fs::write(parent.join(format!("{file}.sha256")), &sums)?;
    print!("{sums}");
    Ok(())
}

fn pack(parent: &Path, name: &str) -> Result<PathBuf> {
    let archive = parent.join(format!("{name}.tar.gz"));
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
        .arg(&archive)
        .arg("-C")
        .arg(parent)
        .arg(name);
    run_shown(&mut tar)?;
    Ok(archive)
}

fn fill(dir: &Path) -> Result {
    for sub in ["bin", "lib", "completions"] {
        fs::create_dir_all(dir.join(sub))?;
    }
    for program in PROGRAMS {
        let placed = dir.join("bin").join(program);
        strip(program, "--strip-debug", &placed)?;
        complete(dir, program, &placed)?;
    }
    let library = dir.join("lib").join(LIBRARY);
    strip(LINKED, "--strip-unneeded", &library)?;
    symlink(LIBRARY, dir.join("lib").join(LINKED))?;
    for (from, to) in FILES {
        copy(&root().join(from), &dir.join(to))?;
    }
    python::wheel(&library, &dir.join("python"))
}

fn strip(built: &str, how: &str, placed: &Path) -> Result {
    let built = target().join("release").join(built);
    let mut strip = command("strip");
    output(strip.arg(how).arg("-o").arg(placed).arg(built))?;
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
    let parent = to.parent().ok_or("a file lies in a folder")?;
    fs::create_dir_all(parent)?;
    fs::copy(from, to).map_err(|error| format!("{}: {error}", from.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found out without the minutes that a release build takes.
    #[test]
    fn what_is_packed_is_there() {
        let folder = std::env::temp_dir().join(format!("mlos-dist-{}", std::process::id()));
        for (from, to) in FILES {
            copy(&root().join(from), &folder.join(to)).unwrap();
        }
        let packed = fs::read_to_string(folder.join("lib/pkgconfig/mlos.pc")).unwrap();
        assert!(packed.contains(&format!("Version: {}", env!("CARGO_PKG_VERSION"))));
        fs::remove_dir_all(&folder).unwrap();
        let error = copy(&root().join("no such"), &folder.join("x"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("no such"), "{error}");
        fs::remove_dir_all(&folder).unwrap();
        let build = fs::read_to_string(root().join("clients/c/build.rs")).unwrap();
        assert!(
            build.contains(&format!("-soname,{LIBRARY}\"")),
            "programs look for another name"
        );
    }
}
