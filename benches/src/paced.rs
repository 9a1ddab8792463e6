//! Requests at the times they were meant for, whatever became of those before (open loop): while one waits, the next
//! goes over another connection. The times jitter, so that they do not walk in step with what else runs.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use core_affinity::CoreId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::client::{Answer, Connection, Request};
use crate::histogram::Samples;

/// Requests in flight at most. Those that would be more are not sent, but counted.
const IN_FLIGHT_MAX: usize = 1024;
/// How long to wait at the end for what is in flight.
const PATIENCE: Duration = Duration::from_secs(30);
/// Wakings that the wait is calibrated with.
const WAKINGS: u32 = 20;
/// A sleep is cut short by no more than this, the rest being spent awake.
const LATENESS_MAX: Duration = Duration::from_micros(500);

/// What to ask, and how often.
#[derive(Debug, Clone)]
pub struct Pace<'a> {
    /// Where the server is.
    pub address: SocketAddr,
    /// What is asked, over and over.
    pub request: &'a Request,
    /// Mean rate, per second.
    pub rate_hz: f64,
    /// For how long.
    pub time: Duration,
    /// Seed of the jitter.
    pub seed: u64,
    /// The processor that the client runs on.
    pub cpu: usize,
}

/// What was seen.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// From the send to the whole answer.
    pub latency: Samples,
    /// What the server says of it: from the arrival of the decoded request to its end.
    pub served: Samples,
    /// What the server says of the computation alone.
    pub compute: Samples,
    /// Requests that were not sent, since too many were in flight.
    pub unsent: u64,
}

impl Seen {
    /// Adds what another round saw.
    pub fn extend(&mut self, other: &Self) {
        self.latency.extend(&other.latency);
        self.served.extend(&other.served);
        self.compute.extend(&other.compute);
        self.unsent += other.unsent;
    }

    fn take(&mut self, latency: Duration, answer: &Answer) {
        self.latency.push(latency);
        for (samples, key) in [(&mut self.served, "total_us"), (&mut self.compute, "compute_us")] {
            if let Some(us) = answer.number(key) {
                samples.push(Duration::from_micros(us));
            }
        }
    }
}

/// Asks at a pace, on a thread of its own that is pinned to the client's processor.
///
/// # Errors
/// Where a connection breaks, or an answer is no success.
pub fn run(pace: &Pace<'_>) -> Result<Seen> {
    std::thread::scope(|scope| {
        let client = std::thread::Builder::new()
            .name(String::from("urgent"))
            .spawn_scoped(scope, || {
                core_affinity::set_for_current(CoreId { id: pace.cpu });
                Client::new(pace)?.run(pace)
            })?;
        client.join().expect("the client does not panic")
    })
}

struct Client {
    address: SocketAddr,
    idle: Vec<Connection>,
    flying: VecDeque<(Connection, Instant)>,
    lateness: Duration,
    seen: Seen,
}

impl Client {
    fn new(pace: &Pace<'_>) -> Result<Self> {
        let mut client = Self {
            address: pace.address,
            idle: Vec::new(),
            flying: VecDeque::new(),
            lateness: lateness(),
            seen: Seen::default(),
        };
        // The first requests warm the connection.
        let mut first = client.connection()?;
        for _ in 0..3 {
            first.stream().set_nonblocking(false)?;
            first.call(pace.request)?.success()?;
        }
        first.stream().set_nonblocking(true)?;
        client.idle.push(first);
        Ok(client)
    }

    fn connection(&mut self) -> Result<Connection> {
        if let Some(connection) = self.idle.pop() {
            return Ok(connection);
        }
        let connection = Connection::open(self.address)?;
        connection.stream().set_nonblocking(true)?;
        Ok(connection)
    }

    fn run(mut self, pace: &Pace<'_>) -> Result<Seen> {
        let period_s = 1.0 / pace.rate_hz;
        let mut random = pace.seed | 1;
        let begun = Instant::now();
        let mut due_s = 0.0;
        while due_s < pace.time.as_secs_f64() {
            due_s += period_s * (0.5 + fraction(&mut random));
            self.wait_until(begun + Duration::from_secs_f64(due_s))?;
            if self.flying.len() == IN_FLIGHT_MAX {
                self.seen.unsent += 1;
                continue;
            }
            let mut connection = self.connection()?;
            let sent = Instant::now();
            connection.send(pace.request)?;
            self.flying.push_back((connection, sent));
        }
        let until = Instant::now() + PATIENCE;
        while !self.flying.is_empty() && Instant::now() < until {
            self.read_answers(until)?;
        }
        Ok(self.seen)
    }

    /// Waits, and takes the answers that come.
    fn wait_until(&mut self, due: Instant) -> Result<()> {
        let wake = due.checked_sub(self.lateness).unwrap_or(due);
        while !self.flying.is_empty() && Instant::now() < wake {
            self.read_answers(wake)?;
        }
        std::thread::sleep(wake.saturating_duration_since(Instant::now()));
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        Ok(())
    }

    fn read_answers(&mut self, until: Instant) -> Result<()> {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).context("a time to wait")?;
        let mut sockets: Vec<PollFd<'_>> = self
            .flying
            .iter()
            .map(|(connection, _)| PollFd::new(connection.stream(), PollFlags::IN))
            .collect();
        poll(&mut sockets, Some(&timeout))?;
        let ready: Vec<bool> = sockets
            .iter()
            .map(|socket| !socket.revents().is_empty())
            .collect();
        for is_ready in ready {
            let Some((mut connection, sent)) = self.flying.pop_front() else {
                break;
            };
            let answer = if is_ready { connection.receive()? } else { None };
            match answer {
                Some(answer) => {
                    let latency = sent.elapsed();
                    self.seen.take(latency, &answer.success()?);
                    self.idle.push(connection);
                }
                None => self.flying.push_back((connection, sent)),
            }
        }
        Ok(())
    }
}

/// How late a sleep ends here, at worst: so much earlier the client wakes, and spends the rest awake.
fn lateness() -> Duration {
    let sleep = Duration::from_millis(1);
    let late = |_| {
        let begun = Instant::now();
        std::thread::sleep(sleep);
        begun.elapsed().saturating_sub(sleep)
    };
    (0..WAKINGS).map(late).max().unwrap_or_default().min(LATENESS_MAX)
}

/// From 0 to 1, by xorshift.
fn fraction(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 11) as f64 / (1_u64 << 53) as f64
}
