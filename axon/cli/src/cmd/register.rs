//! `axon register`: tells the daemon about an installed model.

use serde_json::json;

use crate::{answer::Answer, cmd, context::Context, daemon::Daemon, error::Result};

/// Register an installed model with mlosd, and wait until it can serve
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  axon register mlos/digits
  axon register hf/org/model@v1.0 --no-wait
  axon register mlos/digits --endpoint http://10.0.0.5:8080

JSON: {\"id\",\"state\",\"plugin\",\"already\",\"endpoint\"}")]
pub(crate) struct Register {
    /// The model's id
    model: String,
    /// Do not wait until the model can serve
    #[arg(long)]
    no_wait: bool,
    /// Where mlosd is [default: MLOS_ENDPOINT, mlos.endpoint, http://127.0.0.1:8080]
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
}

pub(crate) async fn run(context: &Context, arguments: &Register) -> Result<Answer> {
    let installed = cmd::find(&context.store()?, &arguments.model)?;
    let (id, spec) = (installed.id.to_string(), &installed.manifest.spec);
    let path = std::path::absolute(&installed.dir).unwrap_or_else(|_| installed.dir.clone());
    let body = json!({
        "model_id": id,
        "path": path,
        "manifest_path": path.join(axon_package::MANIFEST_NAME),
        "name": installed.id.name(),
        "framework": spec.framework.name,
        "execution_format": spec.format.execution_format.as_ref().map(|format| format.as_str()),
        "description": installed.manifest.metadata.description,
    });
    let daemon = Daemon::new(context.endpoint(arguments.endpoint.as_deref()))?;
    let registered = daemon.register(&body).await?;
    let mut state = registered["state"].as_str().unwrap_or("registered").to_owned();
    let mut plugin = registered["plugin_id"].as_str().unwrap_or_default().to_owned();
    if !arguments.no_wait && state != "ready" {
        let model = daemon.wait_until_ready(&id).await?;
        state = "ready".into();
        if let Some(served_by) = model["plugin_id"].as_str() {
            plugin = served_by.to_owned();
        }
    }
    let url = daemon.inference_url(&id)?;
    let json = json!({
        "id": id, "state": state, "plugin": plugin, "already": registered["already"].as_bool().unwrap_or(false), "endpoint": url,
    });
    Ok(Answer::new(json, format!("{id}: {state}\n  POST {url}")))
}
