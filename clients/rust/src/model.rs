//! A model that was opened.

use std::fmt;
use std::sync::Arc;

use mlos_shm::control::{Opened, TensorInfo as WireInfo};
use mlos_shm::{DType, Fault};

use crate::connection::Connection;
use crate::request::Request;
use crate::terms::Class;
use crate::{Direction, Error};

/// An input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its elements.
    pub dtype: DType,
    /// Its dimensions, outermost first; `None` where any length will do.
    pub dims: Vec<Option<u64>>,
}

/// What the daemon says of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    pub id: String,
    pub version: Option<String>,
    pub handle: u32,
    pub class_default: Option<Class>,
    pub inputs: Vec<TensorInfo>,
    pub outputs: Vec<TensorInfo>,
}

/// A model that was opened on a connection. Clones are the same; the last one gives the handle back.
#[derive(Clone, Debug)]
pub struct Model {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    connection: Arc<Connection>,
    signature: Arc<Signature>,
}

impl Model {
    pub(crate) fn new(connection: Arc<Connection>, opened: Opened) -> Result<Self, Error> {
        let signature = Arc::new(Signature::read(opened)?);
        let inner = Arc::new(Inner {
            connection,
            signature,
        });
        Ok(Self { inner })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.inner.signature.id
    }

    /// The version that answered when it was opened. A later one may answer later, if its tensors are the same.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.inner.signature.version.as_deref()
    }

    /// The class of requests that name none.
    #[must_use]
    pub fn class_default(&self) -> Option<Class> {
        self.inner.signature.class_default
    }

    /// Its inputs, in its order.
    #[must_use]
    pub fn inputs(&self) -> &[TensorInfo] {
        &self.inner.signature.inputs
    }

    /// Its outputs, in its order.
    #[must_use]
    pub fn outputs(&self) -> &[TensorInfo] {
        &self.inner.signature.outputs
    }

    /// Begins a request: say what the model leaves open, then [`bind`](Request::bind) it.
    #[must_use]
    pub fn request(&self) -> Request {
        Request::new(self.clone())
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.inner.connection
    }

    pub(crate) fn signature(&self) -> &Arc<Signature> {
        &self.inner.signature
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.connection.close(self.signature.handle);
    }
}

impl Signature {
    fn read(opened: Opened) -> Result<Self, Error> {
        let all = |infos: Vec<WireInfo>| infos.into_iter().map(TensorInfo::read).collect::<Result<_, _>>();
        Ok(Self {
            id: opened.model,
            version: opened.version,
            handle: opened.handle,
            class_default: Class::from_u8(opened.class_default),
            inputs: all(opened.inputs)?,
            outputs: all(opened.outputs)?,
        })
    }

    pub(crate) fn tensors(&self, direction: Direction) -> &[TensorInfo] {
        match direction {
            Direction::Input => &self.inputs,
            Direction::Output => &self.outputs,
        }
    }

    /// Where the tensor of that name stands.
    pub(crate) fn position(&self, direction: Direction, name: &str) -> Result<usize, Error> {
        let tensors = self.tensors(direction);
        let at = tensors.iter().position(|tensor| tensor.name == name);
        at.ok_or_else(|| Error::NoSuchTensor {
            model: self.id.clone(),
            direction,
            name: name.to_owned(),
            known: tensors
                .iter()
                .map(|tensor| tensor.name.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        })
    }
}

impl TensorInfo {
    fn read(info: WireInfo) -> Result<Self, Error> {
        let number = info.dtype;
        let dtype = DType::from_u8(number).ok_or(mlos_shm::Error::from(Fault::Packet {
            problem: "it names an element type that there is not",
        }))?;
        Ok(Self {
            name: info.name,
            dtype,
            dims: info.dims,
        })
    }

    /// Its dimensions for people: `[?, 64]`.
    pub(crate) fn declared(&self) -> String {
        Dims(&self.dims).to_string()
    }
}

struct Dims<'a>(&'a [Option<u64>]);

impl fmt::Display for Dims<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (axis, dim) in self.0.iter().enumerate() {
            let comma = if axis == 0 { "" } else { ", " };
            match dim {
                Some(dim) => write!(f, "{comma}{dim}")?,
                None => write!(f, "{comma}?")?,
            }
        }
        f.write_str("]")
    }
}
