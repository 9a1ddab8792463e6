//! A daemon that goes, is not there, or breaks the protocol.

use std::time::{Duration, Instant};

use mlos_client::{Client, Error, Options, Status, Terms};

use crate::support::Daemon;

#[test]
fn nobody_there_is_an_error_that_names_the_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.sock");
    let error = Client::connect(&path).unwrap_err();
    assert_eq!(error.kind(), Status::Unavailable);
    assert!(error.to_string().contains("none.sock"), "{error}");
}

#[test]
fn a_daemon_that_goes_is_told_at_once_to_who_waits() {
    for spin in [Duration::ZERO, Duration::from_micros(50)] {
        let daemon = Daemon::start();
        let options = Options::default().spin(spin).timeout(Duration::from_secs(60));
        let mut client = options.connect(&daemon.path).unwrap();
        for model in ["t/die", "t/farewell"] {
            let mut bound = daemon.bound(&client, model);
            let held = daemon.bound(&client, "t/hold").submit(&Terms::default());
            let start = Instant::now();
            let error = bound.infer(&Terms::default()).unwrap_err();
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "waited for the timeout"
            );
            assert_eq!(error.kind(), Status::Unavailable);
            let reason = if model == "t/die" {
                "the daemon is gone"
            } else {
                "you asked for it"
            };
            assert!(error.to_string().contains(reason), "{error}");
            // Everybody is told, and memory that the daemon had is not given back.
            let (mut held, result) = held.wait();
            assert!(matches!(result, Err(Error::Gone { .. })));
            assert!(matches!(held.input_mut::<f32>("x"), Err(Error::Gone { .. })));
            assert!(matches!(held.infer(&Terms::default()), Err(Error::Gone { .. })));
            assert!(matches!(client.open("t/double"), Err(Error::Gone { .. })));

            client.reconnect().unwrap();
            let mut again = daemon.bound(&client, "t/double");
            again.infer(&Terms::default()).unwrap();
        }
    }
}

#[test]
fn a_daemon_that_is_killed_and_started_again_is_met_again() {
    let mut daemon = Daemon::start();
    let mut client = Options::default()
        .timeout(Duration::from_secs(60))
        .connect(&daemon.path)
        .unwrap();
    let mut bound = daemon.bound(&client, "t/double");
    bound.infer(&Terms::default()).unwrap();
    let pendings = vec![daemon.bound(&client, "t/hold").submit(&Terms::default())];
    daemon.kill();
    let error = bound.infer(&Terms::default()).unwrap_err();
    assert!(matches!(error, Error::Gone { .. }), "{error}");
    let mut pendings = pendings;
    let (_, result) = client.wait_any(&mut pendings).unwrap().unwrap();
    assert!(matches!(result, Err(Error::Gone { .. })));
    assert!(client.reconnect().is_err(), "nobody is there yet");
    drop(bound);
    let daemon = Daemon::start();
    let client = daemon.client();
    daemon
        .bound(&client, "t/double")
        .infer(&Terms::default())
        .unwrap();
}

#[test]
fn a_timeout_ends_a_wait() {
    let daemon = Daemon::start();
    let options = Options::default().timeout(Duration::from_millis(30));
    let client = options.connect(&daemon.path).unwrap();
    let mut hold = daemon.bound(&client, "t/hold");
    let start = Instant::now();
    let error = hold.infer(&Terms::default()).unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert_eq!(error.to_string(), "no answer from the daemon within 30 ms");
    assert!(start.elapsed() >= Duration::from_millis(30));
    let mut pendings = vec![daemon.bound(&client, "t/hold").submit(&Terms::default())];
    assert!(matches!(
        client.wait_any(&mut pendings),
        Err(Error::TimedOut { .. })
    ));
    assert_eq!(pendings.len(), 1);
}
