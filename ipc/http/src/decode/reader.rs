//! The members of a JSON body, each to where it belongs.

use mlos_api::{Error, Inputs, ModelDetail, NamedTensor, Signature, TensorSpec, limits};
use mlos_tensor_mem::Pool;

use super::controls::Controls;
use super::{content, controls, invalid, spelling, tensor};
use crate::json::{Cursor, Fault, Member, Value, members};

/// Members of a body: as many inputs as are allowed, and every control key.
const MEMBERS_MAX: usize = limits::INPUTS_MAX + controls::KEYS.len();

/// Reads one JSON body.
pub(super) struct Reader<'a, B> {
    pub(super) body: &'a [u8],
    pub(super) detail: &'a ModelDetail,
    pub(super) pool: &'a Pool,
    pub(super) breathe: &'a B,
}

impl<'a, B: AsyncFn()> Reader<'a, B> {
    pub(super) async fn inputs(&self, controls: &mut Controls) -> Result<Inputs, Error> {
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
