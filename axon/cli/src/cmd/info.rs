//! `axon info`: what a model is, installed or at its hub.

use axon_adapters::{Error as AdapterError, FormatChoice, Reference, Resolved};
use axon_package::{Installed, manifest::Port};
use serde_json::{Value, json};

use crate::{
    answer::{Answer, table},
    cmd,
    context::Context,
    error::{Error, Kind, Result},
    size,
};

/// Show a model: the installed one, or what its hub has
#[derive(clap::Args)]
#[command(after_help = "\
JSON, installed: the fields of `axon list`, \"installed\":true, and \"manifest\" with the whole manifest.
JSON, at a hub:  {\"id\",\"installed\":false,\"commit\",\"license\",\"size_bytes\",\"files\":[{\"path\",\"size\"}]}")]
pub(crate) struct Info {
    /// The model's id, or anything that `axon install` takes
    model: String,
    /// Which files would be fetched: auto, onnx, gguf, safetensors, pytorch, tflite, all
    #[arg(long, short, default_value = "auto", value_name = "FORMAT")]
    format: FormatChoice,
}

pub(crate) async fn run(context: &Context, arguments: &Info) -> Result<Answer> {
    let not_installed = match cmd::find(&context.store()?, &arguments.model) {
        Ok(installed) => return Ok(installed_answer(&installed)),
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Usage) => error,
        Err(error) => return Err(error),
    };
    match at_its_source(context, arguments).await {
        Ok(resolved) => Ok(resolved_answer(&resolved)),
        // What is installed under a name like it is the better hint.
        Err(error) if error.kind() == Kind::NotFound && has_hint(&not_installed) => Err(not_installed),
        // Without a network, that it is not installed is all that can be said.
        Err(Error::Adapter(AdapterError::Offline { .. })) => Err(not_installed),
        Err(error) => Err(error),
    }
}

async fn at_its_source(context: &Context, arguments: &Info) -> Result<Resolved> {
    let reference = Reference::parse(&arguments.model)?;
    let adapter = context.adapters()?.find(&reference)?;
    Ok(adapter.resolve(&reference, arguments.format).await?)
}

fn has_hint(error: &Error) -> bool {
    matches!(error, Error::Package(axon_package::Error::ModelNotFound { nearest, .. }) if !nearest.is_empty())
}

fn installed_answer(installed: &Installed) -> Answer {
    let manifest = &installed.manifest;
    let mut json = cmd::summary(installed);
    json["installed"] = json!(true);
    json["manifest"] = serde_json::to_value(manifest).unwrap_or(Value::Null);
    let mut rows = vec![
        pair("model", &installed.id.to_string()),
        pair("description", &manifest.metadata.description),
        pair("license", &manifest.metadata.license),
        pair("homepage", &manifest.metadata.homepage),
        pair("framework", &manifest.spec.framework.name),
        pair("size", &size::human(installed.size_bytes())),
        pair("path", &installed.dir.display().to_string()),
    ];
    rows.retain(|row| !row[1].is_empty());
    for (word, ports) in [
        ("input", &manifest.spec.io.inputs),
        ("output", &manifest.spec.io.outputs),
    ] {
        rows.extend(ports.iter().map(|port| pair(word, &shown_port(port))));
    }
    for file in &manifest.spec.format.files {
        rows.push(pair(
            "file",
            &format!(
                "{} ({}, sha256 {}…)",
                file.path,
                size::human(file.size),
                &file.sha256[..16]
            ),
        ));
    }
    Answer::new(json, table(&rows))
}

fn resolved_answer(resolved: &Resolved) -> Answer {
    let files: Vec<Value> = resolved
        .files
        .iter()
        .map(|file| json!({ "path": file.path, "size": file.size }))
        .collect();
    let json = json!({
        "id": resolved.id.to_string(),
        "installed": false,
        "commit": resolved.commit(),
        "license": resolved.about.license,
        "size_bytes": resolved.size_bytes(),
        "files": files,
    });
    let mut rows = vec![
        pair("model", &format!("{} (not installed)", resolved.id)),
        pair("description", &resolved.about.description),
        pair("license", &resolved.about.license),
        pair("commit", resolved.commit().unwrap_or_default()),
        pair("size", &size::human(resolved.size_bytes())),
    ];
    rows.retain(|row| !row[1].is_empty());
    rows.extend(
        resolved
            .files
            .iter()
            .map(|file| pair("file", &format!("{} ({})", file.path, size::human(file.size)))),
    );
    Answer::new(json, table(&rows))
}

fn pair(word: &str, value: &str) -> Vec<String> {
    vec![word.to_owned(), value.to_owned()]
}

fn shown_port(port: &Port) -> String {
    let dims: Vec<String> = port
        .shape
        .iter()
        .map(|&dim| if dim < 0 { "?".into() } else { dim.to_string() })
        .collect();
    let from = port
        .preprocessing
        .as_ref()
        .map(|preprocessing| format!(", from {}", preprocessing.kind.as_str()));
    format!(
        "{} {}[{}]{}",
        port.name,
        port.dtype,
        dims.join(", "),
        from.unwrap_or_default()
    )
}
