//! Bulk work without end: clients that each send their next batch as soon as the last is answered.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use core_affinity::CoreId;
use std::sync::Arc;
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

use crate::client::{Connection, Request};

/// How long to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to send, and with how many clients.
#[derive(Debug, Clone)]
pub struct Load {
    /// Where the server is.
    pub address: SocketAddr,
    /// What is asked.
    pub request: Arc<Request>,
    /// Rows of one request.
    pub rows: u32,
    /// Requests that are outstanding all the time. Two for each core keep it busy while one is being sent.
    pub clients: usize,
    /// The processor that the clients run on.
    pub cpu: usize,
}

/// Clients at work. They stop when this is dropped; what they asked for is cancelled.
#[derive(Debug)]
pub struct Bulk {
    rows: u32,
    stop: Arc<AtomicBool>,
    sockets: Vec<TcpStream>,
    clients: Vec<JoinHandle<()>>,
    answered: Receiver<Result<Instant>>,
}

/// Rows that were answered in a stretch of time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rate {
    /// Rows.
    pub rows: u64,
    /// From the first answer to the last; the rows of the first are not among those counted.
    pub time: Duration,
}

impl Rate {
    /// Of requests of so many rows that were answered at these times.
    ///
    /// # Errors
    /// Where there are fewer than two.
    pub fn between(answered: &[Instant], rows: u64) -> Result<Self> {
        let (Some(first), Some(last)) = (answered.first(), answered.last()) else {
            bail!("no bulk work was answered");
        };
        if answered.len() < 2 {
            bail!("the time was too short for two answers to bulk work");
        }
        Ok(Self {
            rows: rows * (answered.len() as u64 - 1),
            time: last.duration_since(*first),
        })
    }

    /// Of several stretches together.
    #[must_use]
    pub fn together(rates: &[Self]) -> Self {
        Self {
            rows: rates.iter().map(|rate| rate.rows).sum(),
            time: rates.iter().map(|rate| rate.time).sum(),
        }
    }

    /// Rows a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.rows as f64 / self.time.as_secs_f64()
    }
}

impl Bulk {
    /// Starts the clients and waits until two answers have come, so that the server is in its stride.
    ///
    /// # Errors
    /// Where a connection breaks, or an answer is no success.
    pub fn start(load: &Load) -> Result<Self> {
        let (answers, answered) = mpsc::channel();
        let mut bulk = Self {
            rows: load.rows,
            stop: Arc::default(),
            sockets: Vec::new(),
            clients: Vec::new(),
            answered,
        };
        for _ in 0..load.clients {
            let connection = Connection::open(load.address)?;
            bulk.sockets.push(connection.stream().try_clone()?);
            let (load, answers, stop) = (load.clone(), answers.clone(), bulk.stop.clone());
            bulk.clients.push(std::thread::spawn(move || {
                serve(&load, connection, &answers, &stop)
            }));
        }
        for _ in 0..2 {
            bulk.answered
                .recv_timeout(PATIENCE)
                .context("bulk work is not answered")??;
        }
        Ok(bulk)
    }

    /// What was answered since the last call, or the start. The clock runs from one answer to another, as they come
    /// in lumps.
    ///
    /// # Errors
    /// Where a connection broke, an answer was no success, or there were fewer than two.
    pub fn rate(&self) -> Result<Rate> {
        let times = self.answered.try_iter().collect::<Result<Vec<Instant>>>()?;
        Rate::between(&times, u64::from(self.rows))
    }

    /// Forgets what was answered so far.
    ///
    /// # Errors
    /// Where a connection broke, or an answer was no success.
    pub fn forget(&self) -> Result<()> {
        self.answered.try_iter().try_for_each(|answer| answer.map(drop))
    }
}

impl Drop for Bulk {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for socket in &self.sockets {
            let _ = socket.shutdown(Shutdown::Both);
        }
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

fn serve(load: &Load, mut connection: Connection, answers: &Sender<Result<Instant>>, stop: &AtomicBool) {
    core_affinity::set_for_current(CoreId { id: load.cpu });
    give_way();
    loop {
        let answer = connection
            .call_in_parts(&load.request)
            .and_then(|answer| answer.success().map(drop));
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let is_end = answer.is_err();
        if answers.send(answer.map(|()| Instant::now())).is_err() || is_end {
            return;
        }
    }
}

/// Makes this thread give way to the urgent client on its processor, at once: by a nice value alone it would keep the
/// processor for some milliseconds first. If it is refused, the figures show it.
fn give_way() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
}
