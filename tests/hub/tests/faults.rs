//! Each fault does what its name says, seen through a bare socket.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
};

use mlos_hub::{Fault, FaultKind, Hub};

struct Answer {
    head: String,
    body: Vec<u8>,
}

fn ask(hub: &Hub, path: &str, headers: &str) -> Answer {
    let address = hub.endpoint().strip_prefix("http://").unwrap().to_owned();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: hub\r\n{headers}\r\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    Answer {
        head: String::from_utf8_lossy(&bytes[..end]).into_owned(),
        body: bytes[end + 4..].to_vec(),
    }
}

const FILE: &str = "/acme/tiny/resolve/main/a.txt";

fn hub() -> (tempfile::TempDir, Hub) {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("acme/tiny")).unwrap();
    fs::write(root.path().join("acme/tiny/a.txt"), b"0123456789").unwrap();
    let hub = Hub::start(root.path()).unwrap();
    (root, hub)
}

#[test]
fn faults_do_what_they_say_and_are_spent() {
    let (_root, hub) = hub();
    let check = |kind: FaultKind, headers: &str, status: &str, expect: &[u8]| {
        hub.inject(Fault::once("a.txt", kind.clone()));
        let answer = ask(&hub, FILE, headers);
        assert!(
            answer.head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{kind:?}: {}",
            answer.head
        );
        if status.starts_with('2') {
            assert_eq!(answer.body, expect, "{kind:?}");
        }
        assert_eq!(ask(&hub, FILE, "").body, b"0123456789", "{kind:?} is spent");
    };
    check(FaultKind::CutAfter(4), "", "200", b"0123");
    check(FaultKind::StallAfter(4), "", "200", b"0123");
    check(FaultKind::FlipByte(1), "", "200", b"0\xce23456789");
    check(FaultKind::FlipByte(1), "Range: bytes=5-\r\n", "206", b"56789");
    check(FaultKind::WrongLength(7), "", "200", b"0123456789");
    check(
        FaultKind::RangeIgnored,
        "Range: bytes=5-\r\n",
        "200",
        b"0123456789",
    );
    check(
        FaultKind::EtagChanged,
        "Range: bytes=5-\r\nIf-Range: \"x\"\r\n",
        "200",
        b"0123456789",
    );
    check(
        FaultKind::Slow {
            piece_bytes: 3,
            pause: std::time::Duration::ZERO,
        },
        "",
        "200",
        b"0123456789",
    );
    check(FaultKind::status(503), "", "503", b"");
    check(FaultKind::Redirect("/elsewhere".to_owned()), "", "307", b"");
}

#[test]
fn heads_tell_what_clients_rely_on() {
    let (_root, hub) = hub();
    let head = ask(&hub, FILE, "Range: bytes=2-3\r\n").head;
    for line in [
        "HTTP/1.1 206 ",
        "Content-Length: 2",
        "Content-Range: bytes 2-3/10",
        "Accept-Ranges: bytes",
        "ETag: \"",
        "X-Repo-Commit: ",
    ] {
        assert!(head.contains(line), "{line}: {head}");
    }
    assert!(
        ask(&hub, FILE, "Range: bytes=10-\r\n")
            .head
            .starts_with("HTTP/1.1 416 ")
    );
    assert!(
        ask(&hub, "/acme/none/resolve/main/a", "")
            .head
            .contains("X-Error-Code: RepoNotFound")
    );
    assert!(
        ask(&hub, "/acme/tiny/resolve/v9/a.txt", "")
            .head
            .contains("X-Error-Code: RevisionNotFound")
    );
    assert!(
        ask(&hub, "/acme/tiny/resolve/main/b", "")
            .head
            .contains("X-Error-Code: EntryNotFound")
    );
    assert!(
        ask(&hub, "/acme/../tiny/resolve/main/b", "")
            .head
            .starts_with("HTTP/1.1 404 ")
    );
    assert_eq!(hub.requests().len(), 6);
    assert_eq!(hub.requests()[0].header("range"), Some("bytes=2-3"));
    assert_eq!(hub.bytes_sent(), 2);
}
