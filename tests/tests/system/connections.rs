//! Clients that cost: large, slow, many, gone.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mlos_tests::{Client, Daemon, Options, Package, count, until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

const PATH: &str = "/models/test/matrix/inference";

fn daemon(options: &Options) -> Daemon {
    let daemon = Daemon::start(options);
    daemon.serve(&Package::affine("test/matrix", "1", "a 2"));
    daemon
}

#[track_caller]
fn assert_serves(client: &mut Client) {
    client.post(PATH, &json!({ "x": [[1, 2]] })).expect(200);
}

fn head(headers: &str) -> Vec<u8> {
    format!("POST {PATH} HTTP/1.1\r\nhost: x\r\n{headers}\r\n\r\n").into_bytes()
}

#[test]
fn a_body_that_says_it_is_a_gigabyte_is_refused_unread() {
    let daemon = daemon(&Options::default());
    let before = daemon.resident_mib();
    for headers in [
        "content-length: 1073741824",
        "content-length: 1073741824\r\nexpect: 100-continue",
        "content-length: 9223372036854775807",
    ] {
        let mut client = daemon.client();
        client.write(&head(headers)).unwrap();
        let answer = client.receive().unwrap();
        assert_eq!(
            (answer.status, answer.kind().as_str()),
            (413, "too_large"),
            "{headers}: {}",
            answer.text()
        );
        assert_eq!(answer.json()["error"]["limit_bytes"], 256 << 20);
    }
    assert!(
        daemon.resident_mib() < before + 32,
        "nothing was set aside for them"
    );
    assert_serves(&mut daemon.client());
}

#[test]
fn a_chunked_body_is_refused_where_it_passes_the_limit() {
    let options = Options::default()
        .setting("http.body_mib_max = 1")
        .setting("http.body_seconds_max = 3");
    let daemon = daemon(&options);
    let mut client = daemon.client();
    client.write(&head("transfer-encoding: chunked")).unwrap();
    let piece = [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"].concat();
    // The limit is passed by the seventeenth of them; the server may close while these are on their way.
    let sent = (0..24).take_while(|_| client.write(&piece).is_ok()).count();
    assert!(sent >= 16, "{sent}");
    let answer = client.receive().unwrap();
    assert_eq!(
        (answer.status, answer.kind().as_str()),
        (413, "too_large"),
        "{}",
        answer.text()
    );
    for chunk in ["ffffffffffffffff\r\n", "zz\r\n", "-1\r\n", "1\r\nabc\r\n"] {
        let mut client = daemon.client();
        client.write(&head("transfer-encoding: chunked")).unwrap();
        client.write(chunk.as_bytes()).unwrap();
        let answer = client.receive().unwrap();
        // A chunk that only says it is large is waited for, as long as any body is.
        assert!(
            matches!(answer.status, 400 | 408 | 413),
            "{chunk}: {}",
            answer.text()
        );
    }
    assert_serves(&mut daemon.client());
}

/// A client that says no length, and sends without looking at what it is told.
#[test]
fn a_gigabyte_that_is_sent_is_refused_where_it_passes_the_limit() {
    const PIECE: usize = 1 << 20;
    let daemon = daemon(&Options::default());
    let before = daemon.resident_mib();
    let piece = [format!("{PIECE:x}\r\n").as_bytes(), &vec![b' '; PIECE], b"\r\n"].concat();
    for _ in 0..5 {
        let mut client = daemon.client();
        client.write(&head("transfer-encoding: chunked")).unwrap();
        let sent = (0..1 << 10).take_while(|_| client.write(&piece).is_ok()).count();
        assert!((256..1 << 10).contains(&sent), "{sent} MiB");
        assert_serves(&mut daemon.client());
        let taken = daemon.resident_mib() - before;
        assert!(taken < 192, "{taken} MiB are left of 256");
    }
}

/// As curl does with bodies of more than a kilobyte: no second of waiting, and no body where it is refused.
#[test]
fn expect_100_continue_is_answered_at_once() {
    let daemon = daemon(&Options::default());
    let mut client = daemon.client();
    let body = br#"{"x":[[1,2]]}"#;
    let headers = format!("content-length: {}\r\nexpect: 100-continue", body.len());
    client.write(&head(&headers)).unwrap();
    let go_on = client.receive().unwrap();
    assert_eq!(go_on.status, 100);
    client.write(body).unwrap();
    client.receive().unwrap().expect(200);
    let absent = String::from_utf8(head(&headers))
        .unwrap()
        .replace("matrix", "nothing");
    client.write(absent.as_bytes()).unwrap();
    assert_eq!(client.receive().unwrap().status, 404, "refused without its body");
}

#[test]
fn heads_that_are_no_heads() {
    let daemon = daemon(&Options::default());
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(64 << 10));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(5_000));
    for (bytes, statuses) in [
        (
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
            &[400][..],
        ),
        (b"GET / HTTP/9.9\r\n\r\n", &[400]),
        (b"GET\r\n\r\n", &[400]),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", &[400]),
        (
            b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            &[400],
        ),
        (b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", &[400]),
        (long.as_bytes(), &[431, 400]),
        (many.as_bytes(), &[431, 400]),
    ] {
        let mut client = daemon.client();
        let _ = client.write(bytes);
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
        let status = client.receive().map(|answer| answer.status);
        assert!(
            matches!(&status, Ok(status) if statuses.contains(status)),
            "{shown:?}: {status:?}"
        );
    }
    assert_serves(&mut daemon.client());
}

/// Slow-loris: heads and bodies that come one byte at a time, or not at all.
#[test]
fn slow_clients_are_given_up() {
    let options = Options::default()
        .setting("http.header_seconds_max = 1")
        .setting("http.body_seconds_max = 1")
        .setting("http.idle_seconds_max = 2");
    let daemon = daemon(&options);
    let start = Instant::now();
    let mut silent_head = daemon.client();
    silent_head.write(b"GET /health HTTP/1.1\r\n").unwrap();
    let mut silent_body = daemon.client();
    silent_body.write(&head("content-length: 100")).unwrap();
    silent_body.write(b"{").unwrap();
    let mut idle = daemon.client();
    idle.get("/health").expect(200);
    let mut drops = TcpStream::connect(daemon.address).unwrap();
    let dripping = std::thread::spawn(move || {
        let drip = |byte: &u8| {
            std::thread::park_timeout(Duration::from_millis(50));
            drops.write_all(&[*byte]).is_err()
        };
        let text = format!("GET /health HTTP/1.1\r\nx: {}", "a".repeat(400));
        text.as_bytes().iter().position(drip)
    });
    let answer = silent_head.receive().unwrap();
    assert_eq!((answer.status, answer.kind().as_str()), (408, "timeout"));
    let answer = silent_body.receive().unwrap();
    assert_eq!((answer.status, answer.kind().as_str()), (408, "timeout"));
    assert!(silent_head.is_closed().unwrap() && silent_body.is_closed().unwrap());
    assert!(idle.is_closed().unwrap(), "without a word");
    assert!(
        dripping.join().unwrap().is_some(),
        "a byte now and then does not buy time"
    );
    assert!(
        start.elapsed() > Duration::from_millis(900),
        "not before their time"
    );
    assert_serves(&mut daemon.client());
}

#[test]
fn connections_beyond_the_limit_are_told() {
    let options = Options::one_core("lanes").setting("http.connections_max = 4");
    let daemon = daemon(&options);
    let mut held: Vec<Client> = (0..4).map(|_| daemon.client()).collect();
    until("four are served", || {
        held.iter_mut()
            .all(|client| client.get("/health").status == 200)
            .then_some(())
    });
    let answer = until("a fifth is refused", || {
        let mut fifth = daemon.client();
        let answer = fifth.try_ask("GET", "/health", &[], b"");
        answer.ok().filter(|answer| answer.status == 503)
    });
    assert_eq!(answer.kind(), "overloaded");
    assert_eq!(answer.header("retry-after"), Some("1"));
    held.clear();
    until("there is room again", || {
        let answer = daemon.client().try_ask("GET", "/health", &[], b"");
        answer.is_ok_and(|answer| answer.status == 200).then_some(())
    });
}

/// Ten thousand idle connections, and requests are answered as before.
#[test]
fn ten_thousand_connections() {
    let connections = count("MLOS_TESTS_CONNECTIONS", 10_000);
    if let Err(limit) = raise_open_files(connections as u64 + 1_000) {
        return println!(
            "not run: {connections} connections need more open files than the {limit} allowed here"
        );
    }
    let daemon = daemon(&Options::default());
    let mut asking = daemon.client();
    assert_serves(&mut asking);
    let idle: Vec<TcpStream> = (0..connections)
        .map(|at| TcpStream::connect(daemon.address).unwrap_or_else(|error| panic!("{at}: {error}")))
        .collect();
    // Those that wait to be accepted are served too; the last of them shows that all were.
    let mut last = daemon.client();
    assert_serves(&mut last);
    let start = Instant::now();
    let requests = 200;
    for _ in 0..requests {
        assert_serves(&mut asking);
    }
    let mean = start.elapsed() / requests;
    println!(
        "{connections} idle connections: {mean:?} a request, {} MiB",
        daemon.resident_mib()
    );
    assert!(mean < Duration::from_millis(50), "{mean:?} a request");
    drop(idle);
    assert_serves(&mut daemon.client());
}

/// Raises what this process may open, and its children with it; else says what is allowed.
fn raise_open_files(wanted: u64) -> Result<(), u64> {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    let raised = Rlimit {
        current: Some(wanted.max(limit.current.unwrap_or(u64::MAX))),
        maximum: Some(most.max(wanted)),
    };
    setrlimit(Resource::Nofile, raised).map_err(|_| most)
}

/// A client that goes away takes its request with it, queued or running, wherever it has been moved to.
#[test]
fn a_client_that_goes_cancels_its_request() {
    let one_core = ["lanes", "layer", "none"].map(Options::one_core);
    for options in one_core.into_iter().chain([Options::default()]) {
        let daemon = Daemon::start(&options);
        let slow = daemon.serve(&Package::affine("test/slow", "1", "busy_us 1000"));
        let rows: Vec<[f64; 1]> = vec![[1.0]; 3_000];
        let path = format!("/models/{slow}/inference");
        let body = json!({ "x": rows, "priority": "batch" }).to_string();
        let mut clients: Vec<Client> = (0..6).map(|_| daemon.client()).collect();
        for client in &mut clients {
            client.send("POST", &path, &[], body.as_bytes()).unwrap();
        }
        until("they have arrived", || {
            (daemon.class("batch", "arrived") >= 6).then_some(())
        });
        clients.pop();
        until("one is gone", || {
            (daemon.class("batch", "cancelled") == 1).then_some(())
        });
        clients.clear();
        until("all are gone", || {
            (daemon.class("batch", "cancelled") == 6).then_some(())
        });
        assert_eq!(daemon.class("batch", "completed"), 0, "{options:?}");
        assert_eq!(daemon.class("batch", "queued"), 0, "{options:?}");
        assert_eq!(
            daemon.class("batch", "arrived"),
            6,
            "a job that is moved arrives once"
        );
        daemon.client().infer(&slow, &json!({ "x": [[1.0]] })).expect(200);
    }
}
