//! One running `mlosd`.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::Client;
use crate::package::Package;
use crate::{affine_library, binary, limits, onnx_library, until, until_within};

/// The folders of a daemon: what outlives it.
#[derive(Debug)]
pub struct Home(TempDir);

impl Home {
    /// A new, empty one.
    ///
    /// # Panics
    /// When the disk refuses.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "it makes folders; a default should cost nothing"
    )]
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The registry and the cache.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }

    /// What a scan looks at.
    #[must_use]
    pub fn models(&self) -> PathBuf {
        self.0.path().join("models")
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> PathBuf {
        self.0.path().join("mlosd.toml")
    }
}

/// How to start a daemon. Without any, it serves on every core, drains at once, and has the example plugin.
#[derive(Debug, Clone, Default)]
pub struct Options {
    flags: Vec<String>,
    variables: Vec<(String, String)>,
    settings: Vec<String>,
}

impl Options {
    /// With this mode of preemption, on one core: everything meets there.
    ///
    /// # Panics
    /// When this process may use no core.
    #[must_use]
    pub fn one_core(preemption: &str) -> Self {
        let core = first_core().to_string();
        Self::default()
            .flag("--preemption", preemption)
            .flag("--cores", &core)
    }

    /// With a flag and its value.
    #[must_use]
    pub fn flag(mut self, flag: &str, value: &str) -> Self {
        self.flags.extend([flag.to_owned(), value.to_owned()]);
        self
    }

    /// With a variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a line of the settings file, as `http.body_mib_max = 1`.
    #[must_use]
    pub fn setting(mut self, line: &str) -> Self {
        self.settings.push(line.to_owned());
        self
    }

    /// The command, with the settings written to the home's file.
    ///
    /// # Panics
    /// When the disk refuses.
    #[must_use]
    pub fn command(&self, home: &Home) -> Command {
        let mut lines = vec![String::from("http.address = '127.0.0.1:0'")];
        if !self
            .settings
            .iter()
            .any(|line| line.starts_with("http.drain_notice_ms"))
        {
            lines.push(String::from("http.drain_notice_ms = 0"));
        }
        lines.extend(self.settings.iter().cloned());
        std::fs::write(home.settings(), lines.join("\n")).unwrap();
        let mut command = Command::new(binary("mlosd"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MLOS_")) {
            command.env_remove(name);
        }
        command
            .env("ORT_DYLIB_PATH", onnx_library())
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        for (flag, path) in [
            ("--config", home.settings()),
            ("--state-dir", home.state()),
            ("--models-dir", home.models()),
            ("--plugin", affine_library().to_owned()),
        ] {
            if !self.flags.iter().any(|given| given == flag) {
                command.arg(flag).arg(path);
            }
        }
        command.args(&self.flags);
        command
    }
}

/// The first logical processor that this process may use.
///
/// # Panics
/// When the system does not say.
#[must_use]
pub fn first_core() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .unwrap();
    let first = allowed.trim().split([',', '-']).next().unwrap();
    first.parse().unwrap()
}

/// One running `mlosd`. Dropped, it is drained and its end awaited.
#[derive(Debug)]
pub struct Daemon {
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    home: Option<Home>,
    log: Arc<Mutex<String>>,
}

impl Daemon {
    /// A new one, with a home of its own.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    #[track_caller]
    pub fn start(options: &Options) -> Self {
        Self::start_in(Home::new(), options)
    }

    /// A new one, in a home that an earlier one may have used.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    #[track_caller]
    pub fn start_in(home: Home, options: &Options) -> Self {
        let mut child = options
            .command(&home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (said, heard) = channel();
        let log = listen(child.stderr.take().unwrap(), said);
        let Some(address) = first_address(&heard) else {
            let _ = child.kill();
            let status = child.wait();
            panic!("mlosd did not come up ({status:?}):\n{}", log.lock().unwrap());
        };
        let daemon = Self {
            address,
            child,
            home: Some(home),
            log,
        };
        until_within(limits::START, "the first answer", || {
            daemon.client().try_ask("GET", "/health", &[], b"").ok()
        });
        daemon
    }

    /// A new connection.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Its folders.
    ///
    /// # Panics
    /// Never: it has them until it ends.
    #[must_use]
    pub fn home(&self) -> &Home {
        self.home.as_ref().unwrap()
    }

    /// What it has logged so far.
    ///
    /// # Panics
    /// When the thread that reads it has panicked.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Writes a package into the models folder, registers it, and waits until it is ready. Returns its id with version.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn serve(&self, package: &Package) -> String {
        let root = package.write(&self.home().models());
        self.serve_path(&root)
    }

    /// Registers a folder, and waits until it is ready. Returns its id with version.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn serve_path(&self, path: &Path) -> String {
        let mut client = self.client();
        let registered = client.post("/models/register", &json!({ "path": path }));
        assert!(matches!(registered.status, 200 | 201), "{}", registered.text());
        let id = registered.json()["model_id"].as_str().unwrap().to_owned();
        self.wait_ready(&id);
        id
    }

    /// Waits until a model is ready.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn wait_ready(&self, id: &str) -> Value {
        let model = self.wait_loaded(id);
        assert_eq!(model["state"], "ready", "{model}");
        model
    }

    /// Waits until the loader is done with a model, one way or the other.
    ///
    /// # Panics
    /// When it never is.
    #[track_caller]
    pub fn wait_loaded(&self, id: &str) -> Value {
        let mut client = self.client();
        until_within(limits::LOAD, &format!("{id} is loaded"), || {
            let model = client.get(&format!("/models/{id}")).json();
            matches!(model["state"].as_str(), Some("ready" | "failed")).then_some(model)
        })
    }

    /// Its numbers.
    ///
    /// # Panics
    /// When it does not say.
    #[must_use]
    pub fn stats(&self) -> Value {
        self.client().get("/stats").expect(200)
    }

    /// One number of a class.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn class(&self, class: &str, number: &str) -> u64 {
        let stats = self.stats();
        let classes = stats["classes"].as_array().unwrap();
        let found = classes.iter().find(|entry| entry["class"] == class).unwrap();
        found[number].as_u64().unwrap()
    }

    /// One number of a model.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn model(&self, id: &str, number: &str) -> u64 {
        let stats = self.stats();
        let models = stats["models"].as_array().unwrap();
        let found = models.iter().find(|entry| entry["model"] == id).unwrap();
        found[number].as_u64().unwrap()
    }

    /// Waits until so many jobs of a class are queued.
    ///
    /// # Panics
    /// When they never are.
    #[track_caller]
    pub fn wait_queued(&self, class: &str, jobs: u64) {
        until(&format!("{jobs} queued in {class}"), || {
            (self.class(class, "queued") == jobs).then_some(())
        });
    }

    /// Memory that it holds, in MiB.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn resident_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim().split(' ').next().unwrap().parse::<u64>().unwrap() / 1024
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM, and does not wait.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        until_within(limits::STOP, "the end of mlosd", || child.try_wait().unwrap())
    }

    /// Drains it, and keeps its home.
    ///
    /// # Panics
    /// When it does not end well.
    #[must_use]
    #[track_caller]
    pub fn stop(mut self) -> Home {
        self.terminate();
        let status = self.wait();
        assert!(status.success(), "{status}:\n{}", self.log());
        self.home.take().unwrap()
    }

    /// Kills it as a power cut would, and keeps its home.
    ///
    /// # Panics
    /// When it cannot be killed.
    #[must_use]
    pub fn kill(mut self) -> Home {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.home.take().unwrap()
    }

    /// Drains it and starts another in its home.
    ///
    /// # Panics
    /// When it does not end well, or does not come up.
    #[must_use]
    #[track_caller]
    pub fn restart(self, options: &Options) -> Self {
        Self::start_in(self.stop(), options)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.terminate();
            let child = &mut self.child;
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                until_within(limits::STOP, "the end of mlosd", || child.try_wait().unwrap())
            }));
            if ended.is_err() {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
        if std::thread::panicking() {
            eprintln!(
                "-- log of mlosd {} --\n{}",
                self.child.id(),
                self.log.lock().unwrap()
            );
        }
    }
}

/// Reads the log as it comes, and passes its lines on.
fn listen(stderr: ChildStderr, said: Sender<String>) -> Arc<Mutex<String>> {
    let log = Arc::new(Mutex::new(String::new()));
    let kept = log.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            {
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
            }
            let _ = said.send(line);
        }
    });
    log
}

/// The address of the line that says where it listens; none when the log ends without.
fn first_address(lines: &Receiver<String>) -> Option<SocketAddr> {
    while let Ok(line) = lines.recv_timeout(limits::START) {
        if line.contains("listening for HTTP") {
            let digits = |c: char| c.is_ascii_digit() || c == '.' || c == ':';
            let start = line.find("127.0.0.1:")?;
            let rest = &line[start..];
            let end = rest.find(|c| !digits(c)).unwrap_or(rest.len());
            return rest[..end].parse().ok();
        }
    }
    None
}
