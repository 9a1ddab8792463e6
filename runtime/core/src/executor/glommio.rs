//! glommio: one io_uring executor per core.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::glommio::net::{Preallocated, TcpListener, TcpStream};
use ::glommio::{
    GlommioError, Latency, LocalExecutorBuilder, Placement, Shares, TaskQueueHandle, executor,
    spawn_local_into,
};
use futures_lite::{AsyncBufRead, AsyncWrite, FutureExt};
use hyper::rt::{self, ReadBufCursor};

use super::{ExecutorConfig, awake, news};
use crate::clock;

/// Shares of the front queue against one of the bulk queue.
const FRONT_SHARES: usize = 1000;
/// Bytes that one read takes from a socket: large bodies come in few system calls, small requests in one.
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// Registered memory of each ring. Files are not read through it, so the least will do.
const IO_MEMORY_BYTES: usize = 1 << 20;

/// Later than the task that asks, earlier than anything else.
const DUE_AT_ONCE: Duration = Duration::from_micros(1);
/// How long to look for I/O before going to sleep, whatever else the core has to do: longer than [`DUE_AT_ONCE`], no
/// more. Where the core has nothing else to do, [`awake`] looks for longer.
const SPIN: Duration = Duration::from_micros(5);
/// See [`heartbeat`]. Ten times a second costs nothing that can be measured.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// The queues of this thread's executor.
#[derive(Debug, Clone, Copy)]
struct Queues {
    front: TaskQueueHandle,
    bulk: TaskQueueHandle,
}

thread_local! {
    /// When a connection last brought something; 0 if none has.
    static HEARD_NS: Cell<u64> = const { Cell::new(0) };
    static QUEUES: RefCell<Option<Queues>> = const { RefCell::new(None) };
}

/// Starts a thread pinned to `config.cpu` that runs the future of `main` until it ends.
///
/// # Errors
/// Where the thread or its rings cannot be made; the text says what to permit.
pub fn run_on<G, F>(config: ExecutorConfig, main: G) -> io::Result<std::thread::JoinHandle<()>>
where
    G: FnOnce() -> F + Send + 'static,
    F: Future<Output = ()> + 'static,
{
    let (ready_tx, ready_rx) = std::sync::mpsc::sync_channel(1);
    let name = config.name.clone();
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let made = LocalExecutorBuilder::new(Placement::Fixed(config.cpu))
            .name(&config.name)
            .io_memory(IO_MEMORY_BYTES)
            .spin_before_park(SPIN)
            .make();
        let made = match made {
            Ok(made) => made,
            Err(error) => return drop(ready_tx.send(Err(explain(&error)))),
        };
        made.run(async move {
            let queue = |shares, name| {
                executor().create_task_queue(Shares::Static(shares), Latency::NotImportant, name)
            };
            let (front, bulk) = (queue(FRONT_SHARES, "front"), queue(1, "bulk"));
            QUEUES.set(Some(Queues { front, bulk }));
            let _ = ready_tx.send(Ok(()));
            spawn(heartbeat());
            spawn(awake::keep_awake(yield_to_io));
            let done = spawn_local_into(main(), front).expect("the front queue was just made");
            done.await;
        });
    })?;
    match ready_rx.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::other("the executor's thread ended while starting")),
    }
}

/// Whether this process may use io_uring as the executor needs it.
///
/// # Errors
/// Says what forbids it, and how to permit it.
pub fn permitted() -> io::Result<()> {
    let make = || {
        LocalExecutorBuilder::new(Placement::Unbound)
            .io_memory(IO_MEMORY_BYTES)
            .make()
            .map(drop)
            .map_err(|error| explain(&error))
    };
    // Where the first call to io_uring is refused, glommio panics, and guesses at the kernel's age.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let made = std::panic::catch_unwind(make);
    std::panic::set_hook(hook);
    made.unwrap_or_else(|_| Err(advise("the kernel refused to say what its io_uring can do")))
}

fn explain<T>(error: &GlommioError<T>) -> io::Error
where
    GlommioError<T>: std::fmt::Display,
{
    advise(&error.to_string())
}

fn advise(text: &str) -> io::Error {
    let lower = text.to_lowercase();
    let advice = if lower.contains("memlock") || lower.contains("os error 12") {
        "io_uring needs locked memory: raise it with `ulimit -l 8192`, LimitMEMLOCK=8M in a unit, or \
         `--ulimit memlock=8388608:8388608` for a container"
    } else {
        "io_uring is not permitted here: see /proc/sys/kernel/io_uring_disabled, and in a container allow the calls \
         io_uring_setup, io_uring_enter and io_uring_register in its seccomp profile \
         (`--security-opt seccomp=PROFILE.json`)"
    };
    io::Error::new(io::ErrorKind::PermissionDenied, format!("{advice} ({text})"))
}

fn queues() -> Queues {
    QUEUES.with_borrow(|queues| queues.expect("called on a thread of the executor"))
}

/// Runs a future on this core, beside the connections.
///
/// A panic ends the future, not its core: what it held is dropped, so whoever waits for it gets an error.
pub fn spawn<F: Future<Output = ()> + 'static>(future: F) {
    spawn_local_into(contained(future), queues().front)
        .expect("the front queue lives as long as its executor")
        .detach();
}

/// Runs a future on this core as cooperative bulk work: it gives way where it awaits [`yield_to_io`].
pub fn spawn_bulk<F: Future<Output = ()> + 'static>(future: F) {
    spawn_local_into(contained(future), queues().bulk)
        .expect("the bulk queue lives as long as its executor")
        .detach();
}

async fn contained(future: impl Future<Output = ()>) {
    if AssertUnwindSafe(future).catch_unwind().await.is_err() {
        tracing::error!("a task panicked and was ended");
    }
}

/// Gives the core away until every task that can run has run, and completed I/O has woken its tasks.
///
/// By a timer that is due at once, since neither of glommio's own yields looks for I/O: network readiness is polled on
/// a ring that `need_preempt` does not watch, and rings are read only when no queue has a task, or when the preemption
/// timer of 100 ms fires.
pub async fn yield_to_io() {
    ::glommio::timer::sleep(DUE_AT_ONCE).await;
}

/// Bounds what a lost wake-up costs. glommio 0.9 goes to sleep although a task can run when its preemption timer
/// fires between arming it and looking at the queues, which takes a thread that is kept off its core for just then.
async fn heartbeat() {
    loop {
        ::glommio::timer::sleep(HEARTBEAT).await;
    }
}

/// Whether a connection has come, or the timer by which tasks share the core has rung.
pub(super) fn is_wanted() -> bool {
    executor().need_preempt()
}

/// When this core last received something over a connection; 0 if it never has.
#[must_use]
pub fn heard_ns() -> u64 {
    HEARD_NS.get()
}

/// Waits.
pub async fn sleep(duration: Duration) {
    ::glommio::timer::sleep(duration).await;
}

/// Accepts connections; every shard binds the same address and the kernel spreads them (`SO_REUSEPORT`).
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Listens on the address.
    ///
    /// # Errors
    /// As `bind(2)` and `listen(2)`.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        TcpListener::bind(address).map(Self).map_err(io::Error::from)
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    /// As `accept(2)`, out of descriptors above all.
    pub async fn accept(&self) -> io::Result<Io> {
        let stream = self.0.accept().await.map_err(io::Error::from)?;
        stream.set_nodelay(true).map_err(io::Error::from)?;
        news::listen_to(&stream);
        Ok(Io(stream.buffered_with(Preallocated::new(READ_BUFFER_BYTES))))
    }
}

/// What an [`Event`] is made of.
pub use ::glommio::io::BufferedFile as EventFile;

/// An event counter (`eventfd(2)`) that this core waits for.
#[derive(Debug)]
pub struct Event(EventFile);

impl Event {
    /// Takes the counter.
    #[must_use]
    pub fn new(counter: EventFile) -> Self {
        news::listen_to(&counter);
        Self(counter)
    }

    /// Waits until it has been raised, and sets it to zero.
    ///
    /// # Errors
    /// As `read(2)`.
    pub async fn wait(&self) -> io::Result<()> {
        let counted = self.0.read_at(0, size_of::<u64>()).await;
        counted.map(drop).map_err(io::Error::from)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // Whoever raises the counter has it open as well, perhaps for longer.
        news::forget(&self.0);
    }
}

/// A connection, as hyper wants it.
#[derive(Debug)]
pub struct Io(TcpStream<Preallocated>);

impl rt::Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = ready!(Pin::new(&mut self.0).poll_fill_buf(cx))?;
        HEARD_NS.set(clock::now_ns());
        let taken = filled.len().min(cursor.remaining());
        cursor.put_slice(&filled[..taken]);
        Pin::new(&mut self.0).consume(taken);
        Poll::Ready(Ok(()))
    }
}

impl rt::Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.0).poll_write(cx, bytes);
        awake::answered();
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}
