//! The programs under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::SystemTime;

use crate::repository;

/// Programs, and the packages that they are built from.
const PROGRAMS: [&str; 2] = ["mlosd", "axon"];

/// Names a folder with programs to test as they are.
const FOLDER_VARIABLE: &str = "MLOS_TESTS_BIN_DIR";

/// The path of `mlosd` or `axon`, built if it has to be.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| match std::env::var_os(FOLDER_VARIABLE) {
        Some(folder) => PathBuf::from(folder),
        None => built(),
    });
    let path = FOLDER.join(name);
    assert!(path.is_file(), "{} is not there", path.display());
    path
}

/// The folder of this profile, with programs that are as new as their sources.
///
/// Cargo tells a test the paths of its own package's programs only. `cargo test --workspace` builds the others too, so
/// there is usually nothing to do, and asking cargo would take seconds, and its lock.
fn built() -> PathBuf {
    let folder = profile_folder();
    if PROGRAMS
        .iter()
        .all(|program| is_fresh(&folder, program).unwrap_or(false))
    {
        return folder;
    }
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let packages = PROGRAMS.iter().flat_map(|program| ["-p", program]);
    let built = Command::new(env!("CARGO"))
        .args(["build", "--message-format=short", "--profile", profile])
        .args(packages)
        .arg("--target-dir")
        .arg(folder.parent().unwrap())
        .current_dir(repository(""))
        .output()
        .expect("cargo is where it was");
    let text = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "mlosd and axon do not build:\n{text}");
    folder
}

/// `target/debug` for `target/debug/deps/system-…`.
pub fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().to_owned()
}

/// Whether a program is newer than the sources that cargo's note beside it lists, and the workspace's own two files.
fn is_fresh(folder: &Path, program: &str) -> Option<bool> {
    let built = modified(&folder.join(program))?;
    let note = std::fs::read_to_string(folder.join(format!("{program}.d"))).ok()?;
    let (_, sources) = note.split_once(": ")?;
    let manifests = ["Cargo.toml", "Cargo.lock"].map(repository);
    let sources = sources.split_whitespace().map(PathBuf::from).chain(manifests);
    Some(
        sources
            .into_iter()
            .all(|source| modified(&source).is_some_and(|time| time <= built)),
    )
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}
