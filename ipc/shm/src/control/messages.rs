//! What is said over the control socket.

use rkyv::{Archive, Deserialize, Serialize};

use crate::{Fault, Status, limits};

/// From a client.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage {
    /// The first, once.
    Hello(Hello),
    /// Asks for a model's handle and signature.
    Open(Open),
    /// Gives a handle back, and forgets the bindings made with it.
    Close(Close),
}

/// From the daemon.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum DaemonMessage {
    /// The answer to `Hello`. Four descriptors come with it: rings, arena, the daemon's bell, the client's.
    Welcome(Welcome),
    /// A no, to any message.
    Refused(Refused),
    /// The answer to `Open`.
    Opened(Opened),
}

/// What a client is, and wants. The versions that it speaks stand in the packet's header.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Bits of optional features. None are defined; those that the daemon does not know it leaves out of its answer.
    pub features: u64,
    /// Slots of either ring; 0 for the default.
    pub slots: u32,
    /// Bytes of the arena; 0 for the default.
    pub arena_bytes: u64,
    /// The client's name for itself, for logs and statistics.
    pub name: String,
}

/// What a client is given.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Those of the features asked for that are on.
    pub features: u64,
    /// Slots of either ring: so many requests may be in flight.
    pub slots: u32,
    /// True length of the arena's file in bytes.
    pub arena_bytes: u64,
    /// Bindings have numbers below this.
    pub bindings_max: u32,
    /// The shard that serves the connection.
    pub shard: u32,
    /// The daemon's version, for people.
    pub daemon: String,
}

/// Asks for a model.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The client's number for the question; the answer carries it.
    pub token: u32,
    /// `hub/name`, with or without `@version`.
    pub model: String,
    /// One of a model's components, if it has any.
    pub component: Option<String>,
}

/// A model that can be bound to.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The question's number.
    pub token: u32,
    /// The daemon's number for the model, for frames.
    pub handle: u32,
    /// The model's id.
    pub model: String,
    /// The version that answers now.
    pub version: Option<String>,
    /// The class of a request that names none, 1 to 4.
    pub class_default: u8,
    /// Its inputs, in the order of a frame.
    pub inputs: Vec<TensorInfo>,
    /// Its outputs, in the order of a frame.
    pub outputs: Vec<TensorInfo>,
}

/// An input or output of a model.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// [`DType`](crate::DType) by number.
    pub dtype: u8,
    /// Its dimensions, outermost first; `None` where any length will do.
    pub dims: Vec<Option<u64>>,
}

/// A no.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The question's number; 0 for `Hello`.
    pub token: u32,
    /// [`Status`] by number.
    pub status: u16,
    /// Why, and what to do.
    pub text: String,
}

/// Gives a handle back.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The handle.
    pub handle: u32,
}

impl ClientMessage {
    pub(super) fn check(&self) -> Result<(), Fault> {
        match self {
            Self::Hello(hello) => at_most("the client's name", hello.name.len(), limits::NAME_BYTES_MAX),
            Self::Open(open) => {
                let component = open.component.as_ref().map_or(0, String::len);
                at_most("the model's name", open.model.len(), limits::MODEL_BYTES_MAX)?;
                at_most("the component's name", component, limits::MODEL_BYTES_MAX)
            }
            Self::Close(_) => Ok(()),
        }
    }

    /// What it is, for messages.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Open(_) => "open",
            Self::Close(_) => "close",
        }
    }
}

impl DaemonMessage {
    pub(super) fn check(&self) -> Result<(), Fault> {
        let Self::Opened(opened) = self else { return Ok(()) };
        let tensors = opened.inputs.len() + opened.outputs.len();
        at_most(
            "the number of tensors",
            tensors,
            limits::FRAME_TENSORS_MAX as usize,
        )
    }

    /// What it is, for messages.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Welcome(_) => "welcome",
            Self::Refused(_) => "refused",
            Self::Opened(_) => "opened",
        }
    }
}

impl Refused {
    /// The kind of error; a number that we do not know yet is some mistake of the daemon's.
    #[must_use]
    pub fn status(&self) -> Status {
        Status::from_u16(self.status).unwrap_or(Status::Internal)
    }
}

fn at_most(field: &'static str, got: usize, max: usize) -> Result<(), Fault> {
    if got <= max {
        return Ok(());
    }
    let (got, max) = (got as u64, max as u64);
    Err(Fault::Limit { field, got, max })
}
