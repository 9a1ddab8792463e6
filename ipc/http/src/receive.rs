//! A body from the wire into one piece of memory, within its limits.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use mlos_api::{Error, Service};

use crate::Timer;
use crate::answer::Refusal;
use crate::config::Share;
use crate::gather::Gathered;
use crate::handlers::Desk;
use crate::limits::BODY_RESERVE_BYTES_MAX;
use crate::watch::{Phase, Watch};

/// A whole body, and what it holds of the memory for bodies.
pub(crate) struct Received<'a> {
    pub(crate) bytes: Bytes,
    share: Share<'a>,
}

impl Drop for Received<'_> {
    fn drop(&mut self) {
        // An image that is still being decoded elsewhere keeps its memory.
        if self.bytes.is_unique() {
            self.share.edge().keep(std::mem::take(&mut self.bytes).into());
        }
    }
}

/// Receives a body.
///
/// What is too large by its own word is refused before it is polled, so a client that asked `Expect: 100-continue`
/// never sends it.
pub(crate) async fn receive<'a, S: Service, T: Timer>(
    desk: &'a Desk<S, T>,
    mut body: Incoming,
) -> Result<Received<'a>, Refusal> {
    let announced = body.size_hint().exact();
    let mut share = desk.edge.share();
    take(desk, &mut share, announced.unwrap_or(0))?;
    desk.watch.enter(Phase::Body);

    let Some(first) = piece(&desk.watch, &mut body).await? else {
        return Ok(finished(desk, Bytes::new(), share));
    };
    // A body that came with its head is used as it lies in the connection's buffer.
    if announced == Some(first.len() as u64) {
        return Ok(finished(desk, first, share));
    }
    let reserve = announced
        .unwrap_or(0)
        .clamp(first.len() as u64, BODY_RESERVE_BYTES_MAX.max(first.len() as u64));
    let most = usize::try_from(announced.unwrap_or(desk.edge.config.limits.body_bytes_max)).unwrap_or(0);
    let mut whole = Gathered::Heap(desk.edge.body_buffer(usize::try_from(reserve).unwrap_or(0)));
    let mut next = Some(first);
    while let Some(bytes) = next {
        take(desk, &mut share, (whole.len() + bytes.len()) as u64)?;
        whole.add(&bytes, most).map_err(|_| no_memory())?;
        desk.service.breathe().await;
        next = piece(&desk.watch, &mut body).await?;
    }
    Ok(finished(desk, whole.into(), share))
}

/// Holds `total` bytes against both limits.
fn take<S, T>(desk: &Desk<S, T>, share: &mut Share<'_>, total: u64) -> Result<(), Error> {
    let limit = desk.edge.config.limits.body_bytes_max;
    if total > limit {
        return Err(Error::TooLarge {
            what: "the body",
            got: total,
            limit,
        });
    }
    if !share.grow_to(total) {
        return Err(no_memory());
    }
    Ok(())
}

fn no_memory() -> Error {
    Error::Overloaded {
        what: String::from("the memory for request bodies"),
        retry_after_ms: 1000,
    }
}

fn finished<'a, S, T: Timer>(desk: &Desk<S, T>, bytes: Bytes, share: Share<'a>) -> Received<'a> {
    desk.watch.set_unread(false);
    desk.watch.enter(Phase::Running);
    Received { bytes, share }
}

/// The next piece; none at the end.
async fn piece<T: Timer>(watch: &Watch<T>, body: &mut Incoming) -> Result<Option<Bytes>, Refusal> {
    poll_fn(|cx| poll_piece(watch, body, cx)).await
}

fn poll_piece<T: Timer>(
    watch: &Watch<T>,
    body: &mut Incoming,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<Bytes>, Refusal>> {
    loop {
        if watch.is_late() {
            return Poll::Ready(Err(Refusal::BodyLate));
        }
        match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            None => return Poll::Ready(Ok(None)),
            Some(Err(error)) => return Poll::Ready(Err(Refusal::BodyBroken(error))),
            // Trailers are dropped: nothing here reads them.
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    return Poll::Ready(Ok(Some(bytes)));
                }
            }
        }
    }
}
