//! Looks at the rings of the clients that are busy, in turn, as long as the core has nothing else to do.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use mlos_api::StandingService;

use crate::Host;
use crate::port::Port;

/// Requests taken from one client before the next has its turn.
pub(crate) const BURST: usize = 32;
/// Empty looks between two looks at the clock.
const LOOKS: u32 = 64;
/// How often to ask whether a look for I/O would find something, which takes a fraction of a microsecond.
const ASK_EVERY_NS: u64 = 100_000;
/// How long the core may go without a look that nobody has said would find something. It takes several microseconds, which
/// somebody's request waits.
const LOOK_EVERY_NS: u64 = 4_000_000;
/// How long after their last word clients over the network are taken to be there. Then every question is a look: what they
/// ask has several steps, and not each is news.
const HEARD_NS: u64 = 50_000_000;

/// The busy clients of one core.
pub(crate) struct Poller<S: StandingService, H> {
    host: H,
    patience_ns: u64,
    busy: RefCell<Vec<Rc<Port<S>>>>,
    /// Counts the changes of `busy`.
    changes: Cell<u64>,
    waker: Cell<Option<Waker>>,
    parked: RefCell<Vec<Waker>>,
}

impl<S: StandingService, H: Host> Poller<S, H> {
    pub(crate) fn new(host: H, patience_ns: u64) -> Rc<Self> {
        Rc::new(Self {
            host,
            patience_ns,
            busy: RefCell::default(),
            changes: Cell::new(0),
            waker: Cell::new(None),
            parked: RefCell::default(),
        })
    }

    /// Looks at a client's ring with the others'. Resolves when it should sleep on its bell again.
    pub(crate) async fn attend(&self, port: &Rc<Port<S>>) {
        if self.patience_ns == 0 || self.host.is_core_shared() {
            return;
        }
        self.busy.borrow_mut().push(port.clone());
        self.changes.set(self.changes.get() + 1);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        poll_fn(|cx| {
            if !self.busy.borrow().iter().any(|busy| Rc::ptr_eq(busy, port)) {
                return Poll::Ready(());
            }
            self.parked.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Takes a client out, before it ends.
    pub(crate) fn forget(&self, port: &Rc<Port<S>>) {
        self.busy.borrow_mut().retain(|busy| !Rc::ptr_eq(busy, port));
        self.changes.set(self.changes.get() + 1);
    }

    /// The task of a core.
    pub(crate) async fn run(&self) {
        loop {
            poll_fn(|cx| {
                if !self.busy.borrow().is_empty() {
                    return Poll::Ready(());
                }
                self.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            })
            .await;
            self.poll_rings().await;
            self.busy.borrow_mut().clear();
            self.changes.set(self.changes.get() + 1);
            self.parked.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Until nobody has asked for long, or the core is needed.
    async fn poll_rings(&self) {
        let start_ns = self.host.now_ns();
        let (mut asked_ns, mut inquired_ns, mut looked_ns) = (start_ns, start_ns, start_ns);
        let mut ports: Vec<Rc<Port<S>>> = Vec::new();
        let mut seen = None;
        loop {
            if seen != Some(self.changes.get()) {
                seen = Some(self.changes.get());
                ports.clone_from(&self.busy.borrow());
            }
            let mut now_ns = 0;
            for _ in 0..LOOKS {
                let mut asked = false;
                for port in &ports {
                    asked |= port.drain(BURST);
                }
                if asked {
                    now_ns = self.host.now_ns();
                    asked_ns = now_ns;
                    break;
                }
                std::hint::spin_loop();
            }
            if now_ns == 0 {
                now_ns = self.host.now_ns();
            }
            if self.host.is_core_shared() || now_ns.saturating_sub(asked_ns) > self.patience_ns {
                return;
            }
            ports.retain(|port| port.reason().is_none());
            if now_ns.saturating_sub(inquired_ns) > ASK_EVERY_NS {
                inquired_ns = now_ns;
                if self.should_look(now_ns, looked_ns) {
                    self.host.look().await;
                    looked_ns = self.host.now_ns();
                    inquired_ns = looked_ns;
                }
            }
        }
    }

    fn should_look(&self, now_ns: u64, looked_ns: u64) -> bool {
        let heard_ns = self.host.heard_ns();
        (heard_ns > 0 && now_ns.saturating_sub(heard_ns) < HEARD_NS)
            || now_ns.saturating_sub(looked_ns) > LOOK_EVERY_NS
            || self.host.has_news(now_ns)
    }
}
