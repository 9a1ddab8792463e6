//! The Standard Model Interface: what a host of models and a plugin that runs models say to each other.
//!
//! `include/smi.h` is the interface; it is canonical, and complete without Rust. This crate holds its two Rust faces:
//!
//! - [`abi`]: the `repr(C)` mirror, used by the host;
//! - the SDK, used by plugins: implement [`Plugin`] and [`Model`], then [`export_plugin!`] in a `cdylib`, or hand
//!   [`entry_of`]`::<MyPlugin>()` to the host that the plugin is built into. Both go through the same table.
//!
//! ```
//! use mlos_smi::{Call, Description, Descriptor, Failure, Host, LoadRequest, Model, Plugin};
//!
//! struct Identity;
//! struct Loaded(Description);
//!
//! impl Plugin for Identity {
//!     type Model = Loaded;
//!     const DESCRIPTOR: Descriptor = Descriptor {
//!         id: c"example.identity",
//!         name: c"Identity",
//!         vendor: c"",
//!         version: c"1.0.0",
//!         description: c"returns what it gets",
//!         formats: &[c"identity"],
//!     };
//!     fn initialize(_: Host, _config_json: &str) -> Result<Self, Failure> {
//!         Ok(Self)
//!     }
//!     fn load(&self, _: &LoadRequest<'_>) -> Result<Loaded, Failure> {
//!         Ok(Loaded(Description::default()))
//!     }
//! }
//!
//! impl Model for Loaded {
//!     fn description(&self) -> &Description {
//!         &self.0
//!     }
//!     fn infer(&self, call: &Call<'_>) -> Result<(), Failure> {
//!         call.checkpoint()?;
//!         Ok(())
//!     }
//! }
//!
//! assert_eq!(mlos_smi::entry_of::<Identity>().abi_major, mlos_smi::abi::ABI_MAJOR);
//! ```
//!
//! What it is not: it loads nothing, schedules nothing and owns no tensor memory; that is the host's.

pub mod abi;
mod call;
mod description;
mod dtype;
mod error;
mod foreign;
mod glue;
mod host;
mod output;
mod plugin;
mod tensor;

pub use call::{Call, Cancelled};
pub use description::{Description, Dim, Resources, SliceProfile, TensorSpec};
pub use dtype::DType;
pub use error::{Failure, Status};
pub use glue::entry_of;
pub use host::{Host, Level};
pub use output::OutputMemory;
pub use plugin::{Descriptor, FORMATS_MAX, LoadRequest, Model, Plugin};
pub use tensor::TensorRef;

/// Defines the exported symbol `smi_entry` of a `cdylib` that holds one plugin.
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty) => {
        /// The one symbol that a host of models looks for.
        #[unsafe(no_mangle)]
        #[expect(non_upper_case_globals, reason = "the ABI's name")]
        pub static smi_entry: $crate::abi::Entry = *$crate::entry_of::<$plugin>();
    };
}
