//! The control socket: who is there, which memory is shared, which models are open.
//!
//! One packet is one message: a [header](crate::layout::PacketHeader) that never changes, and an archive that is
//! checked where it lies before anything of it is used. [`ControlMessage`] is pure; [`send`](socket::send) and
//! [`receive`](socket::receive) move packets with their descriptors.

mod handshake;
mod messages;
mod packet;
pub mod socket;

pub use handshake::{ClientSide, DaemonSide, Handout};
pub use messages::{ClientMessage, Close, DaemonMessage, Hello, Open, Opened, Refused, TensorInfo, Welcome};
pub use packet::{ControlMessage, Versions};
