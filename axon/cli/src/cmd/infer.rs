//! `axon infer`: one request to the daemon.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mlos_client::{Class, Terms};
use serde_json::{Map, Value, json};

use crate::{
    answer::{Answer, table},
    cmd,
    context::Context,
    daemon::Daemon,
    error::{Error, Result, io},
    limits, local, npy,
};

/// The ways to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Via {
    /// The network: from anywhere, with texts and images too
    Http,
    /// Shared memory: from this machine, with tensors
    Local,
}

/// Ask mlosd for one inference
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  axon infer mlos/digits --image 7.png
  axon infer local/mlp --input x=@row.npy --priority realtime --deadline-ms 5
  axon infer hf/org/bert --text 'Paris is the [MASK] of France'
  axon infer hf/org/vit --image cat.jpg --json
  axon infer local/mlp --input x=@row.npy --via local

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
    /// How mlosd is asked
    #[arg(long, value_enum, default_value = "http")]
    via: Via,
    /// Where mlosd is, over HTTP [default: MLOS_ENDPOINT, mlos.endpoint, http://127.0.0.1:8080]
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Where mlosd is, on this machine [default: MLOS_SOCKET, $XDG_RUNTIME_DIR/mlosd.sock, /run/mlos/mlosd.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

pub(crate) async fn run(context: &Context, arguments: &Infer) -> Result<Answer> {
    // What is wrong with the command line is said before the daemon is looked for.
    let asked = match arguments.via {
        Via::Http => Asked::Body(body(arguments)?),
        Via::Local => Asked::Tensors(tensors(arguments)?, terms(arguments)?),
    };
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
    let answer = match asked {
        Asked::Body(body) => {
            let daemon = Daemon::new(context.endpoint(arguments.endpoint.as_deref()))?;
            daemon.infer(&id, &body).await?
        }
        Asked::Tensors(inputs, terms) => {
            let socket = arguments.socket.clone().unwrap_or_else(mlos_client::default_path);
            local::infer(&socket, &id, &inputs, &terms)?
        }
    };
    let text = shown(&answer);
    Ok(Answer::new(answer, text))
}

/// A request, as its way wants it.
enum Asked {
    Body(Value),
    Tensors(Map<String, Value>, Terms),
}

fn body(arguments: &Infer) -> Result<Value> {
    if arguments.socket.is_some() {
        return Err(Error::Usage("--socket goes with --via local".into()));
    }
    let mut body = Map::new();
    if let Some(text) = &arguments.text {
        body.insert("input".into(), json!(text));
    }
    if let Some(path) = &arguments.image {
        body.insert("input".into(), json!(STANDARD.encode(read(path)?)));
    }
    let inputs = inputs(arguments)?;
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

/// What goes into shared memory.
fn tensors(arguments: &Infer) -> Result<Map<String, Value>> {
    let wrong = |text: &str| Err(Error::Usage(text.into()));
    if arguments.endpoint.is_some() {
        return wrong("--endpoint goes with --via http; --socket says where mlosd is on this machine");
    }
    if arguments.text.is_some() || arguments.image.is_some() {
        return wrong("over shared memory a model takes tensors: give --input, or ask with --via http");
    }
    match inputs(arguments)? {
        none if none.is_empty() => wrong("give --input NAME=VALUE"),
        inputs => Ok(inputs),
    }
}

/// As the daemon reads them over HTTP.
fn terms(arguments: &Infer) -> Result<Terms> {
    let mut terms = Terms::default();
    if let Some(word) = &arguments.priority {
        terms.class = match word.to_ascii_lowercase().as_str() {
            "0" => None,
            "rt" | "realtime" | "1" => Some(Class::Realtime),
            "high" | "2" => Some(Class::High),
            "normal" | "3" => Some(Class::Normal),
            "low" | "batch" | "4" => Some(Class::Batch),
            _ => {
                let expected = "none of realtime, high, normal, batch, or 0 to 4";
                return Err(local::wrong(&format!("priority: '{word}' is {expected}")));
            }
        };
    }
    if let Some(ms) = arguments.deadline_ms {
        let deadline = Duration::try_from_secs_f64(ms / 1e3).ok();
        let deadline = deadline.filter(|deadline| !deadline.is_zero());
        terms.deadline =
            Some(deadline.ok_or_else(|| local::wrong(&format!("deadline_ms: {ms} is no time ahead")))?);
    }
    Ok(terms)
}

fn inputs(arguments: &Infer) -> Result<Map<String, Value>> {
    let mut inputs = Map::new();
    for input in &arguments.input {
        let (name, value) = input.split_once('=').ok_or_else(|| {
            Error::Usage(format!(
                "`--input {input}`: expected NAME=VALUE, such as x=@file.npy or 'x=[1, 2]'"
            ))
        })?;
        inputs.insert(name.to_owned(), value_of(name, value)?);
    }
    Ok(inputs)
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
