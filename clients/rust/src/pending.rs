//! A request in flight.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::Error;
use crate::bound::Bound;
use crate::flights::Id;
use crate::terms::Timing;

/// A request that was sent. Its memory is the daemon's, so there is no access to it until the answer is there.
///
/// Waiting gives the request back, whether it succeeded or not; [`Bound::outputs`] has what it gave. It can also be
/// awaited. Dropping it cancels the request.
#[derive(Debug)]
#[must_use = "dropping it cancels the request"]
pub struct Pending {
    /// Until it is given back.
    bound: Option<Bound>,
    /// Boxed, as it is rare, and a request is moved often.
    started: Result<Id, Box<Error>>,
}

/// A request that is back, and how it went.
pub type Finished = (Bound, Result<Timing, Error>);

impl Pending {
    pub(crate) fn new(bound: Bound, started: Result<Id, Error>) -> Self {
        Self {
            bound: Some(bound),
            started: started.map_err(Box::new),
        }
    }

    /// Waits for the answer, as long as the client's timeout says. A request whose answer did not come in time is
    /// cancelled, and stays busy until the answer comes.
    pub fn wait(self) -> Finished {
        let timeout = self.get().connection().timeout;
        self.wait_for(timeout)
    }

    /// Waits for the answer for so long.
    pub fn wait_for(mut self, timeout: Duration) -> Finished {
        match self.take() {
            (mut bound, Ok(id)) => {
                let result = bound.wait(id, timeout);
                (bound, result)
            }
            (bound, Err(error)) => (bound, Err(error)),
        }
    }

    /// The answer, if it is there.
    ///
    /// # Errors
    /// This, when it is not.
    pub fn try_wait(self) -> Result<Finished, Self> {
        if self.is_done() {
            Ok(self.wait())
        } else {
            Err(self)
        }
    }

    /// Whether a wait would not wait.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let Ok(id) = self.started else { return true };
        let connection = self.get().connection();
        connection.with(|core| {
            connection.collect(core);
            core.flights.has_landed(id) || core.check().is_err()
        })
    }

    /// Asks the daemon to stop working on it. The answer still comes: as cancelled, or as done if that was first.
    pub fn cancel(&self) {
        if let Ok(id) = self.started {
            let connection = self.get().connection();
            connection.with(|core| connection.cancel(core, id));
        }
    }

    pub(crate) fn id(&self) -> Option<Id> {
        self.started.as_ref().ok().copied()
    }

    pub(crate) fn get(&self) -> &Bound {
        self.bound
            .as_ref()
            .expect("it is only taken by what consumes this")
    }

    fn take(&mut self) -> (Bound, Result<Id, Error>) {
        let bound = self.bound.take().expect("it is only taken by what consumes this");
        (
            bound,
            std::mem::replace(&mut self.started, Ok(Id(0))).map_err(|error| *error),
        )
    }
}

impl Future for Pending {
    type Output = Finished;

    /// # Panics
    /// When polled after its end.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Finished> {
        let this = &mut *self;
        let bound = this.bound.as_mut().expect("a future is not polled after its end");
        if let Ok(id) = this.started {
            return match bound.poll(id, context) {
                Poll::Ready(result) => Poll::Ready((this.take().0, result)),
                Poll::Pending => Poll::Pending,
            };
        }
        let (bound, started) = this.take();
        Poll::Ready((bound, started.and(Err(Error::Busy))))
    }
}
