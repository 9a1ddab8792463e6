//! Loads and unloads off the hot path, on a thread that is weaker than every front.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axon_package::{Manifest, Sha256};
use mlos_api::{Dim, Signature, SliceProfile, TensorSpec};
use mlos_plugin_host::{LoadRequest, Model, ModelInfo, Plugins};
use serde_json::json;
use tracing::{info, warn};

use super::Graph;
use super::control::{Gone, Request};
use super::package::{Executable, Package, Serving};
use crate::actor::{Actor, Mailbox};
use crate::clock;
use crate::preprocess::Preprocessor;

/// What the loader is asked.
pub(crate) enum Order {
    /// Load a package; the answer goes to the registry.
    Load { ticket: u64, package: Box<Package> },
    /// Drop graphs that nothing holds, and give their memory back.
    Release {
        graphs: Vec<Arc<Graph>>,
        gone: Vec<Arc<Gone>>,
    },
}

/// A package, loaded.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub models: Vec<Model>,
    pub policies: Vec<mlos_scheduler::Model>,
    pub signatures: Vec<Signature>,
    pub preprocessor: Option<Arc<Preprocessor>>,
    pub plugin: String,
    pub load_ms: u64,
}

/// The actor of the loader's thread.
pub(crate) struct Loader {
    pub plugins: Arc<Plugins>,
    pub registry: Mailbox<Request>,
    pub cache_dir: PathBuf,
    pub slice_target_us: u64,
    pub verify: bool,
    /// Threads that one inference may keep busy.
    pub threads: u32,
}

impl Actor for Loader {
    type Message = Order;

    async fn handle(&mut self, order: Order) {
        match order {
            Order::Load { ticket, package } => {
                // The registry waits for an answer, whatever happens in a plugin or a tokenizer.
                let result = catch_unwind(AssertUnwindSafe(|| self.load(&package)))
                    .unwrap_or_else(|_| Err("the loader panicked; the log has the reason".to_owned()))
                    .map(Box::new);
                if let Err(reason) = &result {
                    warn!(model = %package.model, reason, "could not be loaded");
                }
                let _ = self.registry.send(Request::Loaded { ticket, result }).await;
            }
            Order::Release { graphs, gone } => {
                drop(graphs);
                mlos_plugin_host::release_free_memory();
                drop(gone);
            }
        }
    }
}

impl Loader {
    fn load(&self, package: &Package) -> Result<Loaded, String> {
        let started_ns = clock::now_ns();
        if let (true, Some(manifest)) = (self.verify, &package.manifest) {
            verify(manifest, &package.root)?;
        }
        let mut loaded = Loaded {
            models: vec![],
            policies: vec![],
            signatures: vec![],
            preprocessor: None,
            plugin: String::new(),
            load_ms: 0,
        };
        for executable in &package.executables {
            let (model, plugin) = self.load_one(executable, &package.serving)?;
            loaded.signatures.push(signature(executable, &model));
            loaded.policies.push(policy(model.info(), &package.serving));
            loaded.models.push(model);
            loaded.plugin = plugin;
        }
        if let (Some(manifest), Some(first)) = (&package.manifest, loaded.signatures.first()) {
            let preprocessor =
                Preprocessor::new(manifest, &package.root, first).map_err(|error| error.to_string())?;
            loaded.preprocessor = preprocessor.map(Arc::new);
        }
        loaded.load_ms = (clock::now_ns() - started_ns) / 1_000_000;
        info!(model = %package.model, load_ms = loaded.load_ms, plugin = loaded.plugin, "loaded");
        Ok(loaded)
    }

    fn load_one(&self, executable: &Executable, serving: &Serving) -> Result<(Model, String), String> {
        let plugin = self.plugins.for_format(&executable.format).ok_or_else(|| {
            let known: Vec<String> = self
                .plugins
                .list()
                .into_iter()
                .flat_map(|plugin| plugin.formats)
                .collect();
            format!(
                "no plugin runs the format '{}'; there are plugins for: {}",
                executable.format,
                known.join(", ")
            )
        })?;
        let mut options = json!({ "slice_target_us": self.slice_target_us });
        if let Some(independent) = serving.rows_independent {
            options["rows_independent"] = json!(independent);
        }
        let request = LoadRequest {
            path: &executable.path,
            component: &executable.component,
            cache_dir: Some(&self.cache_dir),
            options_json: &options.to_string(),
            threads: self.threads,
        };
        let model = plugin.load(&request).map_err(|error| error.to_string())?;
        if !model.info().reentrant {
            return Err(format!(
                "plugin '{}' runs one call of this model at a time; shards need models that are re-entrant",
                plugin.info().id
            ));
        }
        Ok((model, plugin.info().id.clone()))
    }
}

/// Every file as its manifest says, by hash: what was swapped or damaged since it was installed is not run.
fn verify(manifest: &Manifest, root: &Path) -> Result<(), String> {
    for entry in &manifest.spec.format.files {
        let path = root.join(&entry.path);
        let wanted = entry.digest().map_err(|error| error.to_string())?;
        let mut file = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let (found, _) = Sha256::of_reader(&mut file, &path).map_err(|error| error.to_string())?;
        if found != wanted {
            return Err(format!(
                "{}: its sha256 is not the one in the manifest; it was changed or damaged. See `axon verify`, or \
                 install it again",
                path.display()
            ));
        }
    }
    Ok(())
}

fn signature(executable: &Executable, model: &Model) -> Signature {
    let info = model.info();
    Signature {
        component: executable.component.clone(),
        inputs: info.inputs.iter().map(spec).collect(),
        outputs: info.outputs.iter().map(spec).collect(),
        rows_independent: info.rows_independent,
        slice_profile: model
            .slice_profile()
            .iter()
            .map(|row| SliceProfile {
                rows: u32::try_from(row.rows).unwrap_or(u32::MAX),
                total_ns: row.total_ns,
                longest_slice_ns: row.longest_slice_ns,
                checkpoints: u32::try_from(row.checkpoints).unwrap_or(u32::MAX),
            })
            .collect(),
    }
}

fn spec(spec: &mlos_plugin_host::TensorSpec) -> TensorSpec {
    let dims = spec.dims.iter().map(|dim| match dim {
        mlos_plugin_host::Dim::Fixed(size) => Dim::Fixed(*size),
        mlos_plugin_host::Dim::Dynamic(name) => Dim::Dynamic(name.clone()),
    });
    TensorSpec {
        name: spec.name.clone(),
        dtype: spec.dtype,
        dims: dims.collect(),
    }
}

fn policy(info: &ModelInfo, serving: &Serving) -> mlos_scheduler::Model {
    mlos_scheduler::Model {
        class_default: crate::class::to_policy(serving.class_default),
        // Rows that depend on each other cannot be told apart after a batch: such requests are never joined.
        max_batch_rows: if info.rows_independent {
            serving.max_batch_rows.unwrap_or(0)
        } else {
            0
        },
        max_queue_delay_ns: serving.max_queue_delay_us.unwrap_or(0).saturating_mul(1_000),
        splittable: info.rows_independent,
        // A loaded model's memory is resident: nothing has to be brought closer before its turn.
        prefetch_lead_ns: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlos_plugin_host::Resources;

    #[test]
    fn requests_are_joined_only_where_rows_can_be_told_apart() {
        let serving = Serving {
            max_batch_rows: Some(8),
            ..Serving::default()
        };
        for (rows_independent, expected) in [(true, 8), (false, 0)] {
            let info = ModelInfo {
                inputs: vec![],
                outputs: vec![],
                resources: Resources::default(),
                rows_independent,
                reentrant: true,
            };
            assert_eq!(policy(&info, &serving).max_batch_rows, expected);
        }
    }
}
