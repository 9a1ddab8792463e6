//! The MLOS daemon. Configuration and composition only: the engine is `mlos-core`, each edge is a crate of its own.
#![forbid(unsafe_code)]

mod args;
mod config;
mod edges;
mod logging;
mod plugins;
mod run;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use mimalloc::MiMalloc;

/// The C library's allocator guards each arena with a lock, and memory that a front has taken is often given back by a
/// lane: a lane that lost its core in there would stop its front. This one gives back to another thread without a lock.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let args = args::Args::parse();
    if let Some(shell) = args.completions {
        clap_complete::generate(shell, &mut args::Args::command(), "mlosd", &mut std::io::stdout());
        return ExitCode::SUCCESS;
    }
    let result = config::Config::load(&args).and_then(|config| match args.check_config {
        true => config.print(),
        false => run::run(config),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mlosd: {error:#}");
            ExitCode::FAILURE
        }
    }
}
