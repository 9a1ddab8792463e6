//! How long anything may take before a test fails. Generous: they only end what hangs.

use std::time::Duration;

/// For a daemon to answer its first request.
pub const START: Duration = Duration::from_secs(30);
/// For a daemon to drain.
pub const STOP: Duration = Duration::from_secs(40);
/// For a model to be loaded, prepared and profiled.
pub const LOAD: Duration = Duration::from_secs(120);
/// For one read or write of a connection.
pub const SOCKET: Duration = Duration::from_secs(60);
/// For whatever else a test waits for.
pub const WAIT: Duration = Duration::from_secs(60);
/// For a command of the command line.
pub const COMMAND: Duration = Duration::from_secs(120);
/// Between two looks at what is waited for.
pub const LOOK: Duration = Duration::from_millis(2);
