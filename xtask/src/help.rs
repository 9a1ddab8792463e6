//! `cargo xtask help`.

use crate::error::Result;

const TEXT: &str = "\
cargo xtask COMMAND

  demo                 set up, build, install a model, serve it, and show an urgent request beside bulk work
  test                 everything that CI runs
  setup                check and install what the other commands need (they call it themselves)
  tidy                 the repository's own rules; a finding is a line `file:line: what is wrong`
  bench NAME [--quick] measure, and write target/bench/NAME.json; without NAME: which there are
  fuzz [TARGET] [--seconds N]
                       the fuzz targets under libFuzzer, a minute each if nothing else is said
  dist                 a release build and its archive in target/dist, unpacked elsewhere and tried
  help                 this";

/// Prints the commands.
pub fn run() -> Result {
    println!("{TEXT}");
    Ok(())
}
