//! `cargo xtask demo`: what a new user would type, shown and done, and the experiment that the project is about.
//!
//! Everything it makes lies in a folder of its own that goes when it ends; only the build and the plot stay.

pub mod daemon;
mod digits;
pub mod home;

use crate::error::Result;
use crate::process::{BUILD, cargo, command, run as run_shown, target};
use crate::setup::{self, Purpose, Ready};
use daemon::Daemon;
pub use digits::MODEL;
use home::Home;

/// How long each kind of preemption is measured.
const SECONDS: &str = "10";

/// The command.
pub fn run() -> Result {
    let ready = setup::prepare(Purpose::Run)?;
    heading("Build");
    run_shown(&mut cargo(&BUILD))?;
    serve_digits(&ready)?;
    experiment(&ready)
}

fn serve_digits(ready: &Ready) -> Result {
    heading("Install a model, register it, ask it");
    let home = Home::new(target().join("debug"))?;
    let daemon = Daemon::start(&home, ready)?;
    run_shown(home.equip(command("axon").args(["install", "./models/digits"])))?;
    run_shown(home.equip(command("axon").args(["register", MODEL])))?;
    digits::ask(&daemon)?;
    daemon.stop()
}

fn experiment(ready: &Ready) -> Result {
    heading("An urgent request beside bulk work");
    println!(
        "ResNet-50 in class BATCH saturates every core that mlosd has; the digits model is asked 100 times a second in\n\
         class REALTIME, {SECONDS} s with each kind of preemption. The first run also makes and prepares the models.\n"
    );
    let programs = target().join("debug");
    let mut experiment = command(programs.join("experiment"));
    experiment.arg("--mlosd").arg(programs.join("mlosd"));
    experiment
        .args(["--seconds", SECONDS, "--out"])
        .arg(target().join("demo"));
    run_shown(ready.equip(&mut experiment))
}

fn heading(text: &str) {
    println!("\n== {text} ==\n");
}
