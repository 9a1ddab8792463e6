//! The control socket: what is said arrives with its descriptors, and nothing else is accepted.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mlos_shm::control::socket::{self, Control, Packet, Received};
use mlos_shm::control::{
    ClientMessage, ClientSide, Close, ControlMessage, DaemonMessage, DaemonSide, Hello, Open, Opened,
    Refused, TensorInfo, Versions,
};
use mlos_shm::{Error, Fault, SegmentOptions, Status, limits};
use rustix::io::FdFlags;
use support::{ARENA_BYTES, duplicates, welcome};

const SOON: Duration = Duration::from_secs(20);

fn hello() -> ClientMessage {
    ClientMessage::Hello(Hello {
        features: 1 << 63,
        slots: 64,
        arena_bytes: 1 << 30,
        name: String::from("a client"),
    })
}

fn opened() -> DaemonMessage {
    let tensor = |name: &str, dims: &[Option<u64>]| TensorInfo {
        name: name.to_owned(),
        dtype: 11,
        dims: dims.to_vec(),
    };
    DaemonMessage::Opened(Opened {
        token: 9,
        handle: 3,
        model: String::from("local/mlp"),
        version: Some(String::from("1.0.0")),
        class_default: 3,
        inputs: vec![tensor("x", &[None, Some(128)]), tensor("", &[])],
        outputs: vec![tensor("y", &[Some(u64::MAX)])],
    })
}

fn refused() -> DaemonMessage {
    DaemonMessage::Refused(Refused {
        token: 0,
        status: Status::NotFound as u16,
        text: String::from("model 'x' is not registered"),
    })
}

#[test]
fn messages_come_back_as_they_were() {
    let open = |component: Option<&str>| {
        ClientMessage::Open(Open {
            token: 1,
            model: String::from("hub/name@2"),
            component: component.map(str::to_owned),
        })
    };
    for message in [
        hello(),
        open(None),
        open(Some("decoder")),
        ClientMessage::Close(Close { handle: 7 }),
    ] {
        let packet = message.encode().unwrap();
        assert_eq!(
            ClientMessage::decode(&packet, 0).unwrap(),
            message,
            "{}",
            message.name()
        );
    }
    let (daemon, _) = DaemonSide::create(4, ARENA_BYTES, &SegmentOptions::default()).unwrap();
    let welcome = DaemonMessage::Welcome(welcome(4, &daemon));
    for message in [welcome, refused(), opened()] {
        let packet = message.encode().unwrap();
        let fds = message.fds();
        assert_eq!(
            DaemonMessage::decode(&packet, fds).unwrap(),
            message,
            "{}",
            message.name()
        );
    }
}

#[test]
fn a_packet_that_is_wrong_is_a_fault() {
    let good = hello().encode().unwrap();
    let len = good.len() as u32;
    let with = |at: usize, bytes: &[u8]| {
        let mut packet = good.clone();
        packet[at..at + bytes.len()].copy_from_slice(bytes);
        packet
    };
    let cases: [(Vec<u8>, usize, &str); 11] = [
        (vec![], 0, "shorter than its header"),
        (good[..15].to_vec(), 0, "shorter than its header"),
        (with(0, b"HTTP"), 0, "magic number"),
        (
            with(8, &(len - 15).to_le_bytes()),
            0,
            "length is not what its header says",
        ),
        (
            good[..good.len() - 1].to_vec(),
            0,
            "length is not what its header says",
        ),
        (
            [good.clone(), vec![0]].concat(),
            0,
            "length is not what its header says",
        ),
        (with(12, &[1, 0]), 0, "came with 0 descriptors, expected 1"),
        (good.clone(), 1, "came with 1 descriptors, expected 0"),
        (with(12, &[4, 0]), 4, "came with 4 descriptors, expected 0"),
        (with(16, &[0xff; 16]), 0, "no archive of a message"),
        (
            vec![0; limits::PACKET_BYTES_MAX + 1],
            0,
            "larger than 65536 bytes",
        ),
    ];
    for (packet, fds, expected) in cases {
        let error = ClientMessage::decode(&packet, fds).unwrap_err();
        assert!(matches!(error, Error::Fault(_)), "{error}");
        assert!(error.to_string().contains(expected), "{error}, not {expected}");
    }
    // An empty archive, and one of the other direction.
    assert!(ClientMessage::decode(&with(8, &0_u32.to_le_bytes())[..16], 0).is_err());
    assert!(ClientMessage::decode(&opened().encode().unwrap(), 0).is_err());
    // A welcome without its descriptors.
    let (daemon, _) = DaemonSide::create(4, ARENA_BYTES, &SegmentOptions::default()).unwrap();
    let mut packet = DaemonMessage::Welcome(welcome(4, &daemon)).encode().unwrap();
    packet[12] = 0;
    let error = DaemonMessage::decode(&packet, 0).unwrap_err().to_string();
    assert!(error.contains("came with 0 descriptors, expected 4"), "{error}");
}

/// Every bit of a message, turned: a message or an error, and no panic.
#[test]
fn no_bit_breaks_the_reader() {
    let good = opened().encode().unwrap();
    for bit in 0..good.len() * 8 {
        let mut packet = good.clone();
        packet[bit / 8] ^= 1 << (bit % 8);
        let _ = DaemonMessage::decode(&packet, 0);
    }
}

#[test]
fn a_message_has_bounds() {
    let name = "n".repeat(limits::NAME_BYTES_MAX + 1);
    let text = "m".repeat(limits::MODEL_BYTES_MAX + 1);
    let hello = Hello {
        features: 0,
        slots: 0,
        arena_bytes: 0,
        name,
    };
    let open = |model: &str, component: Option<&str>| {
        ClientMessage::Open(Open {
            token: 0,
            model: model.to_owned(),
            component: component.map(str::to_owned),
        })
    };
    for message in [
        ClientMessage::Hello(hello),
        open(&text, None),
        open("x", Some(&text)),
    ] {
        let error = message.encode().unwrap_err();
        assert!(matches!(error, Error::Fault(Fault::Limit { .. })), "{error}");
    }
    let refused = Refused {
        token: 0,
        status: 99,
        text: "t".repeat(limits::PACKET_BYTES_MAX),
    };
    assert_eq!(refused.status(), Status::Internal);
    let error = DaemonMessage::Refused(refused).encode().unwrap_err();
    assert!(matches!(error, Error::Fault(Fault::PacketTooLarge)), "{error}");
}

#[test]
fn versions_agree_or_both_are_named() {
    let range = |min, max| Versions { min, max };
    for (ours, peer, agreed) in [
        (range(1, 1), range(1, 1), Some(1)),
        (range(1, 3), range(2, 9), Some(3)),
        (range(2, 5), range(1, 4), Some(4)),
        (range(1, 1), range(2, 3), None),
        (range(4, 5), range(1, 3), None),
        (range(1, 1), range(3, 2), None),
    ] {
        assert_eq!(ours.agree(peer).ok(), agreed, "{ours:?} {peer:?}");
    }
    // Whatever else a packet of another version holds.
    let mut packet = hello().encode().unwrap();
    packet.truncate(20);
    packet[4..8].copy_from_slice(&[9, 0, 12, 0]);
    let error = ClientMessage::decode(&packet, 3).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the peer speaks versions 9 to 12 of the local protocol, we 1; update one of them"
    );
    assert_eq!(error.kind(), Status::Unsupported);
}

/// A listening socket in a folder of its own.
struct Listener {
    socket: OwnedFd,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

fn listener() -> Listener {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mlosd.sock");
    let socket = socket::listen(&path).unwrap();
    Listener {
        socket,
        path,
        _dir: dir,
    }
}

impl Listener {
    fn connect(&self) -> (Control, OwnedFd) {
        assert!(socket::accept(&self.socket).unwrap().is_none());
        let control = Control::connect(&self.path).unwrap();
        (
            control,
            socket::accept(&self.socket).unwrap().expect("it has connected"),
        )
    }
}

fn packet(received: Received) -> Packet {
    match received {
        Received::Packet(packet) => packet,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_handshake_shares_memory() {
    let listener = listener();
    let path = listener.path.clone();
    let client = std::thread::spawn(move || {
        let ClientMessage::Hello(hello) = hello() else {
            unreachable!()
        };
        ClientSide::join(&path, hello, SOON)
    });
    let start = Instant::now();
    let server = loop {
        assert!(start.elapsed() < SOON);
        match socket::accept(&listener.socket).unwrap() {
            Some(server) => break server,
            None => std::thread::yield_now(),
        }
    };
    let received = loop {
        assert!(start.elapsed() < SOON);
        match socket::receive(&server).unwrap() {
            Received::Nothing => std::thread::yield_now(),
            received => break packet(received),
        }
    };
    assert_eq!(
        ClientMessage::decode(&received.bytes, received.fds.len()).unwrap(),
        hello()
    );
    let (mut daemon, handout) = DaemonSide::create(64, ARENA_BYTES, &SegmentOptions::default()).unwrap();
    let answer = DaemonMessage::Welcome(welcome(64, &daemon)).encode().unwrap();
    assert!(socket::send(&server, &answer, &handout.fds()).unwrap());
    drop(handout);
    let (mut client, control, welcome) = client.join().unwrap().unwrap();
    assert_eq!(welcome.slots, 64);

    client.requests.push(mlos_shm::Request::infer(5, 6)).unwrap();
    assert_eq!(
        daemon
            .requests
            .pop()
            .unwrap()
            .map(|request| (request.id, request.binding)),
        Some((5, 6))
    );
    let mut loan = client.arena.loan(8).unwrap();
    loan.bytes_mut().fill(9);
    assert_eq!(client.arena.segment().len(), daemon.arena.len());

    // Both learn that the other is gone.
    drop(control);
    assert!(matches!(socket::receive(&server), Ok(Received::Closed)));
    drop((server, daemon));
    assert!(client.bell.is_daemon_gone());
}

#[test]
fn descriptors_are_closed_on_exec_and_counted() {
    let listener = listener();
    let (control, server) = listener.connect();
    let (_daemon, handout) = DaemonSide::create(4, ARENA_BYTES, &SegmentOptions::default()).unwrap();
    socket::send(&server, b"four", &handout.fds()).unwrap();
    let received = packet(socket::receive(&control).unwrap());
    assert_eq!((received.bytes.as_slice(), received.fds.len()), (&b"four"[..], 4));
    for fd in &received.fds {
        assert!(rustix::io::fcntl_getfd(fd).unwrap().contains(FdFlags::CLOEXEC));
    }
    let too_many: Vec<BorrowedFd<'_>> = [&control; 5].map(|fd| fd.as_fd()).into();
    assert!(matches!(
        socket::send(&server, b"five", &too_many),
        Err(Error::Fault(Fault::Descriptors { expected: 4, got: 5 }))
    ));
}

/// More than anybody may send, from somebody who does not use this crate: they are closed, and the packet is a fault.
#[test]
fn too_many_descriptors_are_a_fault_and_do_not_stay() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
    let listener = listener();
    let (control, server) = listener.connect();
    let fds = [control.as_fd(); 40];
    let mut space = vec![std::mem::MaybeUninit::uninit(); 4096];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
    let bytes = [std::io::IoSlice::new(b"x")];
    rustix::net::sendmsg(&control, &bytes, &mut ancillary, SendFlags::empty()).unwrap();
    let inode = |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).unwrap().st_ino;
    let error = socket::receive(&server).unwrap_err();
    assert!(
        matches!(error, Error::Fault(Fault::Descriptors { expected: 4, .. })),
        "{error}"
    );
    // Other tests run in this process, so only those of this socket are counted.
    let ours = inode(control.as_fd()).to_string();
    let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let held = links.filter(|link| {
        std::fs::read_link(link.path())
            .is_ok_and(|target| target.to_string_lossy() == format!("socket:[{ours}]"))
    });
    assert_eq!(held.count(), 1);
}

#[test]
fn a_packet_that_is_too_long_is_a_fault() {
    let listener = listener();
    let (control, server) = listener.connect();
    for (bytes, is_fault) in [
        (limits::PACKET_BYTES_MAX, false),
        (limits::PACKET_BYTES_MAX + 1, true),
        (100_000, true),
    ] {
        assert!(socket::send(&control, &vec![1; bytes], &[]).unwrap());
        match socket::receive(&server) {
            Ok(Received::Packet(packet)) => assert!(!is_fault && packet.bytes.len() == bytes),
            Err(Error::Fault(Fault::PacketTooLarge)) => assert!(is_fault, "{bytes}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(socket::receive(&server), Ok(Received::Nothing)));
}

#[test]
fn a_client_waits_no_longer_than_it_says() {
    let listener = listener();
    let (control, server) = listener.connect();
    let error = control.receive(Duration::from_millis(2)).unwrap_err();
    assert_eq!(error.to_string(), "no answer within 2 ms");
    // Nobody reads: at some point there is no room for another packet.
    let full = std::iter::repeat_with(|| control.send(&hello(), Duration::from_millis(2)));
    let error = full
        .take(100_000)
        .find_map(Result::err)
        .expect("a socket has an end");
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    socket::send(&server, &refused().encode().unwrap(), &[]).unwrap();
    assert_eq!(control.receive(SOON).unwrap().0, refused());
    drop(server);
    assert!(matches!(control.receive(SOON), Err(Error::PeerGone)));
    assert!(matches!(control.send(&hello(), SOON), Err(Error::PeerGone)));
}

#[test]
fn a_daemon_that_does_not_read_is_never_waited_for() {
    let listener = listener();
    let (_control, server) = listener.connect();
    let packet = opened().encode().unwrap();
    let sent = (0..100_000)
        .take_while(|_| socket::send(&server, &packet, &[]).unwrap())
        .count();
    assert!(sent > 0 && sent < 100_000, "{sent}");
}

#[test]
fn the_kernel_says_who_is_there() {
    let listener = listener();
    let (_control, server) = listener.connect();
    let peer = socket::peer(&server).unwrap();
    assert_eq!(peer.pid as u32, std::process::id());
    assert_eq!(peer.uid, rustix::process::getuid().as_raw());
    assert_eq!(peer.gid, rustix::process::getgid().as_raw());
}

#[test]
fn nobody_listens_is_an_error_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let error = Control::connect(&dir.path().join("none")).unwrap_err();
    assert!(
        error.to_string().starts_with("connect failed: No such file"),
        "{error}"
    );
    assert!(Control::connect(&dir.path().join("x".repeat(200))).is_err());
    let path = dir.path().join("sock");
    let _socket = socket::listen(&path).unwrap();
    let error = socket::listen(&path).unwrap_err().to_string();
    assert!(
        error.starts_with("bind failed: Address already in use"),
        "{error}"
    );
}

/// What came with a welcome must be what the welcome says.
#[test]
fn a_client_maps_only_what_it_was_told() {
    let (daemon, handout) = DaemonSide::create(64, ARENA_BYTES, &SegmentOptions::default()).unwrap();
    let good = welcome(64, &daemon);
    let fault = |slots, arena_bytes, fds: Vec<OwnedFd>| {
        let welcome = mlos_shm::control::Welcome {
            slots,
            arena_bytes,
            ..good.clone()
        };
        ClientSide::accept(&welcome, fds).unwrap_err().to_string()
    };
    let fds = || duplicates(&handout);
    assert!(ClientSide::accept(&good, fds()).is_ok());
    let mut swapped = fds();
    swapped.swap(0, 1);
    for (got, expected) in [
        (
            fault(64, ARENA_BYTES, vec![]),
            "came with 0 descriptors, expected 4",
        ),
        (
            fault(64, ARENA_BYTES, fds().into_iter().take(3).collect()),
            "came with 3 descriptors",
        ),
        (fault(32, ARENA_BYTES, fds()), "other slots"),
        (fault(3, ARENA_BYTES, fds()), "it must be between 2 and 4096"),
        (
            fault(64, ARENA_BYTES + 4096, fds()),
            "expected 1052672 bytes, got 1048576",
        ),
        (
            fault(64, ARENA_BYTES - 4096, fds()),
            "expected 1044480 bytes, got 1048576",
        ),
        (fault(64, 0, fds()), "between 1 byte and"),
        (fault(64, u64::MAX, fds()), "between 1 byte and"),
        (fault(64, ARENA_BYTES, swapped), "another kind or version"),
    ] {
        assert!(got.contains(expected), "{got}, not {expected}");
    }
    for bytes in [0, limits::ARENA_BYTES_MAX + 1, u64::MAX] {
        let error = DaemonSide::create(64, bytes, &SegmentOptions::default()).unwrap_err();
        assert!(matches!(error, Error::OutOfBounds { .. }), "{error}");
    }
}
