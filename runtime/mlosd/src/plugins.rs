//! The plugins: those that are built in, then those that the configuration names.

use anyhow::{Context, Result};
use mlos_plugin_host::{HostConfig, Plugins};
use mlos_plugin_onnx::OnnxPlugin;
use tracing::{info, warn};

use crate::config::Config;

/// Loads them all. Without ONNX Runtime the daemon still serves what other plugins run, and says so.
pub fn load(config: &Config) -> Result<Plugins> {
    let mut plugins = Plugins::new(HostConfig {
        name: "mlosd".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    });
    let onnx = serde_json::to_string(&config.onnx).context("the ONNX plugin's settings")?;
    if let Err(reason) = plugins.add_builtin(mlos_smi::entry_of::<OnnxPlugin>(), &onnx) {
        warn!(%reason, "ONNX models cannot be served");
    }
    for path in &config.plugins {
        plugins
            .add_library(path, "{}")
            .with_context(|| format!("plugin {}", path.display()))?;
    }
    for plugin in plugins.list() {
        info!(id = plugin.id, version = plugin.version, formats = ?plugin.formats, source = %plugin.source, "plugin");
    }
    Ok(plugins)
}
