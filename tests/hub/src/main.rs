//! Serves a directory of models to hub clients on loopback: `mlos-hub ROOT [--port N] [--fault PATH:TIMES:KIND]`.
#![forbid(unsafe_code)]

use std::{
    io::{self, Write},
    path::PathBuf,
    thread,
};

use clap::Parser;
use mlos_hub::{Fault, Hub, HubOptions};

/// Serve a directory of models (ROOT/org/name/...) to hub clients on loopback.
#[derive(Parser)]
struct Arguments {
    /// Directory with one subdirectory per organisation and one per model in it.
    root: PathBuf,
    /// Port of the hub; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Port of the content network that large files are redirected to; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    cdn_port: u16,
    /// A fault as PATH:TIMES:KIND, for example `model.onnx:2:cut=1000`; may be repeated.
    #[arg(long)]
    fault: Vec<Fault>,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let options = HubOptions {
        port: arguments.port,
        cdn_port: arguments.cdn_port,
        ..HubOptions::default()
    };
    let hub = Hub::start_with(&arguments.root, options)?;
    for fault in arguments.fault {
        hub.inject(fault);
    }
    println!("HF_ENDPOINT={}", hub.endpoint());
    io::stdout().flush()?;
    loop {
        thread::park();
    }
}
