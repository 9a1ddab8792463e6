//! Requests awaited by tasks, under two runtimes.

use std::os::fd::AsFd;

use mlos_client::{Error, Status, Terms};
use rustix::event::{PollFd, PollFlags, poll};

use crate::support::Daemon;

#[test]
fn any_executor_that_watches_the_descriptor_will_do() {
    let daemon = Daemon::start();
    let client = daemon.client();
    let driver = client.driver();
    let watcher = std::thread::spawn(move || {
        loop {
            poll(&mut [PollFd::new(&driver.as_fd(), PollFlags::IN)], None).unwrap();
            if let Err(error) = driver.on_readable() {
                return error;
            }
        }
    });
    futures_lite::future::block_on(async {
        let mut double = daemon.bound(&client, "t/double");
        for round in 0..500 {
            double.input_mut::<f32>("x").unwrap().fill(round as f32);
            let outputs = double.infer_async(&Terms::default()).await.unwrap();
            assert_eq!(outputs.get::<f32>("y").unwrap()[0], 2.0 * round as f32);
        }
        let held = daemon.bound(&client, "t/hold").submit(&Terms::default());
        let release = daemon.bound(&client, "t/release").submit(&Terms::default());
        let ((_, held), (_, release)) = futures_lite::future::zip(held, release).await;
        held.unwrap();
        release.unwrap();
        let error = daemon
            .bound(&client, "t/fail")
            .infer_async(&Terms::default())
            .await
            .map(drop)
            .unwrap_err();
        assert_eq!(error.kind(), Status::ModelFailed);
        let error = daemon
            .bound(&client, "t/die")
            .infer_async(&Terms::default())
            .await
            .map(drop)
            .unwrap_err();
        assert!(matches!(error, Error::Gone { .. }), "{error}");
    });
    assert!(matches!(watcher.join().unwrap(), Error::Gone { .. }));
}

#[test]
fn waiting_in_both_ways_at_once_loses_no_wake_up() {
    let daemon = Daemon::start();
    let client = daemon.sleeper();
    let driver = client.driver();
    let watcher = std::thread::spawn(move || {
        loop {
            poll(&mut [PollFd::new(&driver.as_fd(), PollFlags::IN)], None).unwrap();
            if driver.on_readable().is_err() {
                return;
            }
        }
    });
    let held = daemon.bound(&client, "t/hold").submit(&Terms::default());
    let mut blocking = daemon.bound(&client, "t/double");
    let release = daemon.bound(&client, "t/release");
    let task = std::thread::spawn(move || futures_lite::future::block_on(held));
    for _ in 0..200 {
        blocking.infer(&Terms::default()).unwrap();
    }
    // The task still waits for the descriptor, whatever those waits did with the word.
    release.submit(&Terms::default()).wait().1.unwrap();
    task.join().unwrap().1.unwrap();
    drop(
        daemon
            .bound(&client, "t/die")
            .infer(&Terms::default())
            .map(drop)
            .unwrap_err(),
    );
    watcher.join().unwrap();
}

mod under_tokio {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn tokio_drives_many_tasks_on_one_client() {
        let daemon = Daemon::start();
        let client = daemon.client();
        let driver = tokio::spawn(client.driver().run());
        let mut tasks = Vec::new();
        for n in 0..6 {
            let mut bound = daemon.bound(&client, "t/double");
            tasks.push(tokio::spawn(async move {
                for round in 0..200 {
                    let x = (1000 * n + round) as f32;
                    bound.input_mut::<f32>("x").unwrap().fill(x);
                    let outputs = bound.infer_async(&Terms::default()).await.unwrap();
                    assert_eq!(outputs.get::<f32>("y").unwrap()[3], 2.0 * x);
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        // Given up by its task, cancelled, and its memory back with its answer.
        let held = daemon.bound(&client, "t/hold").submit(&Terms::default());
        let late = tokio::time::timeout(std::time::Duration::from_millis(5), held).await;
        assert!(late.is_err());
        daemon
            .bound(&client, "t/double")
            .infer_async(&Terms::default())
            .await
            .map(drop)
            .unwrap();
        assert!(
            daemon
                .bound(&client, "t/die")
                .infer_async(&Terms::default())
                .await
                .is_err()
        );
        assert!(matches!(driver.await.unwrap(), Error::Gone { .. }));
    }
}
