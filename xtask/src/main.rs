//! The one script of the project: `cargo xtask COMMAND`.
//!
//! One file per command; what they share is [`process`] (running other programs) and [`json`]. It depends on nothing but
//! the standard library, so that on a bare machine its first build takes seconds and it can install what the rest needs.
#![forbid(unsafe_code)]

mod bench;
mod demo;
mod dist;
mod error;
mod fuzz;
mod help;
mod json;
mod process;
mod setup;
mod test;
mod tidy;

use std::process::ExitCode;

use error::Result;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result {
    match arguments {
        ["bench", rest @ ..] => bench::run(rest),
        ["demo"] => demo::run(),
        ["dist"] => dist::run(),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        ["setup"] => setup::run(),
        ["test"] => test::run(),
        ["tidy"] => tidy::run(),
        [] | ["help" | "--help" | "-h", ..] => help::run(),
        [other, ..] => {
            Err(format!("no such use of `{other}`; `cargo xtask help` shows what there is").into())
        }
    }
}
