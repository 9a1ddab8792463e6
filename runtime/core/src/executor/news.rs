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

/// Puts a descriptor on this core's list. It is off the list when it is closed, if nobody else holds the same open file;
/// else by [`forget`].
pub(super) fn listen_to(source: &impl AsRawFd) {
    let fd = source.as_raw_fd();
    if let Err(reason) = LIST.with_borrow_mut(|list| register(list, fd)) {
        // A limit on watches, most likely. Nothing is lost but time.
        if !IS_DEAF.replace(true) {
            warn!(%reason, "a core cannot tell without a look whether something has come for it");
        }
    }
}

/// Takes a descriptor off the list.
pub(super) fn forget(source: &impl AsRawFd) {
    // While the thread ends the list may be gone. What was refused is not on it.
    let _ = LIST.try_with(|list| match &*list.borrow() {
        Some((poll, _)) => poll.registry().deregister(&mut SourceFd(&source.as_raw_fd())),
        None => Ok(()),
    });
}

fn register(list: &mut Option<(Poll, Events)>, fd: RawFd) -> std::io::Result<()> {
    if list.is_none() {
        *list = Some((Poll::new()?, Events::with_capacity(EVENTS_MAX)));
    }
    match list {
        // Writable too, though nobody waits for that: what came may have been taken in by a read that the executor has
        // before the question is put, and then the descriptor is not readable any more. It still can be written to.
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
    are_listed()
        || glommio::is_wanted()
        || IS_DEAF.get()
        || PROBES.with_borrow(|probes| probes.iter().any(|probe| probe(now_ns)))
}

fn are_listed() -> bool {
    LIST.with_borrow_mut(|list| {
        let Some((poll, events)) = list else { return false };
        // An interrupted call has found nothing out.
        poll.poll(events, Some(Duration::ZERO)).is_err() || !events.is_empty()
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    /// What is listened to, and who speaks.
    fn pair() -> (UnixStream, UnixStream) {
        let (hears, speaks) = UnixStream::pair().unwrap();
        listen_to(&hears);
        (hears, speaks)
    }

    /// Asks until there is nothing, as what has just been put on the list is news, too.
    fn settle() {
        let questions = (0..100).take_while(|_| are_listed()).count();
        assert!(questions < 100, "the same news again and again");
    }

    #[test]
    fn what_comes_is_news_once() {
        assert!(!are_listed(), "nothing is listened to");
        let (mut hears, mut speaks) = pair();
        settle();
        for taken_in_before_the_question in [false, true] {
            speaks.write_all(b"x").unwrap();
            if taken_in_before_the_question {
                hears.read_exact(&mut [0; 1]).unwrap();
            }
            assert!(are_listed(), "taken in: {taken_in_before_the_question}");
            assert!(!are_listed(), "it has been told");
            if !taken_in_before_the_question {
                hears.read_exact(&mut [0; 1]).unwrap();
                settle();
            }
        }
        drop(speaks);
        assert!(are_listed(), "the other end is gone");
    }

    #[test]
    fn of_many_that_have_come_all_are_told() {
        let mut pairs: Vec<_> = (0..3 * EVENTS_MAX).map(|_| pair()).collect();
        settle();
        for (_, speaks) in &mut pairs {
            speaks.write_all(b"x").unwrap();
        }
        assert!((0..3).all(|_| are_listed()));
        assert!(!are_listed());
    }

    /// As the bell of a client that was let go of, and holds on to it.
    #[test]
    fn what_is_forgotten_is_not_heard_though_somebody_else_has_it_open() {
        for is_forgotten in [false, true] {
            let (hears, mut speaks) = pair();
            settle();
            let _elsewhere = hears.try_clone().unwrap();
            if is_forgotten {
                forget(&hears);
            }
            drop(hears);
            speaks.write_all(b"x").unwrap();
            assert_eq!(are_listed(), !is_forgotten);
        }
    }
}
