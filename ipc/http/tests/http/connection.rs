//! What a connection does, seen from its other end.

use std::time::Duration;

use crate::support::{numbers, with_server};
use mlos_http::{Config, Limits};

fn digits() -> String {
    format!("{{\"pixels\":[{}]}}", numbers(64))
}

#[test]
fn connection_is_kept() {
    with_server(Config::default(), |server| async move {
        let (mut client, served) = server.connect();
        for _ in 0..3 {
            assert_eq!(
                client
                    .post("/models/test/digits/inference", digits())
                    .await
                    .status,
                200
            );
            assert_eq!(client.get("/health").await.status, 200);
        }
        assert_eq!(server.edge.connections(), 1);
        drop(client);
        served.await.unwrap().unwrap();
        assert_eq!(server.edge.connections(), 0);
        assert_eq!(server.edge.body_bytes(), 0);
    });
}

#[test]
fn requests_may_be_pipelined() {
    with_server(Config::default(), |server| async move {
        let (mut client, _served) = server.connect();
        let body = digits();
        let mut text = String::new();
        for path in [
            "/models/test/digits/inference",
            "/models/test/none/inference",
            "/models/test/full/inference",
        ] {
            text += &format!(
                "POST {path} HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
        }
        text += "GET /health HTTP/1.1\r\nhost: t\r\n\r\n";
        client.send(text).await;
        for status in [200, 404, 429, 200] {
            assert_eq!(client.reply(false).await.unwrap().status, status);
        }
    });
}

#[test]
fn a_head_asks_for_no_body() {
    with_server(Config::default(), |server| async move {
        let (mut client, _served) = server.connect();
        let reply = client.request("HEAD", "/health", "", "").await;
        assert_eq!((reply.status, reply.body.len()), (200, 0));
        assert_eq!(client.get("/health").await.status, 200);
    });
}

#[test]
fn continue_is_said_at_once_or_not_at_all() {
    with_server(Config::default(), |server| async move {
        let (mut client, _served) = server.connect();
        let body = digits();
        let head = |path: &str, length: usize| {
            format!(
                "POST {path} HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
            )
        };
        client
            .send(head("/models/test/digits/inference", body.len()))
            .await;
        assert_eq!(client.reply(false).await.unwrap().status, 100);
        client.send(body).await;
        assert_eq!(client.reply(false).await.unwrap().status, 200);

        // A gigabyte that nobody will take, and a model that is not there: the answer comes in place of the 100.
        let (mut client, served) = server.connect();
        client.send(head("/models/test/digits/inference", 1 << 30)).await;
        let reply = client.reply(false).await.unwrap();
        assert_eq!((reply.status, reply.header("connection")), (413, Some("close")));
        assert_eq!(reply.json()["error"]["limit_bytes"], 256 << 20);
        drop(client);
        served.await.unwrap().unwrap();

        let (mut client, _served) = server.connect();
        client.send(head("/models/test/none/inference", 1 << 20)).await;
        assert_eq!(client.reply(false).await.unwrap().status, 404);
        assert_eq!(server.edge.body_bytes(), 0);
    });
}

#[test]
fn a_body_comes_in_pieces_and_chunks() {
    with_server(Config::default(), |server| async move {
        let (mut client, _served) = server.connect();
        let body = digits();
        let path = "/models/test/digits/inference";
        client
            .send(format!(
                "POST {path} HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n",
                body.len()
            ))
            .await;
        for piece in body.as_bytes().chunks(7) {
            client.send(piece).await;
            tokio::task::yield_now().await;
        }
        let whole = client.reply(false).await.unwrap();
        assert_eq!(whole.status, 200);

        client
            .send(format!(
                "POST {path} HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n"
            ))
            .await;
        for piece in body.as_bytes().chunks(11) {
            client
                .send(format!(
                    "{:x}\r\n{}\r\n",
                    piece.len(),
                    str::from_utf8(piece).unwrap()
                ))
                .await;
        }
        client.send("0\r\n\r\n").await;
        let chunked = client.reply(false).await.unwrap();
        assert_eq!((chunked.status, chunked.json()), (200, whole.json()));
    });
}

#[test]
fn too_large_a_body_is_refused() {
    let limits = Limits {
        body_bytes_max: 100_000,
        bodies_bytes_max: 150_000,
        ..Limits::default()
    };
    let config = Config {
        limits,
        ..Config::default()
    };
    with_server(config, |server| async move {
        let path = "/models/test/digits/inference";
        // The client writes all of it before it reads the answer, and still gets it.
        for framing in [
            "content-length: 300000\r\n\r\n",
            "transfer-encoding: chunked\r\n\r\n493e0\r\n",
        ] {
            let (mut client, served) = server.connect();
            client
                .send(format!("POST {path} HTTP/1.1\r\nhost: t\r\n{framing}"))
                .await;
            client.send(vec![b' '; 300_000]).await;
            let reply = client.reply(false).await.unwrap();
            assert_eq!(
                (reply.status, reply.header("connection")),
                (413, Some("close")),
                "{framing}"
            );
            assert_eq!(reply.json()["error"]["kind"], "too_large");
            assert!(!client.more().await);
            served.await.unwrap().unwrap();
        }

        // Two that are allowed by themselves, but not together.
        let (mut first, _served) = server.connect();
        first
            .send(format!(
                "POST {path} HTTP/1.1\r\nhost: t\r\ncontent-length: 90000\r\n\r\n"
            ))
            .await;
        let (mut second, _served) = server.connect();
        let reply = second.post(path, vec![b' '; 90_000]).await;
        assert_eq!((reply.status, reply.header("retry-after")), (429, Some("1")));
        assert_eq!(server.edge.body_bytes(), 90_000);
    });
}

#[test]
fn slow_clients_are_told_so() {
    with_server(Config::default(), |server| async move {
        let start = tokio::time::Instant::now();
        let (mut client, served) = server.connect();
        client.send("GET /health HT").await;
        assert_eq!(client.reply(false).await.unwrap().status, 408);
        assert!(!client.more().await);
        assert!(matches!(
            served.await.unwrap(),
            Err(mlos_http::Error::HeadTime(_))
        ));
        assert_eq!(start.elapsed().as_secs(), 10);

        // A byte every second does not help.
        let start = tokio::time::Instant::now();
        let (mut client, served) = server.connect();
        client
            .send("POST /models/test/digits/inference HTTP/1.1\r\nhost: t\r\ncontent-length: 1000\r\n\r\n")
            .await;
        let reply = loop {
            tokio::select! {
                reply = client.reply(false) => break reply.unwrap(),
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
            client.send(" ").await;
        };
        assert_eq!((reply.status, reply.header("connection")), (408, Some("close")));
        assert_eq!(reply.json()["error"]["kind"], "timeout");
        assert_eq!(start.elapsed().as_secs(), 60);
        drop(client);
        served.await.unwrap().unwrap();
    });
}

#[test]
fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    with_server(Config::default(), |server| async move {
        let (mut client, served) = server.connect();
        for _ in 0..10 {
            assert_eq!(client.get("/health").await.status, 200);
            tokio::time::sleep(Duration::from_secs(70)).await;
        }
        let start = tokio::time::Instant::now();
        assert!(!client.more().await);
        assert_eq!(start.elapsed().as_secs(), 5);
        served.await.unwrap().unwrap();

        // An hour in the engine is not idleness.
        let (mut client, _served) = server.connect();
        let body = digits();
        client
            .send(format!(
                "POST /models/test/slow/inference HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ))
            .await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        server.fake.release.notify_one();
        assert_eq!(client.reply(false).await.unwrap().status, 200);
    });
}

#[test]
fn a_client_that_goes_away_cancels_its_request() {
    with_server(Config::default(), |server| async move {
        let (mut client, served) = server.connect();
        let body = digits();
        client
            .send(format!(
                "POST /models/test/slow/inference HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ))
            .await;
        server.fake.started.notified().await;
        drop(client);
        server.fake.cancelled.notified().await;
        assert!(served.await.unwrap().is_err());
        assert_eq!(server.edge.connections(), 0);
    });
}

#[test]
fn shutdown_answers_what_is_in_flight() {
    with_server(Config::default(), |server| async move {
        let (mut busy, busy_served) = server.connect();
        let body = digits();
        busy.send(format!(
            "POST /models/test/slow/inference HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
        server.fake.started.notified().await;
        let (mut idle, idle_served) = server.connect();
        assert_eq!(idle.get("/health").await.status, 200);

        server.fake.draining.set(true);
        assert_eq!(idle.get("/health").await.status, 503);
        server.shutdown.notify_waiters();
        assert!(!idle.more().await);
        idle_served.await.unwrap().unwrap();

        server.fake.release.notify_one();
        let reply = busy.reply(false).await.unwrap();
        assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
        busy_served.await.unwrap().unwrap();
    });
}

#[test]
fn heads_and_connections_are_bounded() {
    let limits = Limits {
        connections_max: 1,
        header_bytes_max: 8192,
        ..Limits::default()
    };
    let config = Config {
        limits,
        ..Config::default()
    };
    with_server(config, |server| async move {
        let (mut client, served) = server.connect();
        let long = "x".repeat(10_000);
        client
            .send(format!("GET /health HTTP/1.1\r\nhost: t\r\nlong: {long}\r\n\r\n"))
            .await;
        assert_eq!(client.reply(false).await.unwrap().status, 431);
        assert!(served.await.unwrap().is_err());

        let (mut first, _served) = server.connect();
        assert_eq!(first.get("/health").await.status, 200);
        let (mut second, served) = server.connect();
        let reply = second.reply(false).await.unwrap();
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
        assert_eq!(reply.json()["error"]["kind"], "overloaded");
        assert!(matches!(
            served.await.unwrap(),
            Err(mlos_http::Error::TooManyConnections(1))
        ));
    });
}

#[test]
fn what_is_not_http_is_refused() {
    with_server(Config::default(), |server| async move {
        for text in [
            "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n",
            "GET\r\n\r\n",
            "GET / HTTP/9.9\r\n\r\n",
            "\0\0\0\0\r\n\r\n",
        ] {
            let (mut client, served) = server.connect();
            client.send(text).await;
            assert_eq!(client.reply(false).await.unwrap().status, 400, "{text:?}");
            assert!(served.await.unwrap().is_err());
        }
        // Two lengths, or a length beside chunks, is how requests are smuggled past a proxy.
        for headers in [
            "content-length: 5\r\ncontent-length: 6\r\n",
            "content-length: 5, 6\r\n",
            "content-length: -1\r\n",
        ] {
            let (mut client, _served) = server.connect();
            client
                .send(format!(
                    "POST /models/scan HTTP/1.1\r\nhost: t\r\n{headers}\r\nhello"
                ))
                .await;
            assert_eq!(client.reply(false).await.unwrap().status, 400, "{headers:?}");
        }
    });
}

#[test]
fn only_allowed_origins_may_change_something() {
    let config = Config {
        cors_origins: vec![String::from("https://good.example")],
        ..Config::default()
    };
    with_server(config, |server| async move {
        let (mut client, _served) = server.connect();
        let good = "origin: https://good.example\r\n";
        let reply = client.request("POST", "/models/scan", good, "").await;
        assert_eq!(
            (reply.status, reply.header("access-control-allow-origin")),
            (200, Some("https://good.example"))
        );
        let reply = client.request("OPTIONS", "/models/scan", good, "").await;
        assert_eq!(
            (reply.status, reply.header("allow")),
            (204, Some("POST, OPTIONS"))
        );
        assert!(reply.header("access-control-allow-methods").is_some());

        let bad = "origin: https://bad.example\r\n";
        assert_eq!(client.request("POST", "/models/scan", bad, "").await.status, 403);
        let reply = client.request("GET", "/health", bad, "").await;
        assert_eq!(
            (reply.status, reply.header("access-control-allow-origin")),
            (200, None)
        );
        assert_eq!(
            client
                .request("POST", "/models/scan", "origin: http://test\r\n", "")
                .await
                .status,
            200
        );
    });
}
