//! One core's local clients.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_lite::future::or;
use mlos_api::{Dim, Error, ModelRef, StandingService, TensorSpec};
use mlos_shm::control::{ControlMessage, DaemonMessage, DaemonSide, Open, Opened, TensorInfo, socket};
use tracing::info;

use crate::control::{Joining, Order, Orders, refuse};
use crate::poller::{BURST, Poller};
use crate::port::{Ends, Handle, Port, Reason, status};
use crate::{Config, Host};

/// How often a stopping core looks whether its clients' requests have ended.
const STOP_TICK: Duration = Duration::from_millis(1);

/// A client of this core.
struct Client<S: StandingService> {
    port: Rc<Port<S>>,
    socket: Arc<OwnedFd>,
}

/// Serves the local clients of this core as it is told. When the control thread has ended, what is in flight is finished.
pub async fn serve<S: StandingService, H: Host>(service: S, host: H, config: Config, orders: Orders) {
    let patience_ns = u64::try_from(config.poll.as_nanos()).unwrap_or(u64::MAX);
    let poller = Poller::new(host.clone(), patience_ns);
    let clients = Rc::new(RefCell::new(HashMap::<u64, Client<S>>::new()));
    let waiting = orders.0.downgrade();
    host.announce(move || waiting.upgrade().is_some_and(|orders| !orders.is_empty()));
    let polling = poller.clone();
    host.spawn(async move { polling.run().await });
    while let Ok(order) = orders.0.recv().await {
        match order {
            Order::Join(joining) => join(&service, &host, &poller, &clients, *joining),
            Order::Open { client, open } => {
                if let Some(client) = clients.borrow().get(&client) {
                    client.port.counters.orders.fetch_sub(1, Relaxed);
                    answer_open(&service, client, open);
                }
            }
            Order::Close { client, handle } => {
                if let Some(client) = clients.borrow().get(&client) {
                    client.port.counters.orders.fetch_sub(1, Relaxed);
                    client.port.close(handle);
                }
            }
            Order::Gone { client } => {
                if let Some(client) = clients.borrow().get(&client) {
                    client.port.end(Reason::Gone);
                }
            }
        }
    }
    clients.borrow().values().for_each(|client| client.port.stop());
    while clients.borrow().values().any(|client| !client.port.is_idle()) {
        host.sleep(STOP_TICK).await;
    }
    clients
        .borrow()
        .values()
        .for_each(|client| client.port.end(Reason::Stopping));
}

fn join<S: StandingService, H: Host>(
    service: &S,
    host: &H,
    poller: &Rc<Poller<S, H>>,
    clients: &Rc<RefCell<HashMap<u64, Client<S>>>>,
    joining: Joining,
) {
    let Joining {
        client: id,
        side,
        socket,
        counters,
    } = joining;
    let DaemonSide {
        requests,
        responses,
        bell,
        arena,
    } = side;
    let port = Port::new(
        service.clone(),
        Ends {
            requests,
            responses,
            bell,
            arena,
            counters,
        },
    );
    clients.borrow_mut().insert(
        id,
        Client {
            port: port.clone(),
            socket: socket.clone(),
        },
    );
    let (host, poller, clients) = (host.clone(), poller.clone(), clients.clone());
    host.clone().spawn(async move {
        or(attend(&host, &poller, &port), port.ended()).await;
        poller.forget(&port);
        port.forget();
        clients.borrow_mut().remove(&id);
        let _ = rustix::net::shutdown(&*socket, rustix::net::Shutdown::Both);
        match port.reason() {
            Some(Reason::Gone | Reason::Stopping) | None => {}
            Some(reason) => info!(client = id, %reason, "a local client is let go"),
        }
    });
}

/// Serves a client's rings: polls them with others while it is busy, and sleeps on its bell.
async fn attend<S: StandingService, H: Host>(host: &H, poller: &Poller<S, H>, port: &Rc<Port<S>>) {
    let bell = match port.bell.as_fd().try_clone_to_owned() {
        Ok(counter) => host.bell(counter),
        Err(reason) => return port.end(Reason::Bell(Arc::new(reason))),
    };
    loop {
        port.drain(BURST);
        poller.attend(port).await;
        if port.reason().is_some() {
            // What is left in the ring is not taken any more, so nothing below would ever wait.
            return;
        }
        if port.has_request() {
            // The core may not be polled on, but the client goes on asking: others have their turn.
            host.look().await;
            continue;
        }
        port.bell.arm();
        if !port.has_request()
            && port.reason().is_none()
            && let Err(reason) = host.rung(&bell).await
        {
            return port.end(Reason::Bell(Arc::new(reason)));
        }
        port.bell.disarm();
    }
}

fn answer_open<S: StandingService>(service: &S, client: &Client<S>, open: Open) {
    let token = open.token;
    let answer = opened(service, client, open).and_then(|opened| {
        let packet = DaemonMessage::Opened(opened).encode();
        packet.map_err(|error| Error::Internal(error.to_string()))
    });
    match answer {
        // A client that does not read its answers has had them all.
        Ok(packet) => drop(socket::send(&*client.socket, &packet, &[])),
        Err(error) => refuse(&*client.socket, token, status(error.kind()), error.to_string()),
    }
}

fn opened<S: StandingService>(service: &S, client: &Client<S>, open: Open) -> Result<Opened, Error> {
    let Open {
        token,
        model,
        component,
    } = open;
    let model = ModelRef::parse(&model)?;
    let detail = service.model(&model)?;
    if detail.signatures.is_empty() {
        return Err(Error::Unavailable(format!(
            "model '{}' is not ready",
            detail.model
        )));
    }
    let signature = detail.signature(component.as_deref())?;
    let handle = client.port.open(Handle { model, component })?;
    Ok(Opened {
        token,
        handle,
        model: detail.model.id.clone(),
        version: detail.model.version.clone(),
        class_default: detail.class_default.index() as u8 + 1,
        inputs: signature.inputs.iter().map(info_of).collect(),
        outputs: signature.outputs.iter().map(info_of).collect(),
    })
}

fn info_of(spec: &TensorSpec) -> TensorInfo {
    let dim = |dim: &Dim| match dim {
        Dim::Fixed(size) => Some(*size as u64),
        Dim::Dynamic(_) => None,
    };
    TensorInfo {
        name: spec.name.clone(),
        dtype: spec.dtype as u8,
        dims: spec.dims.iter().map(dim).collect(),
    }
}
