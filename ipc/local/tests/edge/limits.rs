//! What one client, and all together, may take.

use mlos_local::Limits;
use mlos_shm::control::{ClientMessage, Close};
use mlos_shm::{Error, Status, limits};

use crate::client::{Client, PATIENCE, hello, until};
use crate::host::Edge;
use mlos_shm::control::ClientSide;

#[test]
fn a_client_has_so_many_models_open_and_may_give_some_back() {
    let edge = Edge::start(Limits::default());
    let client = Client::join(&edge.path);
    for expect in 0..limits::HANDLES_MAX {
        assert_eq!(client.open("test/echo").unwrap().handle, expect);
    }
    let (status, text) = client.open("test/echo").unwrap_err();
    assert_eq!(status, Status::Overloaded, "{text}");
    assert!(text.contains("table of models"), "{text}");
    let close = |handle| {
        let close = ClientMessage::Close(Close { handle });
        client.control.send(&close, PATIENCE).unwrap();
    };
    // What was never given is nobody's to give back.
    close(u32::MAX);
    close(700);
    assert_eq!(client.open("test/echo").unwrap().handle, 700);
    assert!(client.open("test/echo").is_err());
    // Another one has its own.
    assert_eq!(Client::join(&edge.path).open("test/echo").unwrap().handle, 0);
}

#[test]
fn binding_numbers_have_an_end() {
    let edge = Edge::start(Limits::default());
    let mut client = Client::join(&edge.path);
    let handle = client.bound(limits::BINDINGS_MAX - 1, "test/echo");
    assert_eq!(client.ask(limits::BINDINGS_MAX - 1), Status::Ok);
    for number in [limits::BINDINGS_MAX, u32::MAX] {
        assert_eq!(client.bind(number, handle), Status::InvalidArgument);
        assert_eq!(client.ask(number), Status::InvalidArgument);
    }
}

#[test]
fn slots_are_as_many_as_the_daemon_allows() {
    let edge = Edge::start(Limits {
        slots_max: 64,
        ..Limits::default()
    });
    for (asked, given) in [(0, 64), (16, 16), (64, 64), (4096, 64), (1 << 31, 64)] {
        let mut client = match ClientSide::join(&edge.path, hello(asked), PATIENCE) {
            Ok(_) => Client::with_slots(&edge.path, asked),
            Err(error) => panic!("{asked}: {error}"),
        };
        assert_eq!(client.welcome.slots, given, "{asked}");
        client.bound(0, "test/echo");
        for _ in 0..3 * given {
            assert_eq!(client.ask(0), Status::Ok);
        }
    }
}

/// Whoever is let go of makes room, whatever of its was running.
#[test]
fn all_together_have_their_limits_too() {
    let edge = Edge::start(Limits {
        clients_max: 2,
        arenas_bytes_max: 2 << 20,
        ..Limits::default()
    });
    let join = || ClientSide::join(&edge.path, hello(0), PATIENCE);
    for round in 0..20 {
        let mut first = Client::join(&edge.path);
        let second = Client::join(&edge.path);
        first.bound(0, "test/hold");
        first.push(mlos_shm::Request::infer(0, 0));
        let refused = join().err();
        assert!(
            matches!(
                refused,
                Some(Error::Refused {
                    status: Status::Overloaded,
                    ..
                })
            ),
            "{round}: {refused:?}"
        );
        assert_eq!(edge.clients(), 2);
        drop((first, second));
        until("they are gone", || (edge.clients() == 0).then_some(()));
    }
}
