//! Messages that come when they should not.

use mlos_local::Limits;
use mlos_shm::Status;
use mlos_shm::control::{ClientMessage, Close, DaemonMessage, Open};

use crate::client::{Client, hello, last_words, until};
use crate::host::Edge;

fn open() -> ClientMessage {
    ClientMessage::Open(Open {
        token: 1,
        model: "test/echo".to_owned(),
        component: None,
    })
}

fn greeting() -> ClientMessage {
    ClientMessage::Hello(hello(0))
}

#[test]
fn a_message_out_of_turn_ends_its_connection_with_the_reason() {
    let edge = Edge::start(Limits::default());
    let mut other = Client::join(&edge.path);
    other.bound(0, "test/echo");
    for (packets, said) in [
        (vec![open()], "'open' is out of turn"),
        (
            vec![ClientMessage::Close(Close { handle: 0 })],
            "'close' is out of turn",
        ),
        (vec![greeting(), greeting()], "'hello' is out of turn"),
        (vec![greeting(), open(), greeting()], "'hello' is out of turn"),
    ] {
        match last_words(&edge.path, &packets) {
            DaemonMessage::Refused(refused) => {
                assert_eq!(refused.status(), Status::InvalidArgument);
                assert!(refused.text.contains(said), "{}", refused.text);
            }
            other => panic!("{packets:?}: {other:?}"),
        }
        assert_eq!(other.ask(0), Status::Ok);
    }
    until("they are forgotten", || (edge.clients() == 1).then_some(()));
}
