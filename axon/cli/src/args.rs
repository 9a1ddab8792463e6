//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::{cmd, error::EXIT_CODES};

/// Bring models to this machine as verified packages, and hand them to mlosd.
#[derive(Parser)]
#[command(name = "axon", version, propagate_version = true, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Directory of the store and the configuration [default: ~/.axon]
    #[arg(
        long,
        global = true,
        env = "AXON_HOME",
        value_name = "DIR",
        hide_env_values = true
    )]
    pub(crate) home: Option<PathBuf>,
    /// Print one JSON object, also for errors: {"error":{"kind","message"}}
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// No progress and no notes
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One file per command in `cmd/`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create the store and its configuration
    Init,
    Install(cmd::install::Install),
    List(cmd::list::List),
    Info(cmd::info::Info),
    Verify(cmd::verify::Verify),
    Uninstall(cmd::uninstall::Uninstall),
    Register(cmd::register::Register),
    Infer(cmd::infer::Infer),
    Package(cmd::package::Package),
    #[command(subcommand)]
    Config(cmd::config::Config),
    #[command(subcommand)]
    Cache(cmd::cache::Cache),
    /// Print version and platform
    Version,
    Completions(cmd::completions::Completions),
}
