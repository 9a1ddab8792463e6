//! `axon infer`: one request to the daemon.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use crate::{
    answer::{Answer, table},
    cmd,
    context::Context,
    daemon::Daemon,
    error::{Error, Result, io},
    limits, npy,
};

/// Ask mlosd for one inference
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  axon infer mlos/digits --image 7.png
  axon infer local/mlp --input x=@row.npy --priority realtime --deadline-ms 5
  axon infer hf/org/bert --text 'Paris is the [MASK] of France'
  axon infer hf/org/vit --image cat.jpg --json

An input's value is JSON, @FILE.npy, or @FILE with JSON in it.
JSON: mlosd's answer: {\"status\",\"model_id\",\"outputs\":[{\"name\",\"dtype\",\"shape\",\"data\"}],\"timing\":{...}}")]
pub(crate) struct Infer {
    /// The model's id
    model: String,
    /// A named input; may be repeated
    #[arg(long, short, value_name = "NAME=VALUE")]
    input: Vec<String>,
    /// A text, for models whose manifest declares a tokenizer
    #[arg(long, conflicts_with_all = ["input", "image"])]
    text: Option<String>,
    /// An image file, for models whose manifest declares how to read images
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    image: Option<PathBuf>,
    /// realtime, high, normal or batch
    #[arg(long)]
    priority: Option<String>,
    /// The answer is worthless after this time
    #[arg(long, value_name = "MS")]
    deadline_ms: Option<f64>,
    /// Where mlosd is [default: MLOS_ENDPOINT, mlos.endpoint, http://127.0.0.1:8080]
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
}

pub(crate) async fn run(context: &Context, arguments: &Infer) -> Result<Answer> {
    let body = body(arguments)?;
    // Registered models need not be installed here; those that are may be named by half.
    let id = context
        .store()
        .and_then(|store| cmd::find(&store, &arguments.model))
        .map(|installed| installed.id);
    let id = match id {
        Ok(id) if arguments.model.contains('@') => id.to_string(),
        Ok(id) => id.base(),
        Err(_) => arguments.model.clone(),
    };
    let daemon = Daemon::new(context.endpoint(arguments.endpoint.as_deref()))?;
    let answer = daemon.infer(&id, &body).await?;
    let text = shown(&answer);
    Ok(Answer::new(answer, text))
}

fn body(arguments: &Infer) -> Result<Value> {
    let mut body = Map::new();
    if let Some(text) = &arguments.text {
        body.insert("input".into(), json!(text));
    }
    if let Some(path) = &arguments.image {
        body.insert("input".into(), json!(STANDARD.encode(read(path)?)));
    }
    let mut inputs = Map::new();
    for input in &arguments.input {
        let (name, value) = input.split_once('=').ok_or_else(|| {
            Error::Usage(format!(
                "`--input {input}`: expected NAME=VALUE, such as x=@file.npy or 'x=[1, 2]'"
            ))
        })?;
        inputs.insert(name.to_owned(), value_of(name, value)?);
    }
    if !inputs.is_empty() {
        body.insert("inputs".into(), Value::Object(inputs));
    } else if body.is_empty() {
        return Err(Error::Usage("give --input NAME=VALUE, --text or --image".into()));
    }
    if let Some(priority) = &arguments.priority {
        body.insert("priority".into(), json!(priority));
    }
    if let Some(deadline_ms) = arguments.deadline_ms {
        body.insert("deadline_ms".into(), json!(deadline_ms));
    }
    Ok(Value::Object(body))
}

fn value_of(name: &str, text: &str) -> Result<Value> {
    let Some(path) = text.strip_prefix('@').map(Path::new) else {
        return serde_json::from_str(text).map_err(|error| {
            Error::Usage(format!(
                "`--input {name}`: not JSON ({error}); a file is named with @"
            ))
        });
    };
    let bytes = read(path)?;
    if path.extension().is_some_and(|extension| extension == "npy") {
        return npy::read(&bytes).map_err(|reason| Error::Invalid(format!("{}: {reason}", path.display())));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::Invalid(format!("{}: not JSON: {error}", path.display())))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| io(path, error))?;
    file.take(limits::INPUT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| io(path, error))?;
    if bytes.len() as u64 > limits::INPUT_BYTES_MAX {
        return Err(Error::Invalid(format!(
            "{}: larger than {} bytes",
            path.display(),
            limits::INPUT_BYTES_MAX
        )));
    }
    Ok(bytes)
}

fn shown(answer: &Value) -> String {
    let mut rows = vec![["OUTPUT", "DTYPE", "SHAPE", "DATA"].map(str::to_owned).to_vec()];
    for output in answer["outputs"].as_array().into_iter().flatten() {
        let word = |key: &str| output[key].as_str().unwrap_or_default().to_owned();
        rows.push(vec![
            word("name"),
            word("dtype"),
            output["shape"].to_string(),
            first_values(&output["data"]),
        ]);
    }
    let timing = &answer["timing"];
    let us = |key: &str| timing[key].as_u64().unwrap_or(0);
    let total = format!(
        "{} us: {} queued, {} computing",
        us("total_us"),
        us("queue_us"),
        us("compute_us")
    );
    format!("{}\n{total}", table(&rows))
}

fn first_values(data: &Value) -> String {
    let mut values = Vec::new();
    flatten(data, &mut values);
    let more = if values.len() > limits::VALUES_SHOWN {
        ", …"
    } else {
        ""
    };
    values.truncate(limits::VALUES_SHOWN);
    format!("{}{more}", values.join(", "))
}

/// One more than is shown is enough to know that there are more.
fn flatten(data: &Value, values: &mut Vec<String>) {
    match data {
        Value::Array(items) => {
            for item in items {
                if values.len() > limits::VALUES_SHOWN {
                    return;
                }
                flatten(item, values);
            }
        }
        other => values.push(other.to_string()),
    }
}
