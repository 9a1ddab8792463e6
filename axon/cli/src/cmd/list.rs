//! `axon list`: what is installed.

use axon_package::scan;
use serde_json::{Value, json};

use crate::{
    answer::{Answer, table},
    cmd,
    context::Context,
    error::Result,
};

/// List installed models
#[derive(clap::Args)]
#[command(after_help = "\
JSON: {\"models\":[{\"id\",\"namespace\",\"name\",\"version\",\"framework\",\"format\",\"execution_format\",\"files\",\"size_bytes\",
\"license\",\"commit\",\"path\",\"manifest_path\",\"installed_at_unix_s\"}],\"broken\":[{\"path\",\"reason\"}]}")]
pub(crate) struct List {
    /// Ids only, one per line
    #[arg(long)]
    names: bool,
}

pub(crate) fn run(context: &Context, arguments: &List) -> Result<Answer> {
    let found = scan(&context.store()?.models_dir())?;
    for (path, error) in &found.broken {
        context.note(&format!("warning: {}: {error}", path.display()));
    }
    let broken: Vec<Value> = found
        .broken
        .iter()
        .map(|(path, error)| json!({ "path": path, "reason": error.to_string() }))
        .collect();
    let models: Vec<Value> = found.models.iter().map(cmd::summary).collect();
    let text = if arguments.names {
        found
            .models
            .iter()
            .map(|model| format!("{}\n", model.id))
            .collect()
    } else if found.models.is_empty() {
        "no models are installed; `axon install` brings one".to_owned()
    } else {
        let heading = ["MODEL", "FORMAT", "SIZE"].map(str::to_owned).to_vec();
        table(&[vec![heading], found.models.iter().map(cmd::row).collect()].concat())
    };
    Ok(Answer::new(json!({ "models": models, "broken": broken }), text))
}
