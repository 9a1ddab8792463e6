//! What `axon install` costs against the plainest way to the same: `curl`, then `sha256sum`. A gigabyte in eight files
//! from a hub on loopback, both ways in turn, a fresh directory each time. Prints JSON: `install_x` is how many times
//! faster `axon` is, the median over the rounds.
//!
//! Hub and client share the machine's cores, as the network card and the client would not; `curl` does not wait for
//! the disk, `axon` does before it says that a model is installed.
#![forbid(unsafe_code)]

use std::{
    env,
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

const FILES: u64 = 8;
const FILE_BYTES: u64 = 125_000_000;
const ROUNDS: usize = 5;
/// `--quick`: enough to see that it works, not to believe the number.
const QUICK_FILE_BYTES: u64 = 12_500_000;

struct Round {
    curl_s: f64,
    sha256sum_s: f64,
    axon_s: f64,
}

impl Round {
    fn ratio(&self) -> f64 {
        (self.curl_s + self.sha256sum_s) / self.axon_s
    }
}

fn main() -> Result<()> {
    let is_quick = env::args().any(|argument| argument == "--quick");
    let file_bytes = if is_quick { QUICK_FILE_BYTES } else { FILE_BYTES };
    let binaries = build()?;
    // Beside the binaries, because /tmp may be memory.
    let directory = tempfile::tempdir_in(&binaries)?;
    let root = directory.path().join("hub");
    publish(&root.join("acme/large"), file_bytes)?;
    let hub = Hub::start(&binaries, &root)?;
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let (curl_s, sha256sum_s) = by_hand(&hub, &directory.path().join(format!("curl-{round}")))?;
        let axon_s = by_axon(&binaries, &hub, &directory.path().join(format!("axon-{round}")))?;
        let round = Round {
            curl_s,
            sha256sum_s,
            axon_s,
        };
        eprintln!(
            "curl {curl_s:.2} s + sha256sum {sha256sum_s:.2} s, axon {axon_s:.2} s: {:.2} x",
            round.ratio()
        );
        rounds.push(round);
    }
    rounds.sort_by(|a, b| a.ratio().total_cmp(&b.ratio()));
    let median = rounds[rounds.len() / 2].ratio();
    let shown = |round: &Round| json!({ "curl_s": round.curl_s, "sha256sum_s": round.sha256sum_s, "axon_s": round.axon_s });
    println!(
        "{}",
        json!({
            "figures": { "install_x": median },
            "n": rounds.len(),
            "details": {
                "bytes": FILES * file_bytes,
                "files": FILES,
                "rounds": rounds.iter().map(shown).collect::<Vec<_>>(),
            },
        })
    );
    Ok(())
}

/// Builds the two programs in the profile of this one, so that what is measured is what the source says.
fn build() -> Result<PathBuf> {
    let own = env::current_exe()?;
    let binaries = own.parent().context("a program lies in a directory")?.to_owned();
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // All of them: for some only, cargo would choose other features of what they depend on, and build that again.
    command.args(["build", "--quiet", "--workspace", "--bins"]);
    if binaries.ends_with("release") {
        command.arg("--release");
    }
    ensure!(
        command.status()?.success(),
        "axon and mlos-hub could not be built"
    );
    Ok(binaries)
}

/// SafeTensors files of bytes that do not repeat.
fn publish(directory: &Path, file_bytes: u64) -> Result<()> {
    fs::create_dir_all(directory)?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for file in 0..FILES {
        let header =
            format!(r#"{{"w":{{"dtype":"U8","shape":[{file_bytes}],"data_offsets":[0,{file_bytes}]}}}}"#);
        let mut out = std::io::BufWriter::new(File::create(directory.join(name(file)))?);
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        for _ in 0..file_bytes / 8 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            out.write_all(&state.to_le_bytes())?;
        }
        out.flush()?;
    }
    Ok(())
}

fn name(file: u64) -> String {
    format!("model-{file:05}-of-{FILES:05}.safetensors")
}

/// The hub in a process of its own; it ends with this value.
struct Hub {
    process: Child,
    endpoint: String,
}

impl Hub {
    fn start(binaries: &Path, root: &Path) -> Result<Hub> {
        let mut process = Command::new(binaries.join("mlos-hub"))
            .arg(root)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("it was piped")?).read_line(&mut line)?;
        let endpoint = line
            .trim()
            .strip_prefix("HF_ENDPOINT=")
            .context("the hub says where it is")?
            .to_owned();
        let hub = Hub { process, endpoint };
        // It hashes its files when it is first asked for them, which is none of the client's time.
        run(Command::new("curl")
            .args(["-sf", "-o", "/dev/null"])
            .arg(format!("{}/api/models/acme/large", hub.endpoint)))?;
        Ok(hub)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // Best effort: it may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Seconds of `curl`, and of `sha256sum` after it.
fn by_hand(hub: &Hub, directory: &Path) -> Result<(f64, f64)> {
    fs::create_dir(directory)?;
    let (mut curl, mut sha256sum) = (Command::new("curl"), Command::new("sha256sum"));
    curl.args(["-sfL", "--remote-name-all"]).current_dir(directory);
    sha256sum.current_dir(directory);
    for file in 0..FILES {
        curl.arg(format!("{}/acme/large/resolve/main/{}", hub.endpoint, name(file)));
        sha256sum.arg(name(file));
    }
    settle()?;
    let seconds = (run(&mut curl)?, run(&mut sha256sum)?);
    fs::remove_dir_all(directory)?;
    Ok(seconds)
}

/// Seconds of `axon install`.
fn by_axon(binaries: &Path, hub: &Hub, home: &Path) -> Result<f64> {
    let axon = |arguments: &[&str]| {
        let mut command = Command::new(binaries.join("axon"));
        command
            .args(arguments)
            .arg("--quiet")
            .env("AXON_HOME", home)
            .env("HF_ENDPOINT", &hub.endpoint);
        command.env_remove("HF_TOKEN").env_remove("HF_HUB_OFFLINE");
        command
    };
    settle()?;
    let seconds = run(&mut axon(&["install", "hf/acme/large"]))?;
    run(&mut axon(&["verify", "hf/acme/large"]))?;
    fs::remove_dir_all(home)?;
    Ok(seconds)
}

/// Lets the disk finish what the last way left to it.
fn settle() -> Result<()> {
    run(&mut Command::new("sync")).map(drop)
}

/// Runs a command to its good end, in seconds.
fn run(command: &mut Command) -> Result<f64> {
    let started = Instant::now();
    let output = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(started.elapsed().as_secs_f64())
}
