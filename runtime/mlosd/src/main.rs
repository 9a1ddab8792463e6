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
