//! Whether a look for I/O would find anything, for less than the look.
//!
//! A look is a timer and three or four calls of the kernel: some eight microseconds, which whoever polls for somebody on
//! this core makes that one wait. So what a core hears through is also on a list that the kernel keeps (`epoll`), and
//! asking whether the list is empty is one call that returns at once. New connections the executor sees by itself. What
//! comes from other threads of the process, or is due at a time, is not on the list: whoever waits for that says so by a
//! [`Probe`].

use std::cell::{Cell, RefCell};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use tracing::warn;

use super::glommio;

/// Asked with the time whether something has come that is on no list.
pub type Probe = Box<dyn Fn(u64) -> bool>;

/// Of how many descriptors one question hears. The others are heard of by the next.
const EVENTS_MAX: usize = 16;

thread_local! {
    static LIST: RefCell<Option<(Poll, Events)>> = const { RefCell::new(None) };
    /// Something could not be put on the list: then only a look tells.
    static IS_DEAF: Cell<bool> = const { Cell::new(false) };
    static PROBES: RefCell<Vec<Probe>> = const { RefCell::new(Vec::new()) };
}

/// Puts a descriptor on this core's list. It is off the list when it is closed.
pub(super) fn listen_to(source: &impl AsRawFd) {
    let fd = source.as_raw_fd();
    if let Err(reason) = LIST.with_borrow_mut(|list| register(list, fd)) {
        // A limit on watches, most likely. Nothing is lost but time.
        if !IS_DEAF.replace(true) {
            warn!(%reason, "a core cannot tell without a look whether something has come for it");
        }
    }
}

fn register(list: &mut Option<(Poll, Events)>, fd: RawFd) -> std::io::Result<()> {
    if list.is_none() {
        *list = Some((Poll::new()?, Events::with_capacity(EVENTS_MAX)));
    }
    match list {
        Some((poll, _)) => poll.registry().register(
            &mut SourceFd(&fd),
            Token(0),
            Interest::READABLE | Interest::WRITABLE,
        ),
        None => Ok(()),
    }
}

/// From now on, asks this too.
pub fn ask_also(probe: Probe) {
    PROBES.with_borrow_mut(|probes| probes.push(probe));
}

/// Whether a look at this time would find something; now and then it would not. What was found once is not found again.
#[must_use]
pub fn are_there(now_ns: u64) -> bool {
    let listed = LIST.with_borrow_mut(|list| {
        let Some((poll, events)) = list else { return false };
        // An interrupted call has found nothing out.
        poll.poll(events, Some(Duration::ZERO)).is_err() || !events.is_empty()
    });
    listed
        || glommio::is_wanted()
        || IS_DEAF.get()
        || PROBES.with_borrow(|probes| probes.iter().any(|probe| probe(now_ns)))
}
