//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBuf, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use mlos_api::Service;

use crate::handlers::{self, Desk};
use crate::limits::{LINGER_BYTES_MAX, LINGER_TIME, READ_BUFFER_BYTES_MAX};
use crate::watch::{Alarm, Phase, Watch, Watched};
use crate::{Edge, Error, Limits, Timer, answer};

/// How the driver of a connection came to its end.
enum End {
    Closed(hyper::Result<()>),
    HeadLate,
    Idle,
}

/// Serves one connection until it ends, has been idle for too long, or `shutdown` resolves: then what is in flight
/// is answered, and the connection closed.
///
/// The future is local to its core. Dropping it drops the request that it serves, which cancels it; a client that
/// closes its side while its request runs has the same effect. `shutdown` is polled on each wake, so it should be
/// cheap, as the receiver of a channel is; use [`std::future::pending`] for none.
///
/// # Errors
/// Why the connection ended early. All that is wrong with single requests has been answered to the client.
pub async fn serve_connection<S, IO, T>(
    stream: IO,
    service: S,
    timer: T,
    edge: Rc<Edge>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error>
where
    S: Service,
    IO: Read + Write + Unpin + 'static,
    T: Timer,
{
    let Some(_place) = edge.admit() else {
        write_last(stream, &answer::busy_bytes()).await?;
        return Err(Error::TooManyConnections(edge.connections()));
    };
    let watch = Watch::new(timer);
    let desk = Rc::new(Desk {
        service,
        edge: Rc::clone(&edge),
        watch: Rc::clone(&watch),
    });
    let limits = &edge.config.limits;
    let mut connection = builder(limits).serve_connection(
        Watched::new(stream, Rc::clone(&watch)),
        service_fn(move |request| {
            let desk = Rc::clone(&desk);
            async move { Ok::<_, Infallible>(handlers::answer(&desk, request).await) }
        }),
    );

    let (mut shutdown, mut draining, mut alarm) = (pin!(shutdown), false, Alarm::default());
    let end = poll_fn(|cx| {
        if !draining && shutdown.as_mut().poll(cx).is_ready() {
            draining = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        loop {
            if let Poll::Ready(result) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(End::Closed(result));
            }
            ready!(alarm.poll(&watch, limits, cx));
            match watch.phase() {
                // The receiver of the body sees it on the next turn of this loop, and answers.
                Phase::Body => watch.set_late(),
                Phase::Head => return Poll::Ready(End::HeadLate),
                Phase::Idle | Phase::Running => return Poll::Ready(End::Idle),
            }
        }
    })
    .await;

    match end {
        End::Closed(result) => {
            if watch.is_unread() {
                linger(connection.into_parts().io.stream, &watch.timer).await;
            }
            Ok(result?)
        }
        End::HeadLate => {
            write_last(connection.into_parts().io.stream, &answer::head_late_bytes()).await?;
            Err(Error::HeadTime(limits.header_time))
        }
        End::Idle => Ok(()),
    }
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // A client that closes its side has gone: its request is cancelled.
        .half_close(false)
        // Head and body of an answer are laid into one buffer and leave in one write. Large answers pay a copy for
        // it, which is a small part of what it took to print their numbers.
        .writev(false)
        .max_header_size(limits.header_bytes_max)
        .max_buf_size(READ_BUFFER_BYTES_MAX.max(limits.header_bytes_max));
    builder
}

/// Writes an answer that ends the connection.
async fn write_last<IO: Write + Unpin>(mut stream: IO, mut bytes: &[u8]) -> io::Result<()> {
    poll_fn(|cx| {
        while !bytes.is_empty() {
            let written = ready!(Pin::new(&mut stream).poll_write(cx, bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            bytes = &bytes[written..];
        }
        ready!(Pin::new(&mut stream).poll_flush(cx))?;
        Pin::new(&mut stream).poll_shutdown(cx)
    })
    .await
}

/// Reads on for a moment after an early answer. A socket that is closed with unread bytes resets the connection,
/// and the client may then lose the very answer that tells it to stop.
async fn linger<IO: Read + Unpin, T: Timer>(mut stream: IO, timer: &T) {
    let mut patience = pin!(timer.sleep(LINGER_TIME));
    let mut buffer = vec![0; 64 << 10];
    let mut left = LINGER_BYTES_MAX;
    poll_fn(|cx| {
        if patience.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        while let Ok(read) = ready!(poll_discard(&mut stream, cx, &mut buffer)) {
            left = left.saturating_sub(read);
            if read == 0 || left == 0 {
                break;
            }
        }
        Poll::Ready(())
    })
    .await;
}

fn poll_discard<IO: Read + Unpin>(
    stream: &mut IO,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<u64>> {
    let mut buffer = ReadBuf::new(buffer);
    ready!(Pin::new(stream).poll_read(cx, buffer.unfilled()))?;
    Poll::Ready(Ok(buffer.filled().len() as u64))
}
