//! What can go wrong for a client.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use mlos_shm::{DType, Status};

/// Any failure. [`kind`](Self::kind) is the number to act on, the text is for people.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No daemon answers there.
    #[error("cannot connect to {}: {source}; is mlosd running, with this socket?", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: mlos_shm::Error,
    },
    /// The daemon answered no.
    #[error("{text}")]
    Refused {
        /// The kind.
        status: Status,
        /// The daemon's words.
        text: String,
    },
    /// The connection has ended: the daemon is gone, or has ended it. Reconnect, open and bind again.
    #[error("the connection to the daemon has ended: {reason}; reconnect")]
    Gone {
        /// Why, as far as it is known.
        reason: String,
    },
    /// No answer came in time. A request's memory stays the daemon's until its answer comes.
    #[error("no answer from the daemon within {} ms", waited.as_millis())]
    TimedOut {
        /// How long was waited.
        waited: Duration,
    },
    /// As many requests are in flight as the connection has slots.
    #[error(
        "{slots} requests are in flight, as many as there are slots; wait for one, or connect with more slots"
    )]
    TooManyInFlight {
        /// Slots.
        slots: u32,
    },
    /// No number is left for another binding.
    #[error("{max} bindings are alive, as many as a connection may have; drop some")]
    TooManyBindings {
        /// The limit.
        max: u32,
    },
    /// The request is still in flight after a wait that timed out, so its memory is the daemon's.
    #[error("the daemon still works on this request; wait for it, or bind another")]
    Busy,
    /// A request that belongs to another connection, or to none any more.
    #[error("this request belongs to another connection; open and bind on this one")]
    OtherConnection,
    /// There are no outputs to read, as the last run did not succeed or there was none.
    #[error("there are no outputs: the request has not run, or has failed")]
    NoOutputs,
    /// The model has no tensor of that name.
    #[error("{model} has no {direction} '{name}'; it has {known}")]
    NoSuchTensor {
        /// The model.
        model: String,
        /// Input or output.
        direction: Direction,
        /// The name asked for.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// The tensor was left out when the request was bound.
    #[error("{direction} '{name}' was left out of this request")]
    LeftOut {
        /// Input or output.
        direction: Direction,
        /// Its name.
        name: String,
    },
    /// Its elements are of another type.
    #[error("{direction} '{name}' is {expected}, not {got}")]
    WrongType {
        /// Input or output.
        direction: Direction,
        /// Its name.
        name: String,
        /// The model's type.
        expected: DType,
        /// The one asked for.
        got: DType,
    },
    /// The model leaves dimensions open, and the request does not say them.
    #[error("{direction} '{name}' has shape {declared}: say its dimensions before binding")]
    OpenDims {
        /// Input or output.
        direction: Direction,
        /// Its name.
        name: String,
        /// As the model declares it; `?` is any.
        declared: String,
    },
    /// The dimensions said are not possible for the model.
    #[error("{direction} '{name}' has shape {declared}, which {got:?} is not")]
    WrongDims {
        /// Input or output.
        direction: Direction,
        /// Its name.
        name: String,
        /// As the model declares it; `?` is any.
        declared: String,
        /// As the request says.
        got: Vec<usize>,
    },
    /// The strings need more room than the binding has.
    #[error(
        "the strings of '{name}' need {needed} bytes, but there is room for {room}; bind with more capacity"
    )]
    NoRoom {
        /// The input.
        name: String,
        /// Bytes needed.
        needed: usize,
        /// Bytes there are.
        room: usize,
    },
    /// Another number of strings than the shape has elements.
    #[error("'{name}' has {expected} elements, not {got}")]
    WrongCount {
        /// The input.
        name: String,
        /// Of the shape.
        expected: usize,
        /// Given.
        got: usize,
    },
    /// The daemon's output cannot be read.
    #[error("output '{name}' is malformed: {problem}")]
    BadOutput {
        /// The output.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The local protocol: the arena is exhausted, or a system call failed.
    #[error(transparent)]
    Protocol(#[from] mlos_shm::Error),
    /// The asynchronous runtime refused the connection's descriptor.
    #[error("cannot watch the connection: {0}")]
    Watch(#[source] io::Error),
}

/// Which side of a model a tensor is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Into the model.
    Input,
    /// Out of it.
    Output,
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Input => "input",
            Self::Output => "output",
        })
    }
}

impl Error {
    /// What to act on: the kinds are those of the daemon's other edges.
    #[must_use]
    pub fn kind(&self) -> Status {
        match self {
            Self::Refused { status, .. } => *status,
            Self::Connect { source, .. } => match source {
                mlos_shm::Error::Os { .. } | mlos_shm::Error::PeerGone => Status::Unavailable,
                other => other.kind(),
            },
            Self::Gone { .. } => Status::Unavailable,
            Self::TimedOut { .. } => Status::DeadlineMiss,
            Self::TooManyInFlight { .. } | Self::TooManyBindings { .. } => Status::Overloaded,
            Self::Busy | Self::OtherConnection | Self::NoOutputs => Status::Conflict,
            Self::NoSuchTensor { .. } | Self::LeftOut { .. } => Status::NotFound,
            Self::WrongType { .. }
            | Self::OpenDims { .. }
            | Self::WrongDims { .. }
            | Self::WrongCount { .. } => Status::InvalidArgument,
            Self::NoRoom { .. } => Status::TooLarge,
            Self::BadOutput { .. } | Self::Watch(_) => Status::Internal,
            Self::Protocol(error) => error.kind(),
        }
    }
}
