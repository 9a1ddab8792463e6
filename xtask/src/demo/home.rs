//! A throw-away home for a daemon and a store, and where they and their programs are found.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;

use crate::error::Result;

/// Where mlosd listens if nobody says otherwise.
const PORT: u16 = 8080;

/// A folder that goes with the value.
pub struct Home {
    /// The folder.
    pub dir: PathBuf,
    /// Where the daemon is to listen.
    pub address: SocketAddr,
    programs: PathBuf,
}

impl Home {
    /// Makes the folder, and finds a free port: the one that a user would have, if it is free.
    pub fn new(programs: PathBuf) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("mlos-demo-{}", std::process::id()));
        fs::create_dir(&dir)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT))
            .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let home = Self {
            dir,
            address,
            programs,
        };
        for (name, value) in home.variables() {
            println!("$ export {name}={}", value.display());
        }
        println!("$ export PATH={}:$PATH", home.programs.display());
        Ok(home)
    }

    /// The daemon's folder.
    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// What `axon` and other clients are told by the environment.
    fn variables(&self) -> [(&'static str, OsString); 3] {
        [
            ("AXON_HOME", self.dir.join("axon").into()),
            ("MLOS_ENDPOINT", format!("http://{}", self.address).into()),
            ("MLOS_SOCKET", self.state().join("mlosd.sock").into()),
        ]
    }

    /// Lets a command live here.
    pub fn equip<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(self.programs.clone()).chain(std::env::split_paths(&path));
        // What was built comes first; a path with a colon cannot be in there, and then the user's own is used.
        let path = std::env::join_paths(paths).unwrap_or(path);
        command.env("PATH", path).envs(self.variables())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("cannot remove {}: {error}", self.dir.display());
        }
    }
}
