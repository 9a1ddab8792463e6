//! A daemon of one's own: a process with a throw-away state folder, on a free port, that ends with the value.

use std::ffi::OsString;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Connection, Request};
use crate::models;

/// How long a start, or the loading of a model, may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often to look whether it is over. The start is itself measured, so this is short.
const START_TICK: Duration = Duration::from_micros(500);
const LOAD_TICK: Duration = Duration::from_millis(5);

/// How urgent work gets a core from bulk work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Not at all.
    None,
    /// One thread, suspended between layers.
    Layer,
    /// Weaker threads.
    Lanes,
}

impl Mode {
    /// All, from the contrast to the default.
    pub const ALL: [Self; 3] = [Self::None, Self::Layer, Self::Lanes];

    /// As the daemon spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Layer => "layer",
            Self::Lanes => "lanes",
        }
    }
}

/// How to start one.
#[derive(Debug, Clone)]
pub struct Start<'a> {
    /// The program.
    pub mlosd: &'a Path,
    /// Its preemption.
    pub mode: Mode,
    /// The processors it serves on.
    pub cores: &'a [usize],
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// From the start of the process to its first good answer to `/health`.
    pub started_in: Duration,
    state: TempDir,
}

impl Daemon {
    /// Starts one and waits for its health. Prepared graphs are kept between daemons, as making them takes seconds.
    ///
    /// # Errors
    /// Where it does not start, with what it logged.
    pub fn start(start: &Start<'_>) -> Result<Self> {
        Self::start_with(start, &[])
    }

    /// The same with further arguments.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(start: &Start<'_>, further: &[OsString]) -> Result<Self> {
        let state = TempDir::with_prefix("mlos-bench-")?;
        let cache = models::target_dir().join("bench/cache");
        std::fs::create_dir_all(&cache)?;
        std::os::unix::fs::symlink(&cache, state.path().join("cache"))?;
        let address = free_address()?;
        let cores: Vec<String> = start.cores.iter().map(usize::to_string).collect();
        let log = File::create(state.path().join("log"))?;
        let mut command = Command::new(start.mlosd);
        command
            .args(["--http", &address.to_string(), "--cores", &cores.join(",")])
            .args(["--preemption", start.mode.name(), "--state-dir"])
            .arg(state.path())
            .args(further)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        if let Some(library) = models::onnx_library() {
            command.arg("--onnx-library").arg(library);
        }
        let begun = Instant::now();
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", start.mlosd.display()))?;
        let mut daemon = Self {
            child,
            address,
            started_in: Duration::ZERO,
            state,
        };
        daemon.wait_for_health(begun)?;
        Ok(daemon)
    }

    fn wait_for_health(&mut self, begun: Instant) -> Result<()> {
        let health = Request::get("/health");
        while begun.elapsed() < PATIENCE {
            if let Ok(mut connection) = Connection::open(self.address) {
                connection.call(&health)?.success()?;
                self.started_in = begun.elapsed();
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("mlosd ended with {status}:\n{}", self.log());
            }
            std::thread::sleep(START_TICK);
        }
        bail!("mlosd does not answer:\n{}", self.log());
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The socket that clients of this machine connect to.
    #[must_use]
    pub fn local(&self) -> PathBuf {
        self.state.path().join("mlosd.sock")
    }

    /// Registers a model file or a package and waits until it is ready.
    ///
    /// # Errors
    /// Where it cannot be loaded.
    pub fn register(&self, id: &str, path: &Path) -> Result<()> {
        let mut connection = self.connect()?;
        let body = json!({ "model_id": id, "path": path }).to_string();
        let request = Request::post("/models/register", &[], body.as_bytes());
        connection
            .call(&request)?
            .success()
            .with_context(|| format!("cannot register {id}"))?;
        let detail = Request::get(&format!("/models/{id}"));
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let detail = connection
                .call(&detail)
                .with_context(|| format!("while {id} is loaded"))?
                .success()?
                .json()?;
            match detail["state"].as_str() {
                Some("ready") => return Ok(()),
                Some("failed") => bail!("{id} cannot be loaded: {}", detail["failure"]),
                _ => std::thread::sleep(LOAD_TICK),
            }
        }
        bail!("{id} is not loaded after {PATIENCE:?}");
    }

    /// Unregisters a model; over when its memory is given back.
    ///
    /// # Errors
    /// Where that is refused.
    pub fn unregister(&self, id: &str) -> Result<()> {
        let request = Request::delete(&format!("/models/{id}"));
        self.connect()?
            .call(&request)?
            .success()
            .with_context(|| format!("cannot unregister {id}"))?;
        Ok(())
    }

    /// A new connection.
    ///
    /// # Errors
    /// As `connect(2)`.
    pub fn connect(&self) -> Result<Connection> {
        Connection::open(self.address)
    }

    /// What `/stats` says.
    ///
    /// # Errors
    /// Where the daemon has gone.
    pub fn stats(&self) -> Result<Value> {
        self.connect()?.call(&Request::get("/stats"))?.success()?.json()
    }

    /// Time that its threads have spent on processors since they began.
    ///
    /// # Errors
    /// Where the daemon has gone.
    pub fn cpu_time(&self) -> Result<Duration> {
        let mut total_ns = 0;
        for task in std::fs::read_dir(self.proc("task"))? {
            // A thread may end between the two.
            if let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) {
                total_ns += text
                    .split(' ')
                    .next()
                    .unwrap_or_default()
                    .parse::<u64>()
                    .unwrap_or_default();
            }
        }
        Ok(Duration::from_nanos(total_ns))
    }

    /// A line of `/proc/PID/status` that counts kibibytes, in MiB.
    ///
    /// # Errors
    /// Where there is none.
    pub fn status_mib(&self, key: &str) -> Result<f64> {
        let status = std::fs::read_to_string(self.proc("status"))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kib = line
            .and_then(|line| line.split_whitespace().next())
            .with_context(|| format!("no {key}"))?;
        Ok(kib.parse::<f64>()? / 1024.0)
    }

    /// Whether a file with this in its name is mapped.
    ///
    /// # Errors
    /// Where the daemon has gone.
    pub fn maps(&self, name: &str) -> Result<bool> {
        Ok(std::fs::read_to_string(self.proc("maps"))?.contains(name))
    }

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.state.path().join("log")).unwrap_or_default()
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.child.id()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Its state is thrown away with it: there is nothing to drain.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
