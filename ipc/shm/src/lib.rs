//! Local protocol.
pub mod layout; pub mod limits; mod status; pub use status::Status;
