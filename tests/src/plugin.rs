//! The example plugin in C, built with the system's compiler as its README says.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::binary::profile_folder;
use crate::repository;

/// `affine.so`, built once per run.
///
/// # Panics
/// When there is no C compiler.
#[must_use]
pub fn affine_library() -> &'static Path {
    static LIBRARY: LazyLock<PathBuf> = LazyLock::new(build);
    &LIBRARY
}

fn build() -> PathBuf {
    let folder = profile_folder().join("system-tests");
    std::fs::create_dir_all(&folder).unwrap();
    let library = folder.join("affine.so");
    // Under a name of this process first: another one may have the same object open.
    let fresh = folder.join(format!("affine.so.{}", std::process::id()));
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let built = Command::new(compiler)
        .args([
            "-shared", "-fPIC", "-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-I",
        ])
        .arg(repository("plugins/smi/include"))
        .arg("-o")
        .arg(&fresh)
        .arg(repository("plugins/example-c/affine.c"))
        .output()
        .expect("a C compiler is installed");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    std::fs::rename(fresh, &library).unwrap();
    library
}
