//! Every bound of this program.

use std::time::Duration;

/// Longest wait for a connection to the daemon.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for the daemon's answer to a registration.
pub(crate) const REGISTER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for an inference, unless the request has a deadline of its own.
pub(crate) const INFER_TIMEOUT: Duration = Duration::from_secs(600);
/// Longest wait for a model to be ready.
pub(crate) const READY_TIMEOUT: Duration = Duration::from_secs(600);
/// First pause between two looks at a model's state; it doubles …
pub(crate) const READY_POLL_FIRST: Duration = Duration::from_millis(10);
/// … up to this.
pub(crate) const READY_POLL_MAX: Duration = Duration::from_secs(1);
/// Largest file that is sent as an input, bytes.
pub(crate) const INPUT_BYTES_MAX: u64 = 1 << 30;
/// Largest answer of the daemon that is read, bytes.
pub(crate) const ANSWER_BYTES_MAX: usize = 1 << 30;
/// Largest configuration file, bytes.
pub(crate) const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Numbers of an output that are shown as text.
pub(crate) const VALUES_SHOWN: usize = 10;
/// Room for an output of which only the model knows the size, over shared memory, bytes; it grows …
pub(crate) const OUTPUT_ROOM_FIRST: usize = 1 << 20;
/// … by this factor …
pub(crate) const ROOM_FACTOR: usize = 8;
/// … up to this.
pub(crate) const OUTPUT_ROOM_MAX: usize = 1 << 36;
