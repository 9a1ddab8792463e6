//! The commands, one file each.

pub(crate) mod cache;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod infer;
pub(crate) mod info;
mod init;
pub(crate) mod install;
pub(crate) mod list;
pub(crate) mod package;
pub(crate) mod register;
pub(crate) mod uninstall;
pub(crate) mod verify;
mod version;

use axon_package::{Installed, ModelId};
use serde_json::{Value, json};

use crate::{answer::Answer, args::Command, context::Context, error::Result, size};

pub(crate) async fn run(context: &Context, command: Command) -> Result<Answer> {
    match command {
        Command::Init => init::run(context),
        Command::Install(arguments) => install::run(context, arguments).await,
        Command::List(arguments) => list::run(context, &arguments),
        Command::Info(arguments) => info::run(context, &arguments).await,
        Command::Verify(arguments) => verify::run(context, &arguments),
        Command::Uninstall(arguments) => uninstall::run(context, &arguments),
        Command::Register(arguments) => register::run(context, &arguments).await,
        Command::Infer(arguments) => infer::run(context, &arguments).await,
        Command::Package(arguments) => package::run(&arguments).await,
        Command::Config(arguments) => config::run(context, &arguments),
        Command::Cache(arguments) => cache::run(context, &arguments),
        Command::Version => Ok(version::run()),
        Command::Completions(arguments) => Ok(completions::run(&arguments)),
    }
}

/// An installed model in every command's JSON.
pub(crate) fn summary(installed: &Installed) -> Value {
    let (id, spec) = (&installed.id, &installed.manifest.spec);
    let installed_at = installed
        .installed_at
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    json!({
        "id": id.to_string(),
        "namespace": id.namespace(),
        "name": id.name(),
        "version": id.version(),
        "framework": spec.framework.name,
        "format": spec.format.kind,
        "execution_format": spec.format.execution_format.as_ref().map(|format| format.as_str()),
        "files": spec.format.files.len(),
        "size_bytes": installed.size_bytes(),
        "license": installed.manifest.metadata.license,
        "commit": installed.manifest.metadata.extra.get("commit").and_then(|commit| commit.as_str()),
        "path": installed.dir,
        "manifest_path": installed.manifest_path(),
        "installed_at_unix_s": installed_at,
    })
}

/// A row of a table: id, format, size.
pub(crate) fn row(installed: &Installed) -> Vec<String> {
    let format = &installed.manifest.spec.format.kind;
    vec![
        installed.id.to_string(),
        format.clone(),
        size::human(installed.size_bytes()),
    ]
}

/// What a user calls an installed model: `hf/…` may be left out, as it may when installing.
pub(crate) fn find(store: &axon_package::Store, text: &str) -> Result<Installed> {
    let id = ModelId::parse(text)?;
    match store.resolve(&id) {
        Err(axon_package::Error::ModelNotFound { .. }) if id.namespace() != "hf" => {
            let full = ModelId::new("hf", &format!("{}/{}", id.namespace(), id.name()), id.version())?;
            // The first error knows names that look like what was typed.
            store
                .resolve(&full)
                .or_else(|_| store.resolve(&id))
                .map_err(Into::into)
        }
        result => Ok(result?),
    }
}
