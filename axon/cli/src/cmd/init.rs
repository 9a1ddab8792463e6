//! `axon init`: the store and its configuration.

use serde_json::json;

use crate::{
    answer::Answer,
    config,
    context::Context,
    error::{Result, io},
};

pub(crate) fn run(context: &Context) -> Result<Answer> {
    std::fs::create_dir_all(&context.home).map_err(|error| io(&context.home, error))?;
    let store = context.store()?;
    let path = config::path(&context.home);
    let is_new = !path.exists();
    if is_new {
        context.config.write(&path)?;
    }
    let json = json!({ "home": context.home, "store": store.root(), "config": path, "created": is_new });
    let state = if is_new { "created" } else { "was there already" };
    Ok(Answer::new(
        json,
        format!(
            "store: {}\nconfiguration: {} ({state})",
            store.root().display(),
            path.display()
        ),
    ))
}
