//! Requests for what is in use, given back, or nobody's; and who does not listen.

use std::sync::atomic::Ordering::SeqCst;

use mlos_local::Limits;
use mlos_shm::control::{ClientMessage, Close};
use mlos_shm::{Request, Sleep, Status};

use crate::client::{Client, PATIENCE, until};
use crate::host::Edge;

/// Nothing that a request uses is taken from under it.
#[test]
fn what_is_being_asked_stays_bound_until_its_answer() {
    let edge = Edge::start(Limits::default());
    let mut client = Client::join(&edge.path);
    let handle = client.bound(0, "test/hold");
    client.bound(1, "test/release");
    let held = client.push(Request::infer(0, 0));
    // The ring and the socket know nothing of each other's order.
    until("it is asked", || {
        (edge.seen.asked.load(SeqCst) == 1).then_some(())
    });
    // Given back, but in use.
    let close = ClientMessage::Close(Close { handle });
    client.control.send(&close, PATIENCE).unwrap();
    // An answer to a later question says that this one was heard.
    let again = client.open("test/echo").unwrap().handle;
    assert_eq!(again, handle, "the number is free");

    assert_eq!(client.ask(0), Status::Conflict);
    assert_eq!(client.bind(0, again), Status::Conflict);
    let unbind = client.push(Request::unbind(0, 0));
    assert_eq!(client.answer(unbind).status, Status::Conflict);
    assert_eq!(edge.seen.dropped.load(SeqCst), 0);

    let release = client.push(Request::infer(0, 1));
    assert_eq!(client.answer(release).status, Status::Ok);
    assert_eq!(client.answer(held).status, Status::Ok);
    let unbind = client.push(Request::unbind(0, 0));
    assert_eq!(client.answer(unbind).status, Status::Ok);
    assert_eq!(client.ask(0), Status::InvalidArgument);
    let unbind = client.push(Request::unbind(0, 0));
    assert_eq!(client.answer(unbind).status, Status::NotFound);
    assert_eq!(edge.seen.dropped.load(SeqCst), 1);
}

#[test]
fn closing_a_model_forgets_what_was_bound_to_it() {
    let edge = Edge::start(Limits::default());
    let mut client = Client::join(&edge.path);
    let handle = client.bound(0, "test/echo");
    assert_eq!(client.bind(1, handle), Status::Ok);
    client.bound(2, "test/echo");
    let close = ClientMessage::Close(Close { handle });
    client.control.send(&close, PATIENCE).unwrap();
    until("both are gone", || {
        (edge.seen.dropped.load(SeqCst) == 2).then_some(())
    });
    assert_eq!(client.ask(0), Status::InvalidArgument);
    assert_eq!(client.ask(2), Status::Ok);
    assert_eq!(client.bind(0, handle), Status::InvalidArgument);
}

#[test]
fn a_cancel_reaches_what_it_names_and_nothing_else() {
    let edge = Edge::start(Limits::default());
    let mut client = Client::join(&edge.path);
    client.bound(0, "test/hold");
    client.bound(1, "test/echo");
    let held = client.push(Request::infer(0, 0));
    for nobodys in [0, held + 1, u64::MAX] {
        client.push_as_it_is(Request::cancel(nobodys));
    }
    // Another client's requests are another's, whatever their numbers.
    let mut other = Client::join(&edge.path);
    other.bound(0, "test/echo");
    other.push_as_it_is(Request::cancel(held));
    assert_eq!(other.ask(0), Status::Ok);
    assert_eq!(client.ask(1), Status::Ok);
    assert_eq!(edge.seen.cancelled.load(SeqCst), 0);
    client.push_as_it_is(Request::cancel(held));
    assert_eq!(client.answer(held).status, Status::Cancelled);
    assert_eq!(edge.seen.cancelled.load(SeqCst), 1);
}

#[test]
fn what_a_client_leaves_behind_is_dropped_and_its_answers_go_nowhere() {
    let edge = Edge::start(Limits::default());
    let mut other = Client::join(&edge.path);
    other.bound(0, "test/release");
    for round in 1..=50 {
        let mut client = Client::join(&edge.path);
        for number in 0..4 {
            client.bound(number, "test/hold");
            client.push(Request::infer(0, number));
        }
        until("they are asked", || {
            (edge.seen.asked.load(SeqCst) == 5 * round - 1).then_some(())
        });
        drop(client);
        // While it goes, and after.
        assert_eq!(other.ask(0), Status::Ok);
        until("all is dropped", || {
            (edge.seen.dropped.load(SeqCst) == 4 * round).then_some(())
        });
    }
    assert_eq!(edge.seen.bound.load(SeqCst), 201);
}

/// It says that it sleeps on its descriptor, which is rung for each answer, and never reads it.
#[test]
fn a_client_that_never_reads_its_bell_is_served_and_holds_nobody_up() {
    let edge = Edge::start(Limits::default());
    let mut deaf = Client::join(&edge.path);
    let mut other = Client::join(&edge.path);
    deaf.bound(0, "test/echo");
    other.bound(0, "test/echo");
    for _ in 0..20_000 {
        deaf.side.bell.arm(Sleep::OnDescriptor);
        assert_eq!(deaf.ask(0), Status::Ok);
    }
    assert_eq!(other.ask(0), Status::Ok);
    assert!(!deaf.side.bell.is_daemon_gone());
}

/// At its end a daemon answers what it was asked, and refuses what is new.
#[test]
fn a_daemon_that_ends_finishes_what_it_began() {
    let mut edge = Edge::start(Limits::default());
    let mut client = Client::join(&edge.path);
    client.bound(0, "test/hold");
    client.bound(1, "test/echo");
    let held = client.push(Request::infer(0, 0));
    assert_eq!(client.ask(1), Status::Ok);
    edge.stop();
    until("it stops", || {
        (client.ask(1) == Status::Unavailable).then_some(())
    });
    assert!(!client.side.bell.is_daemon_gone(), "it waits for what runs");
    client.push_as_it_is(Request::cancel(held));
    assert_eq!(client.answer(held).status, Status::Cancelled);
    until("it lets go", || client.side.bell.is_daemon_gone().then_some(()));
}
