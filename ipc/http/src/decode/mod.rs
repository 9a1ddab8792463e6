//! A request's bytes into an [`InferRequest`].

mod content;
mod controls;
mod lists;
mod raw;
mod reader;
mod shape;
mod spelling;
mod tensor;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use mlos_api::{Error, InferRequest, ModelDetail, ModelRef, TensorSpec};
use mlos_tensor_mem::Pool;

use self::controls::Controls;
use self::raw::Label;
use self::reader::Reader;
use crate::answer::Refusal;
use crate::breath::ready;

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// Named inputs, a text, or an image in base64.
    Json,
    /// One encoded image.
    Image,
    /// The elements of one tensor, as they lie in memory.
    Raw,
}

impl Media {
    /// What the headers say. JSON is also what is not declared, or declared as `curl -d` does by default.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let encoding = headers.get(CONTENT_ENCODING);
        if let Some(encoding) =
            encoding.filter(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
        {
            return Err(Refusal::MediaType(format!(
                "content-encoding {encoding:?} is not supported; send the body as it is"
            )));
        }
        let Some(declared) = headers.get(CONTENT_TYPE) else {
            return Ok(Self::Json);
        };
        let full = declared.to_str().unwrap_or_default();
        let essence = full
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        match essence.as_str() {
            "" | "application/json" | "text/json" | "text/plain" | "application/x-www-form-urlencoded" => {
                Ok(Self::Json)
            }
            json if json.ends_with("+json") => Ok(Self::Json),
            image if image.starts_with("image/") => Ok(Self::Image),
            "application/octet-stream" => Ok(Self::Raw),
            _ => Err(Refusal::MediaType(format!(
                "content-type '{essence}' is not supported; send application/json, an image as image/png, image/jpeg and so on, or the bytes of one tensor as application/octet-stream"
            ))),
        }
    }
}

/// A request for an inference, still closed: what its headers say, and its body.
#[derive(Debug)]
pub(crate) struct Envelope {
    media: Media,
    controls: Controls,
    label: Label,
    pub(crate) body: Bytes,
}

impl Envelope {
    /// Reads the headers. The body comes later.
    pub(crate) fn open(headers: &HeaderMap) -> Result<Self, Refusal> {
        Ok(Self {
            media: Media::of(headers)?,
            controls: Controls::from_headers(headers)?,
            label: Label::from_headers(headers)?,
            body: Bytes::new(),
        })
    }
}

/// Reads a request for an inference. Tensors are written into loans of `pool`.
pub(crate) async fn request(
    asked: &ModelRef,
    envelope: Envelope,
    detail: &ModelDetail,
    pool: &Pool,
    breathe: &impl AsyncFn(),
) -> Result<InferRequest, Error> {
    let Envelope {
        media,
        mut controls,
        label,
        body,
    } = envelope;
    let inputs = match media {
        Media::Image => content::image_body(detail, body)?,
        Media::Raw => {
            raw::body(
                detail,
                controls.component.as_deref(),
                &label,
                &body,
                pool,
                breathe,
            )
            .await?
        }
        Media::Json => {
            let reader = Reader {
                body: &body,
                detail,
                pool,
                breathe,
            };
            reader.inputs(&mut controls).await?
        }
    };
    Ok(InferRequest {
        model: asked.clone(),
        component: controls.component,
        inputs,
        outputs: controls.outputs,
        class: controls.class,
        deadline: controls.deadline,
        on_miss: controls.on_miss,
    })
}

/// Reads one body for a model, as the server does. Public for the fuzz target, the benchmark and the tests of bodies.
///
/// # Errors
/// What the client is told: [`Error::InvalidArgument`] or [`Error::InvalidInput`], unless the pool is full or the model
/// not loaded.
pub fn read_request(
    media: Media,
    body: Bytes,
    detail: &ModelDetail,
    pool: &Pool,
) -> Result<InferRequest, Error> {
    let envelope = Envelope {
        media,
        controls: Controls::default(),
        label: Label::default(),
        body,
    };
    ready(request(&detail.model, envelope, detail, pool, &async || ()))
}

fn invalid(spec: &TensorSpec, reason: impl Into<String>) -> Error {
    Error::InvalidInput {
        name: spec.name.clone(),
        reason: reason.into(),
    }
}
