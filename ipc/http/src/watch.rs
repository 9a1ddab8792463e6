//! What a connection is doing, since when, and when that has taken too long.
//!
//! hyper's own header timeout is not used: see [`Timer`]. Here, one sleep serves all limits of a connection. It is
//! not reset on each request; when it fires, the time that is left is computed and slept, so a busy connection
//! costs a reading of the clock per phase, and one timer every few seconds.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};

use crate::{Limits, Timer};

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing, or its client is taking the answer.
    Idle,
    /// A head has begun.
    Head,
    /// A body is being received.
    Body,
    /// The engine has the request: the time is the engine's.
    Running,
}

/// The state of one connection, shared by its stream, its handlers and its driver.
pub(crate) struct Watch<T> {
    pub(crate) timer: T,
    phase: Cell<Phase>,
    since: Cell<Duration>,
    late: Cell<bool>,
    unread: Cell<bool>,
}

impl<T: Timer> Watch<T> {
    pub(crate) fn new(timer: T) -> Rc<Self> {
        let since = Cell::new(timer.now());
        Rc::new(Self {
            timer,
            phase: Cell::new(Phase::Idle),
            since,
            late: Cell::new(false),
            unread: Cell::new(false),
        })
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        if phase != Phase::Running {
            self.since.set(self.timer.now());
        }
    }

    /// The body has taken too long: its receiver must give up.
    pub(crate) fn is_late(&self) -> bool {
        self.late.get()
    }

    pub(crate) fn set_late(&self) {
        self.late.set(true);
    }

    /// Part of a body was left on the wire.
    pub(crate) fn is_unread(&self) -> bool {
        self.unread.get()
    }

    pub(crate) fn set_unread(&self, unread: bool) {
        self.unread.set(unread);
    }

    /// When the present phase has taken too long; never for [`Phase::Running`].
    fn deadline(&self, limits: &Limits) -> Option<Duration> {
        let limit = match self.phase.get() {
            Phase::Idle => limits.idle_time,
            Phase::Head => limits.header_time,
            Phase::Body if self.late.get() => return None,
            Phase::Body => limits.body_time,
            Phase::Running => return None,
        };
        Some(self.since.get().saturating_add(limit))
    }
}

type Sleep = Pin<Box<dyn Future<Output = ()>>>;

/// The one sleep of a connection.
#[derive(Default)]
pub(crate) struct Alarm {
    /// When it rings.
    set: Option<(Duration, Sleep)>,
}

impl Alarm {
    /// Ready when the present phase has taken too long.
    pub(crate) fn poll<T: Timer>(
        &mut self,
        watch: &Watch<T>,
        limits: &Limits,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        loop {
            let Some(deadline) = watch.deadline(limits) else {
                return Poll::Pending;
            };
            let sleep = match &mut self.set {
                Some((at, sleep)) if *at <= deadline => sleep,
                _ => {
                    let left = deadline.saturating_sub(watch.timer.now());
                    &mut self.set.insert((deadline, Box::pin(watch.timer.sleep(left)))).1
                }
            };
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.set = None;
            if watch.timer.now() >= deadline {
                return Poll::Ready(());
            }
        }
    }
}

/// A stream that tells the watch what moves on it.
pub(crate) struct Watched<IO, T> {
    pub(crate) stream: IO,
    watch: Rc<Watch<T>>,
}

impl<IO, T> Watched<IO, T> {
    pub(crate) fn new(stream: IO, watch: Rc<Watch<T>>) -> Self {
        Self { stream, watch }
    }
}

impl<IO: Read + Unpin, T: Timer> Read for Watched<IO, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if polled.is_ready() && self.watch.phase() == Phase::Idle {
            self.watch.enter(Phase::Head);
        }
        polled
    }
}

impl<IO: Write + Unpin, T: Timer> Write for Watched<IO, T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        if polled.is_ready() && self.watch.phase() == Phase::Idle {
            self.watch.enter(Phase::Idle);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
