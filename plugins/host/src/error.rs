use mlos_smi::Status;
use std::path::PathBuf;

/// Why a plugin or a model could not be loaded, or a call could not be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The dynamic linker refused the file.
    #[error("cannot open plugin {path}: {reason}")]
    Open {
        /// The shared object.
        path: PathBuf,
        /// The linker's words.
        reason: String,
    },
    /// The file is a shared object, but not a plugin.
    #[error("{path} is not a plugin: it does not export `smi_entry`")]
    MissingSymbol {
        /// The shared object.
        path: PathBuf,
    },
    /// The plugin was built for another major version of `smi.h`.
    #[error(
        "plugin {plugin} speaks version {found} of smi.h, this host version {expected}: rebuild the plugin"
    )]
    AbiMismatch {
        /// Path or id.
        plugin: String,
        /// Its major version.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// The plugin breaks a rule of `smi.h`.
    #[error("plugin {plugin} breaks the interface: {what}")]
    BadPlugin {
        /// Path or id.
        plugin: String,
        /// Which rule, and where.
        what: String,
    },
    /// A plugin with this id is there already.
    #[error("plugin `{id}` is already loaded")]
    Duplicate {
        /// The id.
        id: String,
    },
    /// A text that goes to the plugin holds a NUL byte.
    #[error("the {what} holds a NUL byte")]
    Nul {
        /// Which text.
        what: &'static str,
    },
    /// The plugin said no.
    #[error("plugin {plugin}: {during}: {message}")]
    Plugin {
        /// Its id.
        plugin: String,
        /// What it was asked to do.
        during: &'static str,
        /// Its status.
        status: Status,
        /// Its words, or the status if it had none.
        message: String,
    },
    /// An input does not fit the model.
    #[error("input `{name}`: {problem}")]
    Input {
        /// Name of the input.
        name: String,
        /// What does not fit.
        problem: String,
    },
    /// The request as a whole does not fit the model.
    #[error("{problem}")]
    Request {
        /// What does not fit.
        problem: String,
    },
    /// The plugin produced an output that does not fit the model, or left it out.
    #[error("plugin {plugin}: output `{output}`: {problem}")]
    Output {
        /// The plugin's id.
        plugin: String,
        /// Name of the output.
        output: String,
        /// What does not fit.
        problem: String,
    },
    /// The memory that was given for an output has no room for it.
    #[error("output `{output}` of shape {shape} needs {needed} bytes, the memory given for it has {given}")]
    OutputSpace {
        /// Name of the output.
        output: String,
        /// Its shape.
        shape: String,
        /// Bytes that it needs.
        needed: usize,
        /// Bytes that were given.
        given: usize,
    },
    /// The gate said [`Cancel`](crate::Verdict::Cancel), or the call was dropped.
    #[error("the call was cancelled")]
    Cancelled,
    /// The model runs one call at a time, and one is running or suspended.
    #[error("the model runs one call at a time and is busy")]
    Busy,
    /// A thread may not start more calls before it finishes some.
    #[error("this thread already has {limit} unfinished calls")]
    TooManyCalls {
        /// The limit.
        limit: usize,
    },
    /// No memory for a stack.
    #[error("cannot map a stack for the call: {0}")]
    Stack(std::io::Error),
    /// No memory for an output, or for a copy of an input.
    #[error("no memory for the call: {0}")]
    Memory(#[from] mlos_tensor_mem::Error),
}

/// Who is at fault, for the edges' codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request: it can be corrected.
    InvalidRequest,
    /// A file or a component is not there.
    NotFound,
    /// The model file.
    BadModel,
    /// What is asked for is not possible here.
    Unsupported,
    /// Nobody: it was asked for.
    Cancelled,
    /// Load: try again later.
    Busy,
    /// Memory: try again later, or with less.
    NoMemory,
    /// The plugin, or the engine behind it.
    Plugin,
}

impl Error {
    /// Who is at fault.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Plugin { status, .. } => match status {
                Status::InvalidArgument => ErrorKind::InvalidRequest,
                Status::NotFound => ErrorKind::NotFound,
                Status::BadModel => ErrorKind::BadModel,
                Status::Unsupported => ErrorKind::Unsupported,
                Status::Cancelled => ErrorKind::Cancelled,
                Status::Busy => ErrorKind::Busy,
                Status::NoMemory => ErrorKind::NoMemory,
                Status::Runtime | Status::AbiMismatch => ErrorKind::Plugin,
            },
            Self::Open { .. } | Self::MissingSymbol { .. } => ErrorKind::NotFound,
            Self::AbiMismatch { .. } => ErrorKind::Unsupported,
            Self::BadPlugin { .. } | Self::Output { .. } => ErrorKind::Plugin,
            Self::Duplicate { .. }
            | Self::Nul { .. }
            | Self::Input { .. }
            | Self::Request { .. }
            | Self::OutputSpace { .. } => ErrorKind::InvalidRequest,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Busy | Self::TooManyCalls { .. } => ErrorKind::Busy,
            Self::Stack(_) | Self::Memory(_) => ErrorKind::NoMemory,
        }
    }
}
