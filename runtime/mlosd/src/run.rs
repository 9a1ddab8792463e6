//! Starts everything, waits for a signal, stops everything.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mlos_core::{Engine, Node, executor, topology};
use mlos_local::{Control, Places};
use rustix::net::sockopt::{set_socket_reuseaddr, set_socket_reuseport};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::{info, warn};

use crate::config::{Config, LocalPlace};
use crate::{edges, logging, plugins};

/// How often to look for a signal while the cores come up.
const SIGNAL_TICK: Duration = Duration::from_millis(20);

/// Runs the daemon until SIGTERM or SIGINT.
pub fn run(config: Config) -> Result<()> {
    logging::start(&config.log)?;
    let mut signals = Signals::new([SIGTERM, SIGINT]).context("cannot listen for signals")?;
    executor::permitted().context("the executor cannot start")?;
    raise_descriptor_limit();
    let (address, claimed) = claim(config.http.address)?;
    let plugins = plugins::load(&config)?;
    let http = config.http.edge();
    let cores = topology::choose(config.engine.cores.as_deref())?.len();
    let (bound, outcomes) = channel();
    let (places, orders) = mlos_local::orders(cores);
    let place = config.local_place();
    let local = config.local.edge(place.path());
    let edge = local.clone();
    let serve = move |node: Node| {
        let orders = orders[node.index()].clone();
        let local = edges::serve_local(node.clone(), edge.clone(), orders);
        let http = edges::serve_http(node, address, http.clone(), bound.clone());
        edges::beside(http, local)
    };
    let engine = Engine::start(config.engine.clone(), plugins, env!("CARGO_PKG_VERSION"), serve)?;
    let mut control = None;
    match listening(&outcomes, cores, &mut signals) {
        Ok(Start::Listening) => {
            drop(claimed);
            info!(%address, "listening for HTTP");
            control = listen_locally(&place, &local, places)?;
            if let Some(control) = &control {
                let clients = control.clients();
                engine.show_clients(move || clients.stats());
            }
            signals.forever().next();
        }
        Ok(Start::Ended) => {}
        Err(reason) => {
            engine.stop(Duration::from_millis(config.engine.drain_ms_max));
            return Err(reason).with_context(|| cannot_listen(address));
        }
    }
    drain(engine, &config, signals, control)
}

/// Listens for clients of this machine. Where nobody has named a place and the usual one cannot be had, that is no reason
/// not to serve the others.
fn listen_locally(
    place: &LocalPlace,
    config: &mlos_local::Config,
    places: Places,
) -> Result<Option<Control>> {
    let start = || Control::start(config, places, env!("CARGO_PKG_VERSION"));
    let control = match place {
        LocalPlace::Off => return Ok(None),
        LocalPlace::Named(_) => start()?,
        LocalPlace::Usual(_) => match start() {
            Ok(control) => control,
            Err(reason) => {
                warn!(%reason, "clients of this machine are not served over shared memory");
                return Ok(None);
            }
        },
    };
    info!(path = %config.path.display(), "listening for local clients");
    Ok(Some(control))
}

/// How a start goes that does not fail.
enum Start {
    Listening,
    /// By a signal, before every core listened.
    Ended,
}

/// Waits until every core listens. Models that are to be restored are known to it by then, which may take a while.
fn listening(outcomes: &Receiver<io::Result<()>>, cores: usize, signals: &mut Signals) -> Result<Start> {
    for _ in 0..cores {
        loop {
            match outcomes.recv_timeout(SIGNAL_TICK) {
                Ok(bound) => break bound?,
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("a core ended while starting; the log has the reason")
                }
                Err(RecvTimeoutError::Timeout) if signals.pending().next().is_some() => {
                    return Ok(Start::Ended);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
    Ok(Start::Listening)
}

fn cannot_listen(address: SocketAddr) -> String {
    format!("cannot listen on {address}; is another mlosd running? --http names another address")
}

/// The first signal drains, a second one ends the process at once.
fn drain(engine: Engine, config: &Config, mut signals: Signals, control: Option<Control>) -> Result<()> {
    info!("draining; a second signal ends at once");
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            warn!("ended by a second signal; requests in flight are lost");
            std::process::exit(1);
        }
    });
    engine.drain();
    std::thread::park_timeout(Duration::from_millis(config.http.drain_notice_ms));
    // The cores finish what local clients have in flight, and let them go.
    drop(control);
    let patience = Duration::from_millis(config.engine.drain_ms_max);
    if engine.stop(patience) {
        info!("all requests were answered");
        return Ok(());
    }
    bail!("some requests were still running after {patience:?} and are lost")
}

/// Shards share the port (`SO_REUSEPORT`), which would let a second daemon share it too: so it is bound alone first, and
/// only then shared. Held until the shards have it, so that nobody else takes it between; not listened on, or a client
/// could connect to a socket that nobody serves. Port 0 becomes the one that the kernel chose.
fn claim(address: SocketAddr) -> Result<(SocketAddr, OwnedFd)> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let try_alone = || {
        let alone = socket(family, SocketType::STREAM, None)?;
        set_socket_reuseaddr(&alone, true)?;
        bind(&alone, &address)?;
        set_socket_reuseport(&alone, true)?;
        Ok::<_, rustix::io::Errno>((getsockname(&alone)?, alone))
    };
    let (claimed, alone) = try_alone().with_context(|| cannot_listen(address))?;
    Ok((SocketAddr::try_from(claimed)?, alone))
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
