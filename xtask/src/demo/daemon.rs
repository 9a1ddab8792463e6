//! A `mlosd` in a home.

use std::fs::{self, File};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use super::home::Home;
use crate::error::Result;
use crate::process::{command, line, output, run};
use crate::setup::Ready;

/// How long a start may take, and how long a stop.
const PATIENCE: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(20);

/// A running daemon; ends with the value.
pub struct Daemon<'a> {
    child: Child,
    home: &'a Home,
}

impl<'a> Daemon<'a> {
    /// Starts it as a user would, and waits until it answers.
    pub fn start(home: &'a Home, ready: &Ready) -> Result<Self> {
        let mut mlosd = command("mlosd");
        mlosd
            .args(["--http", &home.address.to_string(), "--state-dir"])
            .arg(home.state());
        println!("$ {} &", line(&mlosd));
        mlosd
            .stdout(File::create(log(home))?)
            .stderr(File::options().append(true).open(log(home))?);
        let child = home.equip(ready.equip(&mut mlosd)).spawn()?;
        let mut daemon = Self { child, home };
        let begun = Instant::now();
        while output(&mut daemon.curl("/health")).is_err() {
            if let Some(status) = daemon.child.try_wait()? {
                return Err(format!("mlosd ended: {status}\n{}", daemon.log()).into());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("mlosd does not answer on {}\n{}", home.address, daemon.log()).into());
            }
            std::thread::sleep(TICK);
        }
        run(&mut daemon.curl("/health"))?;
        println!();
        Ok(daemon)
    }

    /// `curl` of a path, to which arguments can be added.
    pub fn curl(&self, path: &str) -> Command {
        let mut curl = command("curl");
        curl.args(["-sS", "--fail-with-body"])
            .arg(format!("{}{path}", self.home.address));
        curl
    }

    /// Ends it as a system would, and waits for it.
    pub fn stop(mut self) -> Result {
        run(command("kill").arg(self.child.id().to_string()))?;
        let begun = Instant::now();
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("mlosd ended: {status}\n{}", self.log()).into()),
                None if begun.elapsed() > PATIENCE => {
                    return Err(format!("mlosd does not end\n{}", self.log()).into());
                }
                None => std::thread::sleep(TICK),
            }
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(log(self.home)).unwrap_or_default()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // Only after an error it is still there, and then there is nothing to be said about it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log(home: &Home) -> std::path::PathBuf {
    home.dir.join("mlosd.log")
}
