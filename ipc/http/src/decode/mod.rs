//! A request's bytes into an [`InferRequest`].

mod content;
mod controls;
mod shape;
mod spelling;
mod tensor;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use mlos_api::{
    Error, InferRequest, Inputs, ModelDetail, ModelRef, NamedTensor, Signature, TensorSpec, limits,
};
use mlos_tensor_mem::Pool;

pub(crate) use self::controls::Controls;
use crate::answer::Refusal;
use crate::breath::ready;
use crate::json::{Cursor, Fault, Member, Value, members};

/// Members of a body: as many inputs as are allowed, and every control key.
const MEMBERS_MAX: usize = limits::INPUTS_MAX + controls::KEYS.len();

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// Named inputs, a text, or an image in base64.
    Json,
    /// One encoded image.
    Image,
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
            _ => Err(Refusal::MediaType(format!(
                "content-type '{essence}' is not supported; send application/json, or an image as image/png, image/jpeg and so on"
            ))),
        }
    }
}

/// A request for an inference, still closed: what its headers say, and its body.
#[derive(Debug)]
pub(crate) struct Envelope {
    media: Media,
    controls: Controls,
    pub(crate) body: Bytes,
}

impl Envelope {
    /// Reads the headers. The body comes later.
    pub(crate) fn open(headers: &HeaderMap) -> Result<Self, Refusal> {
        Ok(Self {
            media: Media::of(headers)?,
            controls: Controls::from_headers(headers)?,
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
        body,
    } = envelope;
    let inputs = match media {
        Media::Image => content::image_body(detail, body)?,
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
        body,
    };
    ready(request(&detail.model, envelope, detail, pool, &async || ()))
}

/// Reads one JSON body.
struct Reader<'a, B> {
    body: &'a [u8],
    detail: &'a ModelDetail,
    pool: &'a Pool,
    breathe: &'a B,
}

impl<'a, B: AsyncFn()> Reader<'a, B> {
    async fn inputs(&self, controls: &mut Controls) -> Result<Inputs, Error> {
        let members = self.members().await?;
        // The component decides which inputs there are, wherever in the body it stands.
        if let Some(member) = members
            .iter()
            .find(|member| member.key == "component" && member.value == Value::Text)
        {
            controls
                .set("component", self.value(member))
                .map_err(|fault| self.syntax(&fault))?;
        }
        let signature = self.signature(controls.component.as_deref())?;
        let mut tensors = Vec::with_capacity(signature.inputs.len());
        let mut content = None;
        for member in &members {
            if let Some(spec) = self.named_input(signature, member) {
                self.tensor(spec, member, &mut tensors).await?;
            } else if controls::KEYS.contains(&&*member.key) {
                controls
                    .set(&member.key, self.value(member))
                    .map_err(|fault| self.syntax(&fault))?;
            } else if member.key == "inputs" && member.value == Value::Object {
                self.nested_inputs(signature, member, &mut tensors).await?;
            } else if member.key == "input" {
                content = self.input(signature, member, &mut tensors).await?;
            } else {
                return Err(spelling::unknown_input(self.detail, signature, &member.key));
            }
        }
        match content {
            Some(content) if tensors.is_empty() => Ok(content),
            Some(_) => Err(Error::InvalidArgument(String::from(
                "give either 'input', a text or an image, or tensors by name, not both",
            ))),
            None => self.complete(signature, tensors),
        }
    }

    /// The graph that is asked for. One that is still being loaded has none: its inputs are in the file.
    fn signature(&self, component: Option<&str>) -> Result<&'a Signature, Error> {
        let detail = self.detail;
        match (&detail.failure, detail.state) {
            _ if !detail.signatures.is_empty() => detail.signature(component),
            (Some(failure), _) => Err(Error::ModelFailed(format!(
                "model '{}' failed to load: {failure}",
                detail.model
            ))),
            (None, state) => Err(Error::Unavailable(format!(
                "model '{}' is not ready: {}",
                detail.model,
                format!("{state:?}").to_lowercase()
            ))),
        }
    }

    async fn members(&self) -> Result<Vec<Member<'a>>, Error> {
        let mut cursor = Cursor::new(self.body, 0);
        cursor.skip_space();
        if cursor.peek() != Some(b'{') {
            return Err(spelling::not_an_object(self.detail, &cursor));
        }
        let found = members(&mut cursor, MEMBERS_MAX, self.breathe)
            .await
            .map_err(|fault| self.syntax(&fault))?;
        cursor.skip_space();
        if cursor.peek().is_some() {
            return Err(self.syntax(&cursor.unexpected("the end of the body")));
        }
        Ok(found)
    }

    /// The model's input that a member names. An input that is called like a control key wins only with a list.
    fn named_input<'s>(&self, signature: &'s Signature, member: &Member<'_>) -> Option<&'s TensorSpec> {
        let is_taken = controls::KEYS.contains(&&*member.key) && !matches!(member.value, Value::Array(_));
        let is_content = member.key == "input" && content::is_content(self.detail, &member.value);
        if is_taken || is_content || member.value == Value::Object {
            return None;
        }
        signature.inputs.iter().find(|spec| spec.name == member.key)
    }

    async fn nested_inputs(
        &self,
        signature: &Signature,
        member: &Member<'_>,
        tensors: &mut Vec<NamedTensor>,
    ) -> Result<(), Error> {
        let mut cursor = self.value(member);
        let found = members(&mut cursor, limits::INPUTS_MAX, self.breathe).await;
        for member in found.map_err(|fault| self.syntax(&fault))? {
            let spec = signature.inputs.iter().find(|spec| spec.name == member.key);
            let spec = spec.ok_or_else(|| spelling::unknown_input(self.detail, signature, &member.key))?;
            self.tensor(spec, &member, tensors).await?;
        }
        Ok(())
    }

    /// What `input` holds: a text or an image where the model takes such; else the only input it has.
    async fn input(
        &self,
        signature: &Signature,
        member: &Member<'_>,
        tensors: &mut Vec<NamedTensor>,
    ) -> Result<Option<Inputs>, Error> {
        if content::is_content(self.detail, &member.value) {
            return content::read(self.detail, self.value(member), self.breathe)
                .await
                .map(Some);
        }
        match signature.inputs.as_slice() {
            [only] if member.value != Value::Object => {
                self.tensor(only, member, tensors).await.map(|()| None)
            }
            _ => Err(spelling::no_content(self.detail, signature)),
        }
    }

    async fn tensor(
        &self,
        spec: &TensorSpec,
        member: &Member<'_>,
        tensors: &mut Vec<NamedTensor>,
    ) -> Result<(), Error> {
        if tensors.iter().any(|tensor| tensor.name == spec.name) {
            return Err(invalid(spec, "is given twice"));
        }
        let tensor = tensor::read(self.pool, spec, &member.value, self.value(member), self.breathe).await?;
        tensors.push(NamedTensor {
            name: spec.name.clone(),
            tensor,
        });
        Ok(())
    }

    /// Fills in what follows from `input_ids`, and holds the rest to be missing.
    fn complete(&self, signature: &Signature, mut tensors: Vec<NamedTensor>) -> Result<Inputs, Error> {
        let ids = tensors
            .iter()
            .find(|tensor| tensor.name == "input_ids")
            .map(|ids| *ids.tensor.shape());
        for spec in &signature.inputs {
            if tensors.iter().any(|tensor| tensor.name == spec.name) {
                continue;
            }
            let tensor = match (spec.name.as_str(), ids) {
                ("attention_mask", Some(shape)) => tensor::ones(self.pool, spec, shape)?,
                ("token_type_ids", Some(shape)) => tensor::zeros(self.pool, spec, shape)?,
                _ => return Err(spelling::missing_input(self.detail, signature, spec)),
            };
            tensors.push(NamedTensor {
                name: spec.name.clone(),
                tensor,
            });
        }
        Ok(Inputs::Tensors(tensors))
    }

    fn value(&self, member: &Member<'_>) -> Cursor<'a> {
        Cursor::new(&self.body[..member.span.end], member.span.start)
    }

    /// A fault of the text itself.
    fn syntax(&self, fault: &Fault) -> Error {
        Error::InvalidArgument(format!("the body at byte {}: {}", fault.at, fault.what))
    }
}

fn invalid(spec: &TensorSpec, reason: impl Into<String>) -> Error {
    Error::InvalidInput {
        name: spec.name.clone(),
        reason: reason.into(),
    }
}
