//! Clients in the background.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use mlos_tests::{Answer, Client, Daemon};
use serde_json::Value;

/// Threads that ask the same again and again, until they are stopped or an answer is not as it should be.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<usize>>,
}

impl Traffic {
    /// Starts so many clients; `check` looks at every answer.
    pub fn start(
        daemon: &Daemon,
        clients: usize,
        model: &str,
        body: &Value,
        check: impl Fn(&Answer) + Clone + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let (mut client, stop) = (daemon.client(), stop.clone());
            let (model, body, check) = (model.to_owned(), body.clone(), check.clone());
            std::thread::spawn(move || ask_until(&mut client, &stop, &model, &body, check))
        };
        Self {
            clients: (0..clients).map(client).collect(),
            stop,
        }
    }

    /// Stops, and says how many answers came.
    #[track_caller]
    pub fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let count = |client: JoinHandle<usize>| client.join().expect("every answer was as it should be");
        self.clients.into_iter().map(count).sum()
    }
}

fn ask_until(
    client: &mut Client,
    stop: &AtomicBool,
    model: &str,
    body: &Value,
    check: impl Fn(&Answer),
) -> usize {
    let mut answers = 0;
    while !stop.load(Ordering::Relaxed) {
        check(&client.infer(model, body));
        answers += 1;
    }
    answers
}
