//! What the command line and the environment say. Every flag has a variable; the flag is the stronger.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use clap_complete::Shell;

use crate::config::LogFormat;

/// The MLOS daemon: serves models over HTTP and shared memory, urgent requests first.
///
/// Nothing has to be configured. Settings come from the file, are overridden by the environment, and these by flags.
/// SIGTERM drains: readiness turns to 503, what is in flight is answered, then it ends. A second SIGTERM ends it at
/// once.
#[derive(Debug, Default, Parser)]
#[command(version, about, long_about)]
pub struct Args {
    /// Settings in TOML; /etc/mlos/mlosd.toml if that is there
    #[arg(short, long, env = "MLOS_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Say what would be used, or what is wrong with it, and end
    #[arg(long)]
    pub check_config: bool,
    /// Listen for HTTP here [default: 127.0.0.1:8080]
    #[arg(long, env = "MLOS_HTTP", value_name = "ADDRESS")]
    pub http: Option<SocketAddr>,
    /// Listen for clients of this machine at this socket, or `off` [default: mlosd.sock in the state folder if one is
    /// named, else in /run/mlos, or in $XDG_RUNTIME_DIR for a user]
    #[arg(long, env = "MLOS_LOCAL", value_name = "PATH")]
    pub local: Option<PathBuf>,
    /// Logical processors to serve on, one shard each, as 0,2,3 [default: all]
    #[arg(long, env = "MLOS_CORES", value_name = "LIST", value_delimiter = ',')]
    pub cores: Option<Vec<usize>>,
    /// How urgent work gets a core from bulk work [default: lanes]
    #[arg(long, env = "MLOS_PREEMPTION", value_name = "MODE")]
    pub preemption: Option<Preemption>,
    /// The registry and the cache of prepared graphs [default: /var/lib/mlos, or ~/.local/state/mlos for a user]
    #[arg(long, env = "MLOS_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Where a scan looks for packages [default: models, in the state folder]
    #[arg(long, env = "MLOS_MODELS_DIR", value_name = "DIR")]
    pub models_dir: Option<PathBuf>,
    /// Load this plugin; its code runs with the daemon's rights. May be repeated
    #[arg(
        long = "plugin",
        env = "MLOS_PLUGINS",
        value_name = "FILE",
        value_delimiter = ':'
    )]
    pub plugins: Option<Vec<PathBuf>>,
    /// ONNX Runtime's library [default: ORT_DYLIB_PATH, then the system's]
    #[arg(long, env = "MLOS_ONNX_LIBRARY", value_name = "FILE")]
    pub onnx_library: Option<PathBuf>,
    /// What to log, as `info` or `info,mlos_core=debug` [default: info]
    #[arg(long, env = "MLOS_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// How to log [default: human]
    #[arg(long, env = "MLOS_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Print a completion script for this shell, and end
    #[arg(long, value_name = "SHELL", exclusive = true)]
    pub completions: Option<Shell>,
}

/// The values of `--preemption`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Preemption {
    /// Long work on weaker threads of the same core; the kernel hands the core over
    Lanes,
    /// One thread per core; work is suspended between layers
    Layer,
    /// Not at all
    None,
}

impl From<Preemption> for mlos_core::PreemptionMode {
    fn from(mode: Preemption) -> Self {
        match mode {
            Preemption::Lanes => Self::Lanes,
            Preemption::Layer => Self::Layer,
            Preemption::None => Self::None,
        }
    }
}
