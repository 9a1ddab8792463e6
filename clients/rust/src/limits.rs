//! Every bound of the client that is not the protocol's, in one place.

use std::time::Duration;

/// How long a wait looks at its ring before it sleeps, unless told otherwise: longer than a short inference, shorter
/// than what waking up costs ten times over.
pub const SPIN_DEFAULT: Duration = Duration::from_micros(50);

/// How long anything waits for the daemon, unless told otherwise.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// Looks at the ring between two looks at the clock, which costs as much as several of them.
pub const LOOKS_PER_CLOCK: u32 = 64;

/// Room for the text of an error beside each binding, in bytes.
pub const TEXT_BYTES: usize = 512;

/// Room for each element of a string tensor when nothing else was said, in bytes.
pub const STRING_BYTES_DEFAULT: usize = 256;

/// How long a cancel waits for room in the ring, where every slot holds what the daemon has not read yet.
pub const CANCEL_PATIENCE: Duration = Duration::from_millis(100);
