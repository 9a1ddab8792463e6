//! A directory with a hub, a home for axon, and the command itself.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use mlos_hub::{Hub, HubOptions};
use serde_json::Value;

/// Everything of one test; gone when dropped.
pub struct World {
    pub hub: Hub,
    directory: tempfile::TempDir,
}

impl World {
    pub fn new() -> World {
        World::with(HubOptions::default())
    }

    pub fn with(options: HubOptions) -> World {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("hub");
        fs::create_dir(&root).unwrap();
        let world = World {
            hub: Hub::start_with(&root, options).unwrap(),
            directory,
        };
        // Tests of what fails in the end should not take long to get there.
        world.write("home/config.yaml", b"download:\n  max_retries: 2\n");
        world
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    pub fn write(&self, path: &str, content: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Puts a file of a repository on the hub.
    pub fn publish(&self, repo: &str, file: &str, content: &[u8]) {
        self.write(&format!("hub/{repo}/{file}"), content);
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_axon"));
        command.args(arguments).current_dir(self.directory.path());
        command
            .env_clear()
            .env("AXON_HOME", self.home())
            .env("HF_ENDPOINT", self.hub.endpoint());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    /// Runs axon to its end.
    pub fn axon(&self, arguments: &[&str]) -> Run {
        Run::of(&mut self.command(arguments))
    }

    /// Runs axon, which must end well, and reads its JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        self.axon(&[arguments, &["--json"]].concat()).ok().json()
    }

    /// What must be true at any time: every model that is listed is whole, and no directory is half a model.
    pub fn check_store(&self) -> Vec<String> {
        let list = self.json(&["list"]);
        assert_eq!(list["broken"], serde_json::json!([]), "{list}");
        let verified = self.json(&["verify", "--all"]);
        assert_eq!(verified["intact"], true, "{verified}");
        list["models"]
            .as_array()
            .unwrap()
            .iter()
            .map(|model| model["id"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn of(command: &mut Command) -> Run {
        let output = command.output().unwrap();
        Run {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub fn of_child(mut child: Child) -> Run {
        let read = |stream: Option<&mut dyn std::io::Read>| {
            let mut text = String::new();
            stream.unwrap().read_to_string(&mut text).unwrap();
            text
        };
        let stdout = read(
            child
                .stdout
                .as_mut()
                .map(|stream| stream as &mut dyn std::io::Read),
        );
        let stderr = read(
            child
                .stderr
                .as_mut()
                .map(|stream| stream as &mut dyn std::io::Read),
        );
        Run {
            code: child.wait().unwrap().code(),
            stdout,
            stderr,
        }
    }

    #[track_caller]
    pub fn ok(self) -> Run {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// Ended with this code, and said all of these.
    #[track_caller]
    pub fn fails(self, code: i32, words: &[&str]) -> Run {
        assert_eq!(self.code, Some(code), "{self:?}");
        for word in words {
            assert!(
                self.stderr.contains(word) || self.stdout.contains(word),
                "`{word}` is missing: {self:?}"
            );
        }
        self
    }

    #[track_caller]
    pub fn says(self, words: &[&str]) -> Run {
        for word in words {
            assert!(self.stdout.contains(word), "`{word}` is missing: {self:?}");
        }
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Bytes that no two places share, so that a mix-up shows.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The one file below a directory whose name ends so.
pub fn find_file(directory: &Path, ending: &str) -> PathBuf {
    let mut found = None;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        if path.to_string_lossy().ends_with(ending) {
            assert!(found.replace(path).is_none(), "more than one {ending}");
        }
    }
    found.unwrap_or_else(|| panic!("no {ending} in {}", directory.display()))
}
