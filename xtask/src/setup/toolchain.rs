//! Parts of the Rust toolchain that a minimal installation leaves out.

use crate::error::Result;
use crate::process::{cargo, command, found, run, succeeds};

const COMPONENTS: [(&str, &str); 2] = [("rustfmt", "fmt"), ("clippy", "clippy")];

/// Sees to it that rustfmt and clippy are there.
pub fn ensure() -> Result {
    for (component, subcommand) in COMPONENTS {
        if succeeds(&mut cargo(&[subcommand, "--version"])) {
            continue;
        }
        println!("setup: the Rust toolchain lacks {component}, which the tests run");
        if !found("rustup") {
            return Err(
                format!("no rustup here: install {component} for this toolchain, then try again").into(),
            );
        }
        run(command("rustup").args(["component", "add", component]))?;
    }
    Ok(())
}
