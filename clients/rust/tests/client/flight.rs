//! Many in flight: out of order, cancelled, dropped.

use std::sync::atomic::Ordering;
use std::time::Duration;

use mlos_client::{Bound, Error, Status, Terms};

use crate::support::Daemon;

fn filled(mut bound: Bound, value: usize) -> Bound {
    bound.input_mut::<f32>("x").unwrap().fill(value as f32);
    bound
}

fn first(bound: &Bound) -> f32 {
    bound.outputs().unwrap().get::<f32>("y").unwrap()[0]
}

#[test]
fn answers_come_out_of_order() {
    let daemon = Daemon::start();
    for client in [daemon.client(), daemon.sleeper()] {
        let held: Vec<_> = (0..5)
            .map(|n| filled(daemon.bound(&client, "t/hold"), n).submit(&Terms::default()))
            .collect();
        assert!(held.iter().all(|pending| !pending.is_done()));
        let mut release = daemon.bound(&client, "t/release");
        release.infer(&Terms::default()).unwrap();
        assert!(held.iter().all(mlos_client::Pending::is_done));
        for (n, pending) in held.into_iter().enumerate() {
            let (bound, result) = pending.wait();
            result.unwrap();
            assert_eq!(first(&bound), 2.0 * n as f32);
        }
    }
}

#[test]
fn whichever_is_first_is_taken() {
    let daemon = Daemon::start();
    let client = daemon.client();
    let mut pendings = vec![
        filled(daemon.bound(&client, "t/hold"), 1).submit(&Terms::default()),
        filled(daemon.bound(&client, "t/double"), 2).submit(&Terms::default()),
    ];
    let (bound, result) = client.wait_any(&mut pendings).unwrap().unwrap();
    result.unwrap();
    assert_eq!(first(&bound), 4.0);
    pendings.push(filled(daemon.bound(&client, "t/release"), 3).submit(&Terms::default()));
    let mut seen = Vec::new();
    while let Some((bound, result)) = client.wait_any(&mut pendings).unwrap() {
        result.unwrap();
        seen.push(first(&bound));
    }
    seen.sort_by(f32::total_cmp);
    assert_eq!(seen, [2.0, 6.0]);

    let other = daemon.client();
    pendings.push(daemon.bound(&other, "t/double").submit(&Terms::default()));
    assert!(matches!(
        client.wait_any(&mut pendings),
        Err(Error::OtherConnection)
    ));
}

#[test]
fn a_cancelled_request_is_answered_as_cancelled() {
    let daemon = Daemon::start();
    let client = daemon.client();
    let pending = daemon.bound(&client, "t/hold").submit(&Terms::default());
    pending.cancel();
    let (mut bound, result) = pending.wait();
    let error = result.unwrap_err();
    assert_eq!(error.kind(), Status::Cancelled);
    assert_eq!(error.to_string(), "cancelled, as you asked");
    bound.input_mut::<f32>("x").unwrap().fill(1.0);
    // One that is done already is not changed by it.
    let pending = daemon.bound(&client, "t/double").submit(&Terms::default());
    let bound = daemon.bound(&client, "t/double");
    pending.cancel();
    pending.wait().1.unwrap();
    drop(bound);
}

#[test]
fn dropping_what_is_in_flight_cancels_it_and_keeps_its_memory_until_the_answer() {
    let daemon = Daemon::start();
    let client = daemon.client();
    let before = client.arena();
    let bound = daemon.bound(&client, "t/hold");
    let with_one = client.arena();
    drop(bound.submit(&Terms::default()));
    assert_eq!(client.arena(), with_one, "the daemon still has it");
    // An answer to what comes later says that the cancel was read, and answered.
    let mut double = daemon.bound(&client, "t/double");
    double.infer(&Terms::default()).unwrap();
    assert_eq!(daemon.cancels.load(Ordering::SeqCst), 1);
    drop(double);
    drop(daemon.bound(&client, "t/double"));
    assert_eq!(client.arena(), before);
    assert_eq!(client.arena().loans, 0);
}

#[test]
fn more_than_the_slots_are_refused_and_can_be_sent_again() {
    let daemon = Daemon::start();
    let client = daemon.client();
    assert_eq!(client.slots(), 8);
    let bound: Vec<_> = (0..9).map(|_| daemon.bound(&client, "t/hold")).collect();
    let mut release = daemon.bound(&client, "t/release");
    let mut pendings: Vec<_> = bound
        .into_iter()
        .map(|bound| bound.submit(&Terms::default()))
        .collect();
    let (bound, result) = pendings.pop().unwrap().wait();
    assert_eq!(result.unwrap_err().kind(), Status::Overloaded);
    assert!(matches!(
        release.infer(&Terms::default()),
        Err(Error::TooManyInFlight { slots: 8 })
    ));
    pendings[3].cancel();
    let error = pendings.remove(3).wait().1.unwrap_err();
    assert_eq!(error.kind(), Status::Cancelled);
    release.infer(&Terms::default()).unwrap();
    for pending in pendings {
        pending.wait().1.unwrap();
    }
    drop(bound);
}

#[test]
fn a_request_that_timed_out_is_busy_until_its_answer() {
    let daemon = Daemon::start();
    let client = daemon.client();
    let pending = daemon.bound(&client, "t/hold").submit(&Terms::default());
    let (mut bound, result) = pending.wait_for(Duration::ZERO);
    let error = result.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert!(matches!(bound.input_mut::<f32>("x"), Err(Error::Busy)));
    // It was cancelled; an answer to what comes later comes after that of the cancelled.
    daemon
        .bound(&client, "t/double")
        .infer(&Terms::default())
        .unwrap();
    // Its memory comes back when it is used again.
    let pending = bound.submit(&Terms::default());
    daemon
        .bound(&client, "t/release")
        .infer(&Terms::default())
        .unwrap();
    let (bound, result) = pending.wait();
    result.unwrap();
    assert_eq!(first(&bound), 0.0);
}

#[test]
fn a_client_and_its_requests_move_to_another_thread() {
    let daemon = Daemon::start();
    let client = daemon.client();
    let bound = daemon.bound(&client, "t/double");
    let sum = std::thread::spawn(move || {
        let mut bound = filled(bound, 21);
        bound.infer(&Terms::default()).unwrap();
        let again = client.open("t/double").unwrap().request().bind().unwrap();
        first(&bound)
            + filled(again, 1)
                .submit(&Terms::default())
                .wait()
                .0
                .outputs()
                .unwrap()
                .at::<f32>(0)
                .unwrap()[3]
    });
    assert_eq!(sum.join().unwrap(), 44.0);
}

#[test]
fn several_threads_with_a_client_each() {
    let daemon = Daemon::start();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let daemon = &daemon;
            scope.spawn(move || {
                let client = daemon.client();
                let mut bound = daemon.bound(&client, "t/double");
                for round in 0..200 {
                    bound = filled(bound, 1000 * thread + round);
                    bound.infer(&Terms::default()).unwrap();
                    assert_eq!(first(&bound), 2.0 * (1000 * thread + round) as f32);
                }
            });
        }
    });
}
