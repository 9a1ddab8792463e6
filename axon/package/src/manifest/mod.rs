//! The manifest of a package: what the model is called, which files it has, and how it is called.

mod budget;
mod io;
mod schema;
mod validate;
mod words;

pub use schema::*;
pub use words::{Dtype, ExecutionFormat, PreprocessingKind, Priority, Role};

pub(crate) use io::write_whole;
