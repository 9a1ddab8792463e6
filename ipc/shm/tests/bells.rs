//! Bells: who sleeps is woken, who is awake is not disturbed, and a client cannot hold the daemon up.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use mlos_shm::control::DaemonSide;
use mlos_shm::layout::{CLIENT_ASLEEP_OFFSET, DAEMON_ASLEEP_OFFSET};
use mlos_shm::{
    ClientBell, ClientBellFds, Consumer, DaemonBell, Message, Request, Response, Rings, Sleep, Status, Woken,
};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::time::Timespec;
use support::{Pair, Random, Vandal, pair};

/// So long a test waits for what must come.
const SOON: Duration = Duration::from_secs(20);

fn is_readable(fd: impl AsFd, timeout: Duration) -> bool {
    let timeout = Timespec::try_from(timeout).unwrap();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&timeout)).unwrap() == 1
}

#[test]
fn nobody_is_rung_who_is_awake() {
    let Pair { daemon, client, .. } = pair(2);
    assert!(!client.bell.ring().unwrap());
    assert!(!daemon.bell.ring());
    assert!(!is_readable(&daemon.bell, Duration::ZERO));
    assert!(!is_readable(&client.bell, Duration::ZERO));
    daemon.bell.arm();
    daemon.bell.disarm();
    client.bell.arm(Sleep::OnWord);
    client.bell.disarm();
    assert!(!client.bell.ring().unwrap());
    assert!(!daemon.bell.ring());
}

#[test]
fn a_sleeper_on_a_descriptor_is_rung_once() {
    let Pair { daemon, client, .. } = pair(2);
    daemon.bell.arm();
    assert!(client.bell.ring().unwrap());
    assert!(!client.bell.ring().unwrap());
    assert!(is_readable(&daemon.bell, Duration::ZERO));
    daemon.bell.disarm();
    assert!(!is_readable(&daemon.bell, Duration::ZERO));

    client.bell.arm(Sleep::OnDescriptor);
    assert!(daemon.bell.ring());
    assert!(!daemon.bell.ring());
    assert!(is_readable(&client.bell, Duration::ZERO));
    assert!(client.bell.clear());
    client.bell.disarm();
    assert!(!is_readable(&client.bell, Duration::ZERO));
}

#[test]
fn a_sleeper_on_the_word_is_woken_and_times_out() {
    let Pair { daemon, client, .. } = pair(2);
    client.bell.arm(Sleep::OnWord);
    assert_eq!(
        client.bell.wait(Some(Duration::from_millis(1))).unwrap(),
        Woken::TimedOut
    );
    assert!(daemon.bell.ring());
    assert_eq!(
        client.bell.wait(None).unwrap(),
        Woken::Maybe,
        "it was rung before it slept"
    );
    client.bell.arm(Sleep::OnWord);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !daemon.bell.ring() {
                thread::yield_now();
            }
        });
        assert_eq!(client.bell.wait(Some(SOON)).unwrap(), Woken::Maybe);
    });
}

#[test]
fn a_client_that_sleeps_learns_that_the_daemon_is_gone() {
    let Pair { daemon, client, .. } = pair(2);
    assert!(!client.bell.is_daemon_gone());
    client.bell.arm(Sleep::OnWord);
    let asleep = thread::spawn(move || {
        let start = Instant::now();
        loop {
            match client.bell.wait(Some(SOON)).unwrap() {
                Woken::Maybe => client.bell.arm(Sleep::OnWord),
                ended => return (ended, client, start.elapsed()),
            }
        }
    });
    drop(daemon);
    let (ended, client, after) = asleep.join().unwrap();
    assert_eq!(ended, Woken::DaemonGone);
    assert!(after < SOON / 2, "{after:?}");
    assert!(client.bell.is_daemon_gone());
    assert!(
        is_readable(&client.bell, Duration::ZERO),
        "an executor learns it too"
    );
    assert!(!client.bell.clear());
    // Ringing somebody who is gone harms nobody.
    client.bell.ring().unwrap();
}

/// Rings of a client that has kept its descriptors.
fn with_bells() -> (Rings, DaemonBell, ClientBellFds) {
    let rings = Rings::create(2).unwrap();
    let (bell, fds) = DaemonBell::create(&rings).unwrap();
    (rings, bell, fds)
}

/// Both processes share one open file for each bell. Whatever the client does to it, the daemon goes on.
#[test]
fn a_client_cannot_make_the_daemon_block() {
    let (rings, bell, fds) = with_bells();
    let vandal = Vandal::map(&rings);
    // A socket made by us does not block; one that was tampered with does.
    let flags = rustix::fs::fcntl_getfl(&fds.client).unwrap();
    rustix::fs::fcntl_setfl(&fds.client, flags - OFlags::NONBLOCK).unwrap();
    let daemon = thread::spawn(move || {
        // Nothing to read, from a counter that would block.
        bell.clear();
        bell.disarm();
        // The client says that it sleeps, and reads nothing.
        for sleep in (1..10_000).map(|at| at % 4) {
            vandal.write(CLIENT_ASLEEP_OFFSET, sleep);
            bell.ring();
        }
        (bell, vandal)
    });
    let start = Instant::now();
    while !daemon.is_finished() {
        assert!(start.elapsed() < SOON, "the daemon hangs");
        thread::yield_now();
    }
    let (bell, _) = daemon.join().unwrap();
    // A full counter is emptied like any other.
    rustix::io::write(&fds.daemon, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    bell.clear();
    assert!(!is_readable(&bell, Duration::ZERO));
    // And a client that has closed its bells is rung in vain.
    drop(fds);
    bell.ring();
}

/// A client that would rather be told than block may say so to the file that it shares.
#[test]
fn a_full_bell_is_rung() {
    let (rings, bell, fds) = with_bells();
    let daemon_bell = fds.daemon.try_clone().unwrap();
    rustix::fs::fcntl_setfl(&daemon_bell, OFlags::NONBLOCK).unwrap();
    let client = ClientBell::new(&rings, fds);
    rustix::io::write(&daemon_bell, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    assert_eq!(
        rustix::io::write(&daemon_bell, &1_u64.to_ne_bytes()),
        Err(Errno::AGAIN)
    );
    bell.arm();
    assert!(client.ring().unwrap());
    assert!(is_readable(&bell, Duration::ZERO));
}

#[test]
fn a_word_that_says_nonsense_is_nobody_asleep() {
    let Pair {
        daemon,
        client,
        rings,
        ..
    } = pair(2);
    for word in [3, 4, u32::MAX] {
        rings.write(CLIENT_ASLEEP_OFFSET, word);
        assert!(!daemon.bell.ring());
        rings.write(DAEMON_ASLEEP_OFFSET, word);
        assert!(!client.bell.ring().unwrap());
    }
}

/// How a side of the stress test waits when its ring is empty.
trait Wait {
    fn arm(&self);
    fn sleep(&self);
    fn disarm(&self);
}

impl Wait for DaemonBell {
    fn arm(&self) {
        Self::arm(self);
    }

    fn sleep(&self) {
        assert!(is_readable(self, SOON), "the daemon's wake-up was lost");
    }

    fn disarm(&self) {
        Self::disarm(self);
    }
}

struct Client<'a> {
    bell: &'a ClientBell,
    sleep: Sleep,
}

impl Wait for Client<'_> {
    fn arm(&self) {
        self.bell.arm(self.sleep);
    }

    fn sleep(&self) {
        match self.sleep {
            Sleep::OnWord => {
                let woken = self.bell.wait(Some(SOON)).unwrap();
                assert_eq!(woken, Woken::Maybe, "the client's wake-up was lost");
            }
            Sleep::OnDescriptor => {
                assert!(is_readable(self.bell, SOON), "the client's wake-up was lost");
                assert!(self.bell.clear());
            }
        }
    }

    fn disarm(&self) {
        self.bell.disarm();
    }
}

/// The next message; polls `spins` times and then sleeps. Says how often it slept.
fn next<M: Message>(ring: &mut Consumer<M>, bell: &impl Wait, spins: u64, slept: &mut u64) -> M {
    loop {
        for _ in 0..=spins {
            if let Some(message) = ring.pop().unwrap() {
                return message;
            }
            std::hint::spin_loop();
        }
        bell.arm();
        if ring.is_empty() {
            bell.sleep();
            *slept += 1;
        }
        bell.disarm();
    }
}

fn serve(mut daemon: DaemonSide, mut random: Random) -> u64 {
    let mut slept = 0;
    loop {
        let request = next(&mut daemon.requests, &daemon.bell, random.below(40), &mut slept);
        daemon
            .responses
            .push(Response::new(request.id, Status::Ok))
            .unwrap();
        daemon.bell.ring();
        if request.id == u64::MAX {
            return slept;
        }
    }
}

/// Bursts of requests, each answered, with both sides falling asleep whenever they have nothing to do.
fn stress(sleep: Sleep, time: Duration) {
    let Pair {
        daemon, mut client, ..
    } = pair(8);
    let mut random = Random::seeded();
    let seed = Random::from(random.next());
    let daemon = thread::spawn(move || serve(daemon, seed));
    let start = Instant::now();
    let (mut id, mut slept) = (0, 0);
    while start.elapsed() < time {
        let burst = random.below(9);
        for id in id..id + burst {
            client.requests.push(Request::infer(id, 0)).unwrap();
        }
        client.bell.ring().unwrap();
        for id in id..id + burst {
            let wait = Client {
                bell: &client.bell,
                sleep,
            };
            let response = next(&mut client.responses, &wait, random.below(40), &mut slept);
            assert_eq!(response.id, id);
        }
        id += burst;
    }
    client.requests.push(Request::infer(u64::MAX, 0)).unwrap();
    client.bell.ring().unwrap();
    let daemon_slept = daemon.join().unwrap();
    println!("{id} requests; the client slept {slept} times, the daemon {daemon_slept}");
    assert!(
        id > 100 && slept > 10 && daemon_slept > 10,
        "the test did not test what it should"
    );
}

#[test]
fn no_wake_up_is_lost_on_the_word() {
    stress(Sleep::OnWord, Duration::from_millis(1500));
}

#[test]
fn no_wake_up_is_lost_on_descriptors() {
    stress(Sleep::OnDescriptor, Duration::from_millis(1500));
}
