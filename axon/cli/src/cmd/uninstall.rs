//! `axon uninstall`.

use axon_package::ModelId;
use serde_json::json;

use crate::{answer::Answer, cmd, context::Context, error::Result};

/// Remove installed models: one version if it is named, else all versions
#[derive(clap::Args)]
#[command(after_help = "JSON: {\"removed\":[\"id\"]}")]
pub(crate) struct Uninstall {
    /// The models' ids
    #[arg(required = true)]
    models: Vec<String>,
}

pub(crate) fn run(context: &Context, arguments: &Uninstall) -> Result<Answer> {
    let store = context.store()?;
    let mut removed = Vec::new();
    for text in &arguments.models {
        let named = ModelId::parse(text)?;
        let found = cmd::find(&store, text)?.id;
        // `latest` means the newest, and removing that one only would be a surprise as well as a guess.
        let id = if named.version().is_some() {
            found
        } else {
            found.without_version()
        };
        removed.extend(store.remove(&id)?);
    }
    let names: Vec<String> = removed.iter().map(ToString::to_string).collect();
    let text: String = names.iter().map(|name| format!("removed {name}\n")).collect();
    Ok(Answer::new(json!({ "removed": names }), text))
}
