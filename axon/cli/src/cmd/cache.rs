//! `axon cache`: what the store holds, and what it need not hold.

use axon_package::Partials;
use serde_json::{Value, json};

use crate::{
    answer::{Answer, table},
    cmd,
    context::Context,
    error::Result,
    size,
};

/// Look at the store, and clean it
#[derive(clap::Subcommand)]
pub(crate) enum Cache {
    /// List installed models, the largest first
    List,
    /// Print what the store holds
    ///
    /// JSON: {"root","models","model_bytes","disk_bytes","partial_bytes"}
    Stats,
    /// Delete files that no model has, and downloads that were cut
    ///
    /// JSON: {"files","leftovers","freed_bytes"}
    Clean {
        /// Keep downloads that were cut, to go on with them
        #[arg(long)]
        keep_partial: bool,
    },
}

pub(crate) fn run(context: &Context, arguments: &Cache) -> Result<Answer> {
    let store = context.store()?;
    match arguments {
        Cache::List => {
            let mut models = store.list()?;
            models.sort_by_key(|model| std::cmp::Reverse(model.size_bytes()));
            let json: Vec<Value> = models.iter().map(cmd::summary).collect();
            let rows: Vec<Vec<String>> = models.iter().map(cmd::row).collect();
            Ok(Answer::new(json!({ "models": json }), table(&rows)))
        }
        Cache::Stats => {
            let models = store.list()?;
            let model_bytes: u64 = models.iter().map(axon_package::Installed::size_bytes).sum();
            let (disk_bytes, partial_bytes) = store.disk_bytes()?;
            let json = json!({
                "root": store.root(), "models": models.len(), "model_bytes": model_bytes,
                "disk_bytes": disk_bytes, "partial_bytes": partial_bytes,
            });
            let row = |word: &str, value: String| vec![word.to_owned(), value];
            let text = table(&[
                row("store", store.root().display().to_string()),
                row("models", models.len().to_string()),
                row("their files", size::human(model_bytes)),
                row("on disk", size::human(disk_bytes)),
                row("cut downloads", size::human(partial_bytes)),
            ]);
            Ok(Answer::new(json, text))
        }
        Cache::Clean { keep_partial } => {
            let collected = store.gc(if *keep_partial {
                Partials::Keep
            } else {
                Partials::Delete
            })?;
            let json = json!({
                "files": collected.blobs, "leftovers": collected.leftovers, "freed_bytes": collected.bytes,
            });
            let freed = size::human(collected.bytes);
            let text = format!(
                "freed {freed}: {} files, {} leftovers",
                collected.blobs, collected.leftovers
            );
            Ok(Answer::new(json, text))
        }
    }
}
