//! Actors: state that only one task touches, spoken to by messages, and restarted when it panics.
//!
//! An actor that panics loses the message it was handling — whose sender sees its reply channel closed — and its
//! state, which is made anew. Messages that wait are handled by the new one. Nobody else notices.

use std::panic::AssertUnwindSafe;

use async_channel::{Receiver, Sender};
use futures_lite::FutureExt;
use tracing::error;

use crate::{clock, limits};

/// Where messages are put; as many as one likes, from any thread.
pub type Mailbox<M> = Sender<M>;

/// State that handles messages one after the other.
pub trait Actor {
    /// What it is told.
    type Message;

    /// Handles one message. A panic in here restarts the actor.
    async fn handle(&mut self, message: Self::Message);
}

/// Runs actors made by `make` on the messages of `inbox`, until every sender is gone.
///
/// Ends the process when the actor has panicked more than [`limits::RESTARTS_MAX`] times within
/// [`limits::RESTART_WINDOW_MS`]: then restarting does not help, and a daemon that ends is better than one that seems
/// to work.
pub async fn supervise<A: Actor>(name: &str, inbox: Receiver<A::Message>, mut make: impl FnMut() -> A) {
    let mut actor = make();
    let mut restarts = Restarts::default();
    while let Ok(message) = inbox.recv().await {
        if AssertUnwindSafe(actor.handle(message))
            .catch_unwind()
            .await
            .is_err()
        {
            error!(
                actor = name,
                "panicked; it starts anew, and the caller of this message gets an error"
            );
            if !restarts.admit(clock::now_ns() / 1_000_000) {
                error!(actor = name, "panics on every message; the process gives up");
                std::process::abort();
            }
            actor = make();
        }
    }
}

/// Makes a bounded mailbox and the end that [`supervise`] reads.
#[must_use]
pub fn mailbox<M>(capacity: usize) -> (Mailbox<M>, Receiver<M>) {
    async_channel::bounded(capacity)
}

#[derive(Default)]
struct Restarts {
    window_start_ms: u64,
    count: usize,
}

impl Restarts {
    fn admit(&mut self, now_ms: u64) -> bool {
        if now_ms.saturating_sub(self.window_start_ms) > limits::RESTART_WINDOW_MS {
            *self = Self {
                window_start_ms: now_ms,
                count: 0,
            };
        }
        self.count += 1;
        self.count <= limits::RESTARTS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_channel::oneshot;

    struct Counter {
        count: u32,
    }

    enum Message {
        Add(u32, oneshot::Sender<u32>),
        Fail(oneshot::Sender<u32>),
    }

    impl Actor for Counter {
        type Message = Message;
        async fn handle(&mut self, message: Message) {
            match message {
                Message::Add(by, reply) => {
                    self.count += by;
                    let _ = reply.send(self.count);
                }
                Message::Fail(_reply) => panic!("asked to"),
            }
        }
    }

    #[test]
    fn a_panic_costs_one_message_and_the_state() {
        let (mailbox, inbox) = mailbox(8);
        let mut answers = Vec::new();
        for message in 0..4 {
            let (reply, answer) = oneshot::channel();
            answers.push(answer);
            let message = if message == 2 {
                Message::Fail(reply)
            } else {
                Message::Add(5, reply)
            };
            mailbox.try_send(message).unwrap();
        }
        drop(mailbox);
        futures_lite::future::block_on(supervise("counter", inbox, || Counter { count: 0 }));
        let got: Vec<Option<u32>> = answers
            .into_iter()
            .map(|mut answer| answer.try_recv().ok().flatten())
            .collect();
        assert_eq!(got, [Some(5), Some(10), None, Some(5)]);
    }

    #[test]
    fn restarts_are_bounded_within_a_window() {
        let mut restarts = Restarts::default();
        assert!((0..limits::RESTARTS_MAX).all(|_| restarts.admit(1)));
        assert!(!restarts.admit(2));
        assert!(restarts.admit(limits::RESTART_WINDOW_MS + 10));
    }
}
