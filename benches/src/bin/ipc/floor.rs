//! What nobody can be quicker than: a cache line that goes to another processor and back, and a thread there that is
//! woken and wakes.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use core_affinity::CoreId;
use mlos_benches::histogram::Samples;
use rustix::event::{EventfdFlags, eventfd};

use crate::{Bench, turn};

/// Ends the thread that answers.
const END: u64 = u64::MAX;

/// A word alone on its lines: processors fetch them in pairs.
#[repr(align(128))]
#[derive(Default)]
struct Line(AtomicU64);

impl Line {
    fn wait_for_other_than(&self, before: u64) -> u64 {
        loop {
            // Acquire and release, as any message needs that is more than the word itself.
            let seen = self.0.load(Ordering::Acquire);
            if seen != before {
                return seen;
            }
            std::hint::spin_loop();
        }
    }
}

/// Two threads that pass a cache line to each other, both polling.
pub(crate) fn cache_line(bench: &Bench, time: Duration) -> Result<Samples> {
    let (there, back) = (Line::default(), Line::default());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            core_affinity::set_for_current(CoreId {
                id: bench.setting.server,
            });
            let mut seen = 0;
            while seen != END {
                seen = there.wait_for_other_than(seen);
                back.0.store(seen, Ordering::Release);
            }
        });
        let samples = bench.as_client(|| {
            let mut last = 0;
            turn(time, |_| {
                there.0.store(last + 1, Ordering::Release);
                last = back.wait_for_other_than(last);
                Ok(())
            })
        });
        there.0.store(END, Ordering::Release);
        samples
    })
}

/// Two threads that sleep on an `eventfd` each and wake each other. Between two round trips nothing happens for
/// `pause`, if that is not nothing.
pub(crate) fn eventfds(bench: &Bench, time: Duration, pause: Duration) -> Result<Samples> {
    let (there, back) = (
        eventfd(0, EventfdFlags::CLOEXEC)?,
        eventfd(0, EventfdFlags::CLOEXEC)?,
    );
    std::thread::scope(|scope| {
        scope.spawn(|| {
            core_affinity::set_for_current(CoreId {
                id: bench.setting.server,
            });
            // The last count says that it is the last.
            while wait(&there).is_ok_and(|count| count == 1) && wake(&back, 1).is_ok() {}
        });
        let samples = bench.as_client(|| {
            paused(time, pause, || {
                wake(&there, 1)?;
                wait(&back).map(drop)
            })
        });
        wake(&there, 2)?;
        samples
    })
}

/// A turn with a pause before each round trip.
pub(crate) fn paused(
    time: Duration,
    pause: Duration,
    mut round_trip: impl FnMut() -> Result<()>,
) -> Result<Samples> {
    if pause.is_zero() {
        return turn(time, |_| round_trip());
    }
    let mut samples = Samples::default();
    let begun = std::time::Instant::now();
    while begun.elapsed() < time {
        std::thread::sleep(pause);
        let sent = std::time::Instant::now();
        round_trip()?;
        samples.push(sent.elapsed());
    }
    Ok(samples)
}

fn wake(fd: &OwnedFd, count: u64) -> Result<()> {
    rustix::io::write(fd, &count.to_ne_bytes())?;
    Ok(())
}

fn wait(fd: &OwnedFd) -> Result<u64> {
    let mut count = [0; 8];
    rustix::io::read(fd, &mut count)?;
    Ok(u64::from_ne_bytes(count))
}
