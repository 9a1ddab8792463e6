//! `cargo xtask setup`: what the other commands need and the machine lacks.

mod archive;
mod library;
mod packages;
mod toolchain;
mod wheel;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Result;

/// What the machine is made ready for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Building and running the programs.
    Run,
    /// The same, and packing them for others.
    Pack,
    /// The tests as well.
    Test,
}

/// A machine that was made ready.
pub struct Ready {
    /// ONNX Runtime's shared library.
    pub library: PathBuf,
}

impl Ready {
    /// Lets the command, and what it starts, find ONNX Runtime.
    pub fn equip<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env(library::VARIABLE, &self.library)
    }
}

/// The command: everything, for any other command.
pub fn run() -> Result {
    let ready = prepare(Purpose::Test)?;
    println!("setup: ready, with ONNX Runtime at {}", ready.library.display());
    Ok(())
}

/// Checks, installs what is missing, and says what and why. Quick where nothing is.
pub fn prepare(purpose: Purpose) -> Result<Ready> {
    let there = library::locate()?;
    packages::ensure(purpose, there.is_some())?;
    if purpose == Purpose::Test {
        toolchain::ensure()?;
    }
    let library = match there {
        Some(library) => library,
        None => library::fetch()?,
    };
    Ok(Ready { library })
}

/// The release that a library says it is.
pub fn library_version(library: &Path) -> String {
    library::version_text(library).unwrap_or_else(|| "unknown".to_owned())
}
