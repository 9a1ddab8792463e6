//! The settings: defaults, then the file, then the environment, then flags.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mlos_core::EngineConfig;
use serde::{Deserialize, Serialize};

use crate::args::Args;

/// Read when no other file is named.
const DEFAULT_FILE: &str = "/etc/mlos/mlosd.toml";

/// Name of the local edge's socket in a state folder that was named.
const LOCAL_SOCKET: &str = "mlosd.sock";

/// Everything the daemon is told.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Shared objects with further plugins.
    pub plugins: Vec<PathBuf>,
    pub http: HttpConfig,
    pub local: LocalConfig,
    pub engine: EngineConfig,
    pub onnx: OnnxConfig,
    pub log: LogConfig,
}

/// The HTTP edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Where it listens.
    pub address: SocketAddr,
    /// Origins of web pages that may call it from a browser; `*` is every one.
    pub cors_origins: Vec<String>,
    /// Largest body.
    pub body_mib_max: u64,
    /// Connections per core.
    pub connections_max: usize,
    /// Longest time for a request's head, in seconds.
    pub header_seconds_max: u64,
    /// Longest time for a request's body, in seconds.
    pub body_seconds_max: u64,
    /// Longest time without a request, in seconds.
    pub idle_seconds_max: u64,
    /// How long after SIGTERM it goes on accepting, so that whoever balances load sees the readiness flip, in ms.
    pub drain_notice_ms: u64,
}

impl Default for HttpConfig {
    fn default() -> Self {
        let limits = mlos_http::Limits::default();
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            cors_origins: Vec::new(),
            body_mib_max: limits.body_bytes_max >> 20,
            connections_max: limits.connections_max,
            header_seconds_max: limits.header_time.as_secs(),
            body_seconds_max: limits.body_time.as_secs(),
            idle_seconds_max: limits.idle_time.as_secs(),
            drain_notice_ms: 500,
        }
    }
}

impl HttpConfig {
    /// As the edge wants it.
    pub fn edge(&self) -> mlos_http::Config {
        let limits = mlos_http::Limits {
            body_bytes_max: self.body_mib_max << 20,
            connections_max: self.connections_max,
            header_time: Duration::from_secs(self.header_seconds_max),
            body_time: Duration::from_secs(self.body_seconds_max),
            idle_time: Duration::from_secs(self.idle_seconds_max),
            ..mlos_http::Limits::default()
        };
        mlos_http::Config {
            limits,
            cors_origins: self.cors_origins.clone(),
        }
    }
}

/// The edge for clients of this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalConfig {
    /// The control socket, or `off`; none for the usual place.
    pub path: Option<PathBuf>,
    /// How long an idle core looks for the next request before it sleeps, in microseconds.
    pub poll_us: u64,
    /// Users who may use it, by number, beside the daemon's own and root.
    pub users: Vec<u32>,
    /// Clients at once.
    pub clients_max: usize,
    /// Arena of one client.
    pub arena_mib_max: u64,
    /// Arenas of all clients together.
    pub arenas_mib_max: u64,
}

impl Default for LocalConfig {
    fn default() -> Self {
        let limits = mlos_local::Limits::default();
        Self {
            path: None,
            poll_us: 50,
            users: Vec::new(),
            clients_max: limits.clients_max,
            arena_mib_max: limits.arena_bytes_max >> 20,
            arenas_mib_max: limits.arenas_bytes_max >> 20,
        }
    }
}

/// Where clients of this machine are listened for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalPlace {
    /// Nowhere.
    Off,
    /// There, or the daemon does not start.
    Named(PathBuf),
    /// There, if nobody else does.
    Usual(PathBuf),
}

impl LocalPlace {
    /// The socket; none is empty.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Off => PathBuf::new(),
            Self::Named(path) | Self::Usual(path) => path.clone(),
        }
    }
}

impl LocalConfig {
    /// As the edge wants it.
    pub fn edge(&self, path: PathBuf) -> mlos_local::Config {
        let limits = mlos_local::Limits {
            clients_max: self.clients_max,
            arena_bytes_max: self.arena_mib_max << 20,
            arenas_bytes_max: self.arenas_mib_max << 20,
            ..mlos_local::Limits::default()
        };
        mlos_local::Config {
            path,
            poll: Duration::from_micros(self.poll_us),
            users: self.users.clone(),
            limits,
        }
    }
}

/// The ONNX plugin.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OnnxConfig {
    /// ONNX Runtime's library; none for `ORT_DYLIB_PATH`, then the system's.
    pub library: Option<PathBuf>,
}

/// The log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// What to log.
    pub filter: String,
    /// How.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::Human,
        }
    }
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Reads the file, if any, and lets the environment and the flags override it.
    pub fn load(args: &Args) -> Result<Self> {
        let mut config = match &args.config {
            Some(path) => Self::read(path)?,
            None if Path::new(DEFAULT_FILE).exists() => Self::read(Path::new(DEFAULT_FILE))?,
            None => Self::for_this_user(),
        };
        config.override_with(args);
        config.engine.check()?;
        if config.http.body_mib_max == 0 || config.http.connections_max == 0 {
            bail!("configuration: http.body_mib_max and http.connections_max must be at least 1");
        }
        Ok(config)
    }

    fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    /// A file that names no folders gets those that this user can write.
    fn parse(text: &str) -> Result<Self> {
        let mut config: Self = toml::from_str(text)?;
        let (unset, ours) = (EngineConfig::default(), Self::for_this_user().engine);
        if config.engine.state_dir == unset.state_dir {
            config.engine.state_dir = ours.state_dir;
        }
        if config.engine.models_dir == unset.models_dir {
            config.engine.models_dir = config.engine.state_dir.join("models");
        }
        Ok(config)
    }

    /// System folders for root, those of the XDG base directory specification for everybody else.
    fn for_this_user() -> Self {
        let mut config = Self::default();
        if !rustix::process::geteuid().is_root() {
            let folder = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty());
            let home = folder("HOME").map(PathBuf::from).unwrap_or_default();
            let state = folder("XDG_STATE_HOME").map_or_else(|| home.join(".local/state"), PathBuf::from);
            config.engine.state_dir = state.join("mlos");
            config.engine.models_dir = config.engine.state_dir.join("models");
        }
        config
    }

    /// Where clients of this machine are listened for.
    pub fn local_place(&self) -> LocalPlace {
        match &self.local.path {
            Some(path) if path.as_os_str() == "off" => LocalPlace::Off,
            Some(path) => LocalPlace::Named(path.clone()),
            None if self.engine.state_dir != Self::for_this_user().engine.state_dir => {
                LocalPlace::Usual(self.engine.state_dir.join(LOCAL_SOCKET))
            }
            None => LocalPlace::Usual(mlos_local::usual_path()),
        }
    }

    fn override_with(&mut self, args: &Args) {
        let Args {
            http,
            local,
            cores,
            preemption,
            state_dir,
            models_dir,
            plugins,
            onnx_library,
            log,
            log_format,
            ..
        } = args;
        if let Some(state_dir) = state_dir {
            self.engine.models_dir = state_dir.join("models");
        }
        set(&mut self.http.address, http);
        if local.is_some() {
            self.local.path.clone_from(local);
        }
        set(&mut self.engine.state_dir, state_dir);
        set(&mut self.engine.models_dir, models_dir);
        set(&mut self.plugins, plugins);
        set(&mut self.log.filter, log);
        set(&mut self.log.format, log_format);
        if let Some(mode) = preemption {
            self.engine.preemption = (*mode).into();
        }
        if cores.is_some() {
            self.engine.cores.clone_from(cores);
        }
        if onnx_library.is_some() {
            self.onnx.library.clone_from(onnx_library);
        }
    }

    /// Prints the settings as a file that would bring them about.
    pub fn print(&self) -> Result<()> {
        println!(
            "# The configuration is valid. In force:\n{}",
            toml::to_string(self)?.trim_end()
        );
        Ok(())
    }
}

fn set<T: Clone>(place: &mut T, value: &Option<T>) {
    if let Some(value) = value {
        place.clone_from(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_read_back() {
        let config = Config::default();
        assert_eq!(
            Config::parse(&toml::to_string(&config).unwrap()).unwrap().http,
            config.http
        );
    }

    #[test]
    fn flags_are_stronger_than_the_file() {
        let mut config = Config::parse("[http]\naddress = '127.0.0.1:1'\n[engine]\ncores = [7]").unwrap();
        let http = Some("127.0.0.1:2".parse().unwrap());
        config.override_with(&Args {
            http,
            ..Args::default()
        });
        assert_eq!(
            (config.http.address.port(), config.engine.cores),
            (2, Some(vec![7]))
        );
    }

    #[test]
    fn a_file_with_a_fault_is_refused() {
        for (text, why) in [
            ("[http]\nadress = 'x'", "unknown field"),
            ("[http]\naddress = 'nowhere'", "socket address"),
            ("[engine]\npreemption = 'sometimes'", "unknown variant"),
            ("[engine", "expected"),
        ] {
            let error = format!("{:#}", Config::parse(text).unwrap_err());
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
