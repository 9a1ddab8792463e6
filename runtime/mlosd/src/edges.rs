//! The edges of one core: accepts connections and hands them to their protocol, until the engine stops.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use mlos_core::{Node, clock, executor};
use mlos_http::{Config, Edge, serve_connection};
use tracing::{debug, warn};

/// How long to wait before accepting again when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often a stopping core looks whether its connections have ended.
const STOP_TICK: Duration = Duration::from_millis(5);

/// The executor's time, for the edge.
#[derive(Clone, Copy)]
struct Timer;

impl mlos_http::Timer for Timer {
    fn now(&self) -> Duration {
        clock::now()
    }

    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + 'static {
        executor::sleep(time)
    }
}

/// The executor, for the local edge.
#[derive(Clone, Copy)]
struct Host;

impl mlos_local::Host for Host {
    type Bell = executor::Event;

    fn bell(&self, counter: OwnedFd) -> executor::Event {
        executor::Event::new(mlos_shm::own(counter))
    }

    async fn rung(&self, bell: &executor::Event) -> io::Result<()> {
        bell.wait().await
    }

    fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        executor::spawn(future);
    }

    async fn look(&self) {
        executor::yield_to_io().await;
    }

    async fn sleep(&self, time: Duration) {
        executor::sleep(time).await;
    }

    fn is_core_shared(&self) -> bool {
        executor::is_core_shared()
    }

    fn has_news(&self, now_ns: u64) -> bool {
        executor::news::are_there(now_ns)
    }

    fn announce(&self, has_some: impl Fn() -> bool + 'static) {
        executor::news::ask_also(Box::new(move |_| has_some()));
    }

    fn heard_ns(&self) -> u64 {
        executor::heard_ns()
    }

    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }
}

/// Serves two edges on this core, each as a task of its own, until both have ended.
///
/// A task of its own, since glommio keeps a waker for each time that somebody who waits to accept a connection is polled.
/// In one task every word of the other edge would poll it, and after 32,767 of them the executor panics.
pub async fn beside(http: impl Future<Output = ()>, local: impl Future<Output = ()> + 'static) {
    let running = Rc::new(());
    let is_running = Rc::downgrade(&running);
    executor::spawn(async move {
        local.await;
        drop(running);
    });
    http.await;
    while is_running.strong_count() > 0 {
        executor::sleep(STOP_TICK).await;
    }
}

/// Serves clients of this machine on this core, until their control thread has ended.
pub async fn serve_local(node: Node, config: mlos_local::Config, orders: mlos_local::Orders) {
    mlos_local::serve(node, Host, config, orders).await;
}

/// Serves HTTP on this core until the engine stops and every connection has ended. Says through `bound` whether it
/// listens.
pub async fn serve_http(node: Node, address: SocketAddr, config: Config, bound: Sender<io::Result<()>>) {
    let listener = match executor::Listener::bind(address) {
        Ok(listener) => listener,
        Err(reason) => return drop(bound.send(Err(reason))),
    };
    let _ = bound.send(Ok(()));
    let edge = Edge::new(config);
    let accepting = accept(listener, node.clone(), edge.clone());
    futures_lite::future::or(accepting, node.stopping()).await;
    while edge.connections() > 0 {
        executor::sleep(STOP_TICK).await;
    }
}

async fn accept(listener: executor::Listener, node: Node, edge: Rc<Edge>) {
    loop {
        match listener.accept().await {
            Ok(stream) => {
                let (node, edge) = (node.clone(), edge.clone());
                executor::spawn(async move {
                    let stopping = node.clone();
                    let served =
                        serve_connection(
                            stream,
                            node,
                            Timer,
                            edge,
                            async move { stopping.stopping().await },
                        );
                    if let Err(reason) = served.await {
                        debug!(%reason, "a connection ended early");
                    }
                });
            }
            Err(reason) => {
                warn!(%reason, "cannot accept a connection");
                executor::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
