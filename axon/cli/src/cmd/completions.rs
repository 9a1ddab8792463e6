//! `axon completions`.

use clap::CommandFactory as _;
use clap_complete::Shell;
use serde_json::json;

use crate::{answer::Answer, args::Arguments};

/// Print a script that completes axon's commands in a shell
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  axon completions bash > ~/.local/share/bash-completion/completions/axon
  axon completions zsh > \"${fpath[1]}/_axon\"
  axon completions fish > ~/.config/fish/completions/axon.fish")]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(arguments: &Completions) -> Answer {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "axon", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    Answer::new(
        json!({ "shell": arguments.shell.to_string(), "script": script }),
        script.clone(),
    )
}
