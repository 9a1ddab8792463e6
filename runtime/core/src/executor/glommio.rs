//! glommio: one io_uring executor per core.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::glommio::net::{Preallocated, TcpListener, TcpStream};
use ::glommio::{
    GlommioError, Latency, LocalExecutorBuilder, Placement, Shares, TaskQueueHandle, executor,
    spawn_local_into,
};
use futures_lite::{AsyncBufRead, AsyncWrite};
use hyper::rt::{self, ReadBufCursor};

use super::ExecutorConfig;

/// Shares of the front queue against one of the bulk queue.
const FRONT_SHARES: usize = 1000;
/// Bytes that one read takes from a socket: large bodies come in few system calls, small requests in one.
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// Registered memory of each ring. Files are not read through it, so the least will do.
const IO_MEMORY_BYTES: usize = 1 << 20;

/// The queues of this thread's executor.
#[derive(Debug, Clone, Copy)]
struct Queues {
    front: TaskQueueHandle,
    bulk: TaskQueueHandle,
}

thread_local! {
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
            .preempt_timer(config.slice)
            .make();
        let made = match made {
            Ok(made) => made,
            Err(error) => return drop(ready_tx.send(Err(explain(&error)))),
        };
        made.run(async move {
            let front = executor().create_task_queue(
                Shares::Static(FRONT_SHARES),
                Latency::Matters(config.front_latency),
                "front",
            );
            let bulk =
                executor().create_task_queue(Shares::Static(1), Latency::Matters(config.slice), "bulk");
            QUEUES.set(Some(Queues { front, bulk }));
            let _ = ready_tx.send(Ok(()));
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
    LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(IO_MEMORY_BYTES)
        .make()
        .map(drop)
        .map_err(|error| explain(&error))
}

fn explain<T>(error: &GlommioError<T>) -> io::Error
where
    GlommioError<T>: std::fmt::Display,
{
    let text = error.to_string();
    let advice = if text.contains("memlock") || text.contains("os error 12") {
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
pub fn spawn<F: Future<Output = ()> + 'static>(future: F) {
    spawn_local_into(future, queues().front)
        .expect("the front queue lives as long as its executor")
        .detach();
}

/// Runs a future on this core as cooperative bulk work: it gives way wherever it asks [`need_preempt`].
pub fn spawn_bulk<F: Future<Output = ()> + 'static>(future: F) {
    spawn_local_into(future, queues().bulk)
        .expect("the bulk queue lives as long as its executor")
        .detach();
}

/// Whether I/O has completed, or the slice has passed: a read of memory, no system call.
#[must_use]
pub fn need_preempt() -> bool {
    executor().need_preempt()
}

/// Lets the other tasks of this core run if something waits.
pub async fn yield_now() {
    executor().yield_if_needed().await;
}

/// Gives the core away from the bulk queue, for long enough that what I/O has woken runs first.
///
/// Twice, since the first pass only reaps completions: the woken tasks are queued behind this one, and without the
/// second pass bulk work would run once more before them.
pub async fn yield_bulk() {
    executor().yield_task_queue_now().await;
    executor().yield_task_queue_now().await;
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
        Ok(Io(stream.buffered_with(Preallocated::new(READ_BUFFER_BYTES))))
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
        let taken = filled.len().min(cursor.remaining());
        cursor.put_slice(&filled[..taken]);
        Pin::new(&mut self.0).consume(taken);
        Poll::Ready(Ok(()))
    }
}

impl rt::Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}
