//! Who comes to the local socket, and with what: those who are not served are told why.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use mlos_shm::control::{ClientMessage, ControlMessage, DaemonMessage, Hello, Open, socket};
use mlos_shm::{Error, Status};
use mlos_tests::{Daemon, Local, Options, until};
use mlos_zoo::Prng;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use crate::local::{double, join, socket as path_of};
use crate::local_faults::{PATIENCE, at_rest, beside_honest, wait_for, warm_up};

/// Sends one packet, and returns what is said before the connection ends.
fn said(daemon: &Daemon, packet: &[u8]) -> Option<DaemonMessage> {
    let socket = socket::connect(&path_of(daemon)).unwrap();
    let _ = socket::send(&socket, packet, &[]);
    last_words(&socket)
}

#[track_caller]
fn last_words(socket: &OwnedFd) -> Option<DaemonMessage> {
    let mut last = None;
    let end = until("the end of the connection", || match socket::receive(socket) {
        Ok(socket::Received::Packet(packet)) => {
            last = DaemonMessage::decode(&packet.bytes, packet.fds.len()).ok();
            None
        }
        Ok(socket::Received::Closed) | Err(Error::PeerGone) => Some(Ok(())),
        Ok(socket::Received::Nothing) => None,
        Err(other) => Some(Err(other)),
    });
    end.unwrap();
    last
}

fn hello() -> Vec<u8> {
    let hello = Hello {
        features: 0,
        slots: 0,
        arena_bytes: 0,
        name: "tests".to_owned(),
    };
    ClientMessage::Hello(hello).encode().unwrap()
}

#[track_caller]
fn refusal(message: Option<DaemonMessage>) -> (Status, String) {
    match message {
        Some(DaemonMessage::Refused(refused)) => (refused.status(), refused.text),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn another_version_is_told_which_are_spoken() {
    let daemon = Daemon::start(&Options::default());
    let _first = join(&daemon);
    for (min, max) in [(2_u16, 9_u16), (0, 0), (u16::MAX, u16::MAX), (5, 4)] {
        let mut packet = hello();
        packet[4..6].copy_from_slice(&min.to_le_bytes());
        packet[6..8].copy_from_slice(&max.to_le_bytes());
        let (status, text) = refusal(said(&daemon, &packet));
        assert_eq!(status, Status::Unsupported, "{text}");
        let speaks = format!("speaks versions {min} to {max} of the local protocol, we 1");
        assert!(text.contains(&speaks), "{text}");
    }
    // One that speaks ours and later ones is served.
    let mut packet = hello();
    packet[6..8].copy_from_slice(&7_u16.to_le_bytes());
    let socket = socket::connect(&path_of(&daemon)).unwrap();
    socket::send(&socket, &packet, &[]).unwrap();
    let answer = until("the welcome", || match socket::receive(&socket).unwrap() {
        socket::Received::Packet(packet) => Some(packet),
        _ => None,
    });
    let welcome = DaemonMessage::decode(&answer.bytes, answer.fds.len()).unwrap();
    assert!(matches!(welcome, DaemonMessage::Welcome(_)), "{welcome:?}");
}

#[test]
fn packets_that_are_none_end_their_connection_only() {
    let daemon = Daemon::start(&Options::default());
    let id = daemon.serve(&double("test/double"));
    warm_up(&daemon, &id);
    let before = at_rest(&daemon);
    let mut random = Prng::new(7, 0);
    let open = Open {
        token: 1,
        model: id.clone(),
        component: None,
    };
    let mut packets = vec![
        vec![0],
        vec![0; 15],
        vec![0; 16],
        vec![0xff; 64],
        vec![0x4d; 60_000],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        hello()[..hello().len() - 1].to_vec(),
        [hello(), vec![0]].concat(),
        ClientMessage::Open(open).encode().unwrap(),
    ];
    packets.extend((0..500).map(|_| {
        let mut packet = hello();
        let at = random.below(packet.len() as u64) as usize;
        packet[at] ^= 1 << random.below(8);
        packet
    }));
    let (welcomed, answered) = beside_honest(&daemon, &id, || {
        let welcomes = packets.iter().filter(|packet| {
            let socket = socket::connect(&path_of(&daemon)).unwrap();
            let _ = socket::send(&socket, packet, &[]);
            until("an answer", || match socket::receive(&socket) {
                Ok(socket::Received::Nothing) => None,
                Ok(socket::Received::Packet(packet)) => {
                    Some(DaemonMessage::decode(&packet.bytes, packet.fds.len()))
                }
                other => panic!("{other:?}"),
            })
            .is_ok_and(|message| match message {
                DaemonMessage::Welcome(_) => true,
                DaemonMessage::Refused(refused) => {
                    assert!(refused.text.len() > 10);
                    false
                }
                DaemonMessage::Opened(_) => panic!("it was not greeted"),
            })
        });
        welcomes.count()
    });
    // In the name, and in some numbers, any bits will do.
    assert!(welcomed > 0 && welcomed < packets.len() - 100, "{welcomed}");
    assert!(answered > 0);
    wait_for(&daemon, &before);
}

#[test]
fn descriptors_that_nobody_asked_for_are_closed() {
    let daemon = Daemon::start(&Options::default());
    let id = daemon.serve(&double("test/double"));
    warm_up(&daemon, &id);
    let before = at_rest(&daemon);
    let file = std::fs::File::open("/dev/null").unwrap();
    for descriptors in [1, 4, 5, 64, 253] {
        let fds = vec![file.as_fd(); descriptors];
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
        let socket = socket::connect(&path_of(&daemon)).unwrap();
        let packet = hello();
        let packet = [IoSlice::new(&packet)];
        rustix::net::sendmsg(&socket, &packet, &mut ancillary, SendFlags::empty()).unwrap();
        let (_, text) = refusal(last_words(&socket));
        assert!(text.contains("descriptors"), "{text}");
    }
    wait_for(&daemon, &before);
}

#[test]
fn who_does_not_greet_is_let_go() {
    let daemon = Daemon::start(&Options::default());
    let id = daemon.serve(&double("test/double"));
    warm_up(&daemon, &id);
    let before = at_rest(&daemon);
    let silent: Vec<OwnedFd> = (0..50)
        .map(|_| socket::connect(&path_of(&daemon)).unwrap())
        .collect();
    let start = Instant::now();
    let ((), answered) = beside_honest(&daemon, &id, || {
        for socket in &silent {
            let (status, text) = refusal(last_words(socket));
            assert_eq!(status, Status::DeadlineMiss, "{text}");
            assert!(text.contains("greet"), "{text}");
        }
    });
    assert!(answered > 0);
    let took = start.elapsed();
    assert!(took > Duration::from_secs(4) && took < PATIENCE, "{took:?}");
    wait_for(&daemon, &before);
}

#[test]
fn arenas_have_their_limits() {
    let options = Options::default()
        .setting("local.arena_mib_max = 32")
        .setting("local.arenas_mib_max = 80");
    let daemon = Daemon::start(&options);
    let path = path_of(&daemon);
    let mib = |mib: u64| mib << 20;
    let first = until("the local socket", || Local::try_join(&path, 0, mib(32)).ok());
    let refused = |arena_bytes| match Local::try_join(&path, 0, arena_bytes) {
        Err(Error::Refused { status, text }) => (status, text),
        other => panic!("{other:?}"),
    };
    let (status, text) = refused(mib(33));
    assert_eq!(status, Status::TooLarge, "{text}");
    assert!(text.contains("33554432"), "{text}");
    assert_eq!(refused(u64::MAX).0, Status::TooLarge);
    let _second = Local::try_join(&path, 0, mib(32)).unwrap();
    let (status, text) = refused(mib(32));
    assert_eq!(status, Status::Overloaded, "{text}");
    assert!(text.contains(&mib(80).to_string()), "{text}");
    let third = Local::try_join(&path, 0, mib(16)).unwrap();
    drop(first);
    until("there is room again", || Local::try_join(&path, 0, mib(32)).ok());

    // Its own arena is the client's to divide.
    let _half = third.side.arena.loan(9 << 20).unwrap();
    let refused = third.side.arena.loan(9 << 20);
    assert!(
        matches!(refused, Err(Error::ArenaExhausted { free, .. }) if free == mib(7)),
        "{refused:?}"
    );
    // What lies outside of it is refused by the daemon, whatever the client's library would have said.
    for (slots, expected) in [(3, Status::InvalidArgument), (1, Status::InvalidArgument)] {
        match Local::try_join(&path, slots, mib(1)) {
            Err(Error::Refused { status, text }) => assert_eq!(status, expected, "{text}"),
            other => panic!("{slots} slots: {other:?}"),
        }
    }
}

#[test]
fn clients_have_their_limit() {
    let daemon = Daemon::start(&Options::default().setting("local.clients_max = 3"));
    let path = path_of(&daemon);
    let mut clients: Vec<Local> = (0..3).map(|_| join(&daemon)).collect();
    match Local::try_join(&path, 0, 0) {
        Err(Error::Refused { status, text }) => {
            assert_eq!(status, Status::Overloaded);
            assert!(text.contains("3 clients"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    clients.pop();
    join(&daemon);
}
