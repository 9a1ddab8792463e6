//! The host's side of `smi.h`: loads plugins and runs their calls so that they can be suspended.
//!
//! - [`Plugins`] is the set of plugins, built in or opened from shared objects; both go through the same table.
//! - [`Plugin::load`] makes a [`Model`], which unloads itself when its last clone is dropped; [`ModelInfo`] says what it
//!   takes and gives.
//! - [`Work`] is one job: validated inputs, the wanted outputs, and what has been produced so far. A job of many
//!   independent rows may be run in several parts; inputs are then row views and outputs land at their row offset
//!   in one full-size tensor, so nothing is copied to split or to join.
//! - [`Call`] runs a work, or a part of it, on a stack of its own. At each checkpoint of the plugin a [`Gate`] decides
//!   whether it goes on, is left standing ([`Step::Suspended`]), or gives up. Without a gate, [`Call::run_whole`] runs one to
//!   its end on the stack of the thread, which takes half as long to set up.
//!
//! It decides nothing: when to suspend and what to run meanwhile is the scheduler's business.
//!
//! **Trust.** A plugin is code in this process. [`Plugins::add_library`] executes the shared object's initialisers
//! before this crate can look at it, with all rights of the process. What is checked, on every crossing, is that a *buggy*
//! plugin is told apart from a working one: versions, NULL functions, descriptions, shapes, sizes, outputs left
//! out, callbacks for a call that is not running. What it writes into an output cannot be: an output that it asks
//! for and leaves unwritten shows what the memory held before. A hostile plugin cannot be contained here.

mod call;
mod clock;
mod describe;
mod error;
mod gate;
mod input;
mod library;
pub mod limits;
mod memory;
mod model;
mod output;
mod plugin;
mod plugins;
mod shared;
mod stack;
mod state;
mod table;
mod work;

pub use call::{Call, Finished, Step};
pub use describe::{ModelInfo, Resources, TensorSpec};
pub use error::{Error, ErrorKind};
pub use gate::{Checkpoint, Gate, Open, Verdict};
pub use memory::release_free_memory;
pub use mlos_smi::{Dim, LoadRequest, SliceProfile, Status};
pub use model::Model;
pub use plugin::{Plugin, PluginInfo, Source};
pub use plugins::{HostConfig, Plugins};
pub use stack::{StackStats, stack_stats};
pub use work::{Outputs, Work};
