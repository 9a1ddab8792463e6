//! Starts everything, waits for a signal, stops everything.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mlos_core::{Engine, executor};
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::{info, warn};

use crate::config::Config;
use crate::{edges, logging, plugins};

/// Runs the daemon until SIGTERM or SIGINT.
pub fn run(config: Config) -> Result<()> {
    logging::start(&config.log)?;
    let mut signals = Signals::new([SIGTERM, SIGINT]).context("cannot listen for signals")?;
    executor::permitted().context("the executor cannot start")?;
    raise_descriptor_limit();
    let address = claim(config.http.address)?;
    let plugins = plugins::load(&config)?;
    let http = config.http.edge();
    let serve = move |node| edges::serve(node, address, http.clone());
    let engine = Engine::start(config.engine.clone(), plugins, env!("CARGO_PKG_VERSION"), serve)?;
    info!(%address, "listening for HTTP");
    signals.forever().next();
    drain(engine, &config, signals)
}

/// The first signal drains, a second one ends the process at once.
fn drain(engine: Engine, config: &Config, mut signals: Signals) -> Result<()> {
    info!("draining; a second signal ends at once");
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            warn!("ended by a second signal; requests in flight are lost");
            std::process::exit(1);
        }
    });
    engine.drain();
    std::thread::park_timeout(Duration::from_millis(config.http.drain_notice_ms));
    let patience = Duration::from_millis(config.engine.drain_ms_max);
    if engine.stop(patience) {
        info!("all requests were answered");
        return Ok(());
    }
    bail!("some requests were still running after {patience:?} and are lost")
}

/// Shards share the port (`SO_REUSEPORT`), which would let a second daemon share it too: so the port is tried alone
/// first. It is not listened on, or a client could connect to a socket that nobody serves. Port 0 becomes the one that
/// the kernel chose.
fn claim(address: SocketAddr) -> Result<SocketAddr> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let try_alone = || {
        let alone = socket(family, SocketType::STREAM, None)?;
        set_socket_reuseaddr(&alone, true)?;
        bind(&alone, &address)?;
        getsockname(&alone)
    };
    let claimed = try_alone().with_context(|| {
        format!("cannot listen on {address}; is another mlosd running? --http names another address")
    })?;
    Ok(SocketAddr::try_from(claimed)?)
}

/// Each connection is a descriptor; the soft limit is often 1024.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(reason) = setrlimit(Resource::Nofile, raised) {
        warn!(%reason, "the limit of open files could not be raised");
    }
}
