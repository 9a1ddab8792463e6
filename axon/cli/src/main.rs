//! `axon`: brings models from hubs to this machine as verified packages, and hands them to `mlosd`.
//!
//! One file per command in `cmd/`; each returns an [`Answer`], which is printed once, as text or as JSON. What hubs
//! are like is in `axon-adapters`, what packages and the store are like in `axon-package`.
//! It runs no model: `infer` asks the daemon.
#![forbid(unsafe_code)]

mod answer;
mod args;
mod bars;
mod cmd;
mod config;
mod context;
mod daemon;
mod error;
mod limits;
mod local;
mod npy;
mod size;
mod tensor;

use std::process::ExitCode;

use answer::{Answer, Style};
use args::Arguments;
use clap::Parser as _;
use context::Context;
use error::{Error, Result};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    let style = if arguments.json { Style::Json } else { Style::Text };
    match run(arguments) {
        Ok(answer) => answer.print(style),
        Err(error) => answer::print_error(&error, style),
    }
}

/// Help and version end well; a wrong command line is an error that programs can read too.
fn refuse(error: &clap::Error) -> ExitCode {
    let wants_json = std::env::args_os().any(|argument| argument == "--json");
    if wants_json && error.use_stderr() {
        let text = error.to_string();
        let first = text
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: ");
        return answer::print_error(&Error::Usage(first.to_owned()), Style::Json);
    }
    // A closed standard output is not worth a word.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn run(arguments: Arguments) -> Result<Answer> {
    let context = Context::new(&arguments)?;
    let runtime =
        tokio::runtime::Runtime::new().map_err(|error| Error::Other(format!("no runtime: {error}")))?;
    let result = runtime.block_on(cmd::run(&context, arguments.command));
    // A download that failed may have a thread waiting for the disk; its end is not waited for.
    runtime.shutdown_background();
    result
}
