//! The daemon over shared memory.

use std::{borrow::Cow, iter::repeat_n, path::Path, time::Instant};

use mlos_client::{Bound, Client, DType, Model, Options, Outputs, Status, TensorInfo, Terms};
use serde_json::{Map, Value, json};

use crate::{
    error::{Error, Result},
    limits,
    tensor::{self, Given},
};

/// Asks for one inference, and says what came of it in the words of HTTP.
///
/// How large the outputs are that a model leaves open is known when it has run. So room for them is a guess, and as long as
/// it was too small it runs again, with more.
pub(crate) fn infer(socket: &Path, id: &str, inputs: &Map<String, Value>, terms: &Terms) -> Result<Value> {
    let (mut room, mut arena_bytes) = (limits::OUTPUT_ROOM_FIRST, 0);
    loop {
        let options = Options::default().name("axon").timeout(limits::INFER_TIMEOUT);
        let connected = options.arena_bytes(arena_bytes).connect(socket);
        let client = connected.map_err(|error| said(socket, error))?;
        let granted = client.arena().bytes;
        let error = match ask(&client, id, inputs, terms, room) {
            Ok(answer) => return Ok(answer),
            Err(Failure::Daemon(error)) => error,
            Err(Failure::Ours(error)) => return Err(error),
        };
        match &error {
            mlos_client::Error::Refused { status, .. }
                if *status == Status::TooLarge && room < limits::OUTPUT_ROOM_MAX =>
            {
                room *= limits::ROOM_FACTOR;
            }
            // The daemon says no to more than one client may have.
            mlos_client::Error::Protocol(_)
                if error.kind() == Status::Overloaded && granted >= arena_bytes =>
            {
                arena_bytes = granted.saturating_mul(2);
            }
            _ => return Err(said(socket, error)),
        }
    }
}

/// Who is against it.
enum Failure {
    Daemon(mlos_client::Error),
    Ours(Error),
}

impl From<mlos_client::Error> for Failure {
    fn from(error: mlos_client::Error) -> Failure {
        Failure::Daemon(error)
    }
}

fn ask(
    client: &Client,
    id: &str,
    inputs: &Map<String, Value>,
    terms: &Terms,
    room: usize,
) -> Result<Value, Failure> {
    let started = Instant::now();
    let model = client.open(id)?;
    let inputs = complete(&model, inputs).map_err(Failure::Ours)?;
    let given: Vec<(&TensorInfo, Given<'_>)> = inputs
        .iter()
        .map(|(info, value)| {
            let given = tensor::given(info, value).map_err(|reason| wrong_input(info, &reason))?;
            Ok((*info, given))
        })
        .collect::<Result<_>>()
        .map_err(Failure::Ours)?;
    let mut bound = bind(&model, &given, room)?;
    for (info, given) in &given {
        fill(&mut bound, info, given)?;
    }
    let outputs = bound.infer(terms)?;
    Ok(answer(&model, &outputs, started)?)
}

/// The inputs in the order of the model. What follows from `input_ids` is filled in, as the daemon does over HTTP.
fn complete<'a>(
    model: &'a Model,
    inputs: &'a Map<String, Value>,
) -> Result<Vec<(&'a TensorInfo, Cow<'a, Value>)>> {
    let known = |name: &String| model.inputs().iter().any(|info| info.name == *name);
    if let Some(unknown) = inputs.keys().find(|name| !known(name)) {
        let reason = format!(
            "model '{}' has no such input; it takes {}",
            model.id(),
            takes(model)
        );
        return Err(wrong(&format!("input '{unknown}': {reason}")));
    }
    let ids = inputs.get("input_ids");
    let value = |info: &'a TensorInfo| {
        let value = match (inputs.get(&info.name), info.name.as_str(), ids) {
            (Some(value), _, _) => Cow::Borrowed(value),
            (None, "attention_mask", Some(ids)) => Cow::Owned(filled(ids, 1)),
            (None, "token_type_ids", Some(ids)) => Cow::Owned(filled(ids, 0)),
            _ => {
                let reason = format!("is missing; model '{}' takes {}", model.id(), takes(model));
                return Err(wrong_input(info, &reason));
            }
        };
        Ok((info, value))
    };
    model.inputs().iter().map(value).collect()
}

/// The same lists with another number in every place.
fn filled(like: &Value, number: u8) -> Value {
    match like {
        Value::Array(items) if items.iter().all(|item| !item.is_array()) => {
            Value::Array(repeat_n(number.into(), items.len()).collect())
        }
        Value::Array(items) => items.iter().map(|item| filled(item, number)).collect(),
        _ => number.into(),
    }
}

fn takes(model: &Model) -> String {
    let inputs = model.inputs().iter();
    let inputs = inputs.map(|info| format!("'{}' ({})", info.name, tensor::declared(info)));
    inputs.collect::<Vec<_>>().join(", ")
}

fn bind(model: &Model, given: &[(&TensorInfo, Given<'_>)], room: usize) -> Result<Bound, Failure> {
    let mut request = model.request();
    for (info, given) in given {
        request = request.dims(&info.name, &given.dims);
        if info.dtype == DType::String {
            let strings = tensor::strings(&given.elements)
                .map_err(|reason| Failure::Ours(wrong_input(info, &reason)))?;
            let bytes = strings.iter().map(|text| text.len() + size_of::<u32>()).sum();
            request = request.capacity(&info.name, bytes);
        }
    }
    // What has as many rows as the inputs is laid out for them.
    let batch = given
        .iter()
        .find(|(info, given)| !given.dims.is_empty() && info.dims[0].is_none());
    if let Some((_, given)) = batch {
        request = request.rows(given.dims[0] as u64);
    }
    for info in model.outputs() {
        if info.dtype == DType::String || info.dims.contains(&None) {
            request = request.capacity(&info.name, room);
        }
    }
    Ok(request.bind()?)
}

fn fill(bound: &mut Bound, info: &TensorInfo, given: &Given<'_>) -> Result<(), Failure> {
    let misfit = |reason: String| Failure::Ours(wrong_input(info, &reason));
    if info.dtype == DType::String {
        let strings = tensor::strings(&given.elements).map_err(misfit)?;
        return Ok(bound.set_strings(&info.name, &strings)?);
    }
    let place = bound.input_bytes_mut(&info.name)?;
    tensor::write(&given.elements, info.dtype, place).map_err(misfit)
}

/// As mlosd answers over HTTP.
fn answer(model: &Model, outputs: &Outputs<'_>, started: Instant) -> Result<Value, mlos_client::Error> {
    let timing = outputs.timing();
    let mut shown = Vec::new();
    for info in model.outputs() {
        let data = match info.dtype {
            DType::String => {
                let strings = outputs.strings(&info.name)?.into_iter();
                strings.map(|text| String::from_utf8_lossy(text).into()).collect()
            }
            dtype => tensor::values(dtype, outputs.bytes(&info.name)?),
        };
        shown.push(json!({
            "name": info.name,
            "dtype": info.dtype.name(),
            "shape": outputs.shape(&info.name)?.dims(),
            "data": data,
        }));
    }
    let id = match model.version() {
        Some(version) => format!("{}@{version}", model.id()),
        None => model.id().to_owned(),
    };
    let compute_us = timing.compute.as_micros() as u64;
    Ok(json!({
        "status": "success",
        "model_id": id,
        "model_version": model.version(),
        "outputs": shown,
        "class": timing.class.map(mlos_client::Class::name),
        "timing": {
            "queue_us": timing.queue.as_micros() as u64,
            "compute_us": compute_us,
            "total_us": started.elapsed().as_micros() as u64,
            "preemptions": timing.preemptions,
            "parts": timing.parts,
        },
        "inference_time_us": compute_us,
    }))
}

fn wrong_input(info: &TensorInfo, reason: &str) -> Error {
    wrong(&format!("input '{}': {reason}", info.name))
}

/// What the daemon would refuse over HTTP.
pub(crate) fn wrong(message: &str) -> Error {
    refused(Status::InvalidArgument, message)
}

fn refused(status: Status, message: &str) -> Error {
    Error::Refused {
        status: None,
        kind: status.name().to_owned(),
        message: message.to_owned(),
    }
}

/// A failure of the client library in the words of this program.
fn said(socket: &Path, error: mlos_client::Error) -> Error {
    let reason = match &error {
        mlos_client::Error::Connect { source, .. } if error.kind() == Status::Unavailable => {
            source.to_string()
        }
        mlos_client::Error::Gone { reason } => reason.clone(),
        mlos_client::Error::TimedOut { .. } => "it took too long".to_owned(),
        _ => return refused(error.kind(), &error.to_string()),
    };
    Error::Unreachable {
        endpoint: socket.display().to_string(),
        reason,
        variable: "MLOS_SOCKET",
    }
}
