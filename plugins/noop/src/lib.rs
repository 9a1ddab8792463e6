//! A plugin whose models compute nothing. What is left of a request to one is the cost of everything around a model, and
//! that is what it is for: benchmarks, and tests of transports that want to see what went in come out.
//!
//! A model is a text file ([`Declared`]):
//!
//! ```text
//! noop 1                  # the first line is the format and its version
//! input x f32 ?,16        # name, element type, dimensions: ? is known per call only, - is a scalar
//! output y f32 ?,16
//! fill echo               # what is written: zeros (the default), echo or nothing
//! checkpoints 3           # layers that it pretends to have, 0 by default
//! rows independent        # dimension 0 is a batch, which may be split and joined
//! ```
//!
//! `echo` writes to each output the input of the same number, whose element type and shape it must have. `nothing`
//! leaves an output as it is: then the cost does not grow with its size, and it shows **what the memory held before**,
//! which may be another client's. That is for measuring on a machine of one's own.
//!
//! It is not an example of a plugin that computes: see `plugins/example-c`.

#![forbid(unsafe_code)]

mod declared;
mod model;

pub use declared::{Declared, Fill};
pub use model::NoopModel;

use mlos_smi::{Descriptor, Failure, Host, LoadRequest, Plugin, Status};

/// Loads models that compute nothing.
#[derive(Debug)]
pub struct NoopPlugin;

/// Bytes of a model file, at most: room for 512 long lines.
const FILE_BYTES_MAX: u64 = 64 << 10;

impl Plugin for NoopPlugin {
    type Model = NoopModel;

    const DESCRIPTOR: Descriptor = Descriptor {
        id: c"mlos.noop",
        name: c"No-op",
        vendor: c"MLOS",
        version: c"1.0.0",
        description: c"runs models that compute nothing, to measure what is around them",
        formats: &[c"noop"],
    };

    fn initialize(_: Host, _config_json: &str) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn load(&self, request: &LoadRequest<'_>) -> Result<NoopModel, Failure> {
        let path = request.path;
        let failed = |e: std::io::Error| {
            let status = match e.kind() {
                std::io::ErrorKind::NotFound => Status::NotFound,
                std::io::ErrorKind::InvalidData => Status::BadModel,
                _ => Status::Runtime,
            };
            Failure::new(status, format!("cannot read {}: {e}", path.display()))
        };
        if std::fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
            let what = format!(
                "{} is longer than {FILE_BYTES_MAX} bytes: not a noop model",
                path.display()
            );
            return Err(Failure::bad_model(what));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        Declared::parse(&text).map(NoopModel::new)
    }
}
