//! Who goes first, seen from outside. Nothing here measures time: that is what the benchmarks are for.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use mlos_tests::{Answer, Client, Daemon, Options, Package, until};
use serde_json::{Value, json};

const MODES: [&str; 3] = ["lanes", "layer", "none"];

/// A millisecond of work a row.
fn slow(id: &str) -> Package {
    Package::affine(id, "1", "a 2\nbusy_us 1000")
}

fn rows(count: usize) -> Vec<[f64; 1]> {
    vec![[1.0]; count]
}

/// Sends a request, waits until it has arrived, and leaves it there.
fn send(daemon: &Daemon, model: &str, class: &str, body: &Value) -> Client {
    let before = daemon.class(class, "arrived");
    let mut client = daemon.client();
    let path = format!("/models/{model}/inference");
    client
        .send("POST", &path, &[], body.to_string().as_bytes())
        .unwrap();
    until("it has arrived", || {
        (daemon.class(class, "arrived") > before).then_some(())
    });
    client
}

/// The names of clients in the order in which they are answered, all of them well.
fn in_order(clients: Vec<(&'static str, Client)>) -> Vec<&'static str> {
    let (said, heard) = channel();
    for (name, mut client) in clients {
        let said = said.clone();
        std::thread::spawn(move || said.send((name, client.receive().unwrap())));
    }
    drop(said);
    let names = heard.iter().map(|(name, answer): (_, Answer)| {
        answer.expect(200);
        name
    });
    names.collect()
}

/// A model that runs in one piece, so that what waits behind it waits for all of it.
fn whole() -> Package {
    Package::affine("test/whole", "1", "a 2\nbusy_us 1000\nrows_independent 0")
}

#[test]
fn realtime_is_answered_while_bulk_work_runs() {
    for mode in MODES {
        let daemon = Daemon::start(&Options::one_core(mode));
        let bulk = daemon.serve(&slow("test/bulk"));
        let urgent = daemon.serve(&Package::affine("test/urgent", "1", "a 3"));
        let body = json!({ "x": rows(2_000), "priority": "batch" });
        let mut waiting = send(&daemon, &bulk, "batch", &body);
        // Without preemption each waits for the end of a part, of which there are about twenty.
        let requests = if mode == "none" { 3 } else { 10 };
        for _ in 0..requests {
            let answer = daemon
                .client()
                .infer(&urgent, &json!({ "x": [[1.0]], "priority": "realtime" }));
            let answer = answer.expect(200);
            assert_eq!(
                (&answer["class"], &answer["outputs"][0]["data"][0]),
                (&json!("realtime"), &json!(3.0))
            );
        }
        assert_eq!(
            daemon.class("batch", "completed"),
            0,
            "{mode}: two seconds of work cannot be done yet"
        );
        match mode {
            "layer" => assert!(daemon.class("batch", "preempted") > 0, "it was set aside"),
            _ => assert_eq!(
                daemon.class("batch", "preempted"),
                0,
                "{mode}: by the kernel, or between parts"
            ),
        }
        let answer = waiting.receive().unwrap().expect(200);
        assert_eq!(answer["outputs"][0]["shape"], json!([2_000, 1]));
        assert!(
            answer["timing"]["parts"].as_u64().unwrap() > 1,
            "{mode}: {}",
            answer["timing"]
        );
        let data = answer["outputs"][0]["data"].as_array().unwrap();
        assert!(
            data.iter().all(|value| *value == 2.0),
            "{mode}: no row is lost on the way"
        );
    }
}

/// On one thread, jobs that wait go by class, whatever came first.
#[test]
fn what_waits_goes_by_class() {
    let daemon = Daemon::start(&Options::one_core("layer"));
    let whole = daemon.serve(&whole());
    let ask = |class, count| {
        let body = json!({ "x": rows(count), "priority": class });
        (class, send(&daemon, &whole, class, &body))
    };
    let (_, first) = ask("high", 400);
    // The shares that keep the lower classes alive are far too small for these to be done before their turn.
    let waiting = vec![
        ("first", first),
        ask("batch", 200),
        ask("normal", 200),
        ask("high", 20),
    ];
    assert_eq!(in_order(waiting), ["first", "high", "normal", "batch"]);
}

/// Within a class the earliest deadline goes first.
#[test]
fn what_waits_in_a_class_goes_by_deadline() {
    let daemon = Daemon::start(&Options::one_core("layer"));
    let whole = daemon.serve(&whole());
    let ask = |name, deadline_ms| {
        let body = json!({ "x": rows(60), "deadline_ms": deadline_ms });
        (name, send(&daemon, &whole, "normal", &body))
    };
    let blocker = json!({ "x": rows(400), "deadline_ms": 30_000 });
    let first = send(&daemon, &whole, "normal", &blocker);
    let waiting = vec![
        ("first", first),
        ask("in 60 s", 60_000),
        ask("in 50 s", 50_000),
        ask("in 40 s", 40_000),
    ];
    assert_eq!(in_order(waiting), ["first", "in 40 s", "in 50 s", "in 60 s"]);
}

/// Rows run together as throughput has it, and as few as a slice holds while something urgent is served on the thread.
#[test]
fn rows_are_split_where_something_urgent_is_served() {
    let daemon = Daemon::start(&Options::one_core("layer"));
    let bulk = daemon.serve(&slow("test/bulk"));
    let parts = || {
        let answer = daemon
            .client()
            .infer(&bulk, &json!({ "x": rows(16), "priority": "batch" }))
            .expect(200);
        assert_eq!(answer["outputs"][1]["data"], json!(vec![2.0; 16]));
        answer["timing"]["parts"].as_u64().unwrap()
    };
    let together = parts();
    assert!(together < 16, "{together}");
    daemon.serve(&Package::affine("test/urgent", "1", "a 3").serving(json!({ "priority": "realtime" })));
    assert_eq!(parts(), 16, "a row takes longer than a slice already");
}

#[test]
fn a_manifest_names_the_class_of_requests_that_name_none() {
    let daemon = Daemon::start(&Options::default());
    for class in ["realtime", "high", "normal", "batch"] {
        let package = Package::affine(&format!("test/{class}"), "1", "a 2");
        let id = daemon.serve(&package.serving(json!({ "priority": class })));
        let model = daemon.client().get(&format!("/models/{id}")).expect(200);
        assert_eq!(model["class_default"], class);
        let answer = daemon.client().infer(&id, &json!({ "x": [[1.0]] })).expect(200);
        assert_eq!(answer["class"], class);
        let answer = daemon
            .client()
            .infer(&id, &json!({ "x": [[1.0]], "priority": "HIGH" }))
            .expect(200);
        assert_eq!(answer["class"], "high");
    }
}

fn joining(delay_us: u64) -> Package {
    let package = Package::affine("test/joining", "1", "a 2");
    package.serving(json!({ "max_batch_rows": 8, "max_queue_delay_us": delay_us }))
}

/// Requests that come together are run together, and everybody gets their own rows back.
#[test]
fn requests_are_joined_where_the_manifest_allows_it() {
    for mode in MODES {
        let daemon = Daemon::start(&Options::one_core(mode).setting("engine.front_budget_us = 0"));
        let id = daemon.serve(&joining(10_000_000));
        let path = format!("/models/{id}/inference");
        let mut clients: Vec<Client> = (0..16).map(|_| daemon.client()).collect();
        let start = Instant::now();
        for (number, client) in clients.iter_mut().enumerate() {
            let body = json!({ "x": [[number, number + 1]] }).to_string();
            client.send("POST", &path, &[], body.as_bytes()).unwrap();
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let answer = client.receive().unwrap().expect(200);
            assert_eq!(
                answer["outputs"][0]["data"],
                json!([2.0 * number as f64, 2.0 * number as f64 + 2.0])
            );
            assert_eq!(answer["outputs"][0]["shape"], json!([1, 2]));
        }
        let runs = daemon.model(&id, "runs");
        assert!(runs < 16, "{mode}: {runs} runs for 16 requests");
        assert_eq!(daemon.model(&id, "completed"), 16);
        assert!(
            start.elapsed() < Duration::from_secs(9),
            "{mode}: full batches do not wait for more"
        );
    }
}

/// Shapes that differ are not joined, nor is anything urgent kept waiting.
#[test]
fn what_cannot_be_joined_is_not_and_realtime_never_waits() {
    let daemon = Daemon::start(&Options::one_core("lanes").setting("engine.front_budget_us = 0"));
    let id = daemon.serve(&joining(200_000));
    let path = format!("/models/{id}/inference");
    let mut clients: Vec<Client> = (0..6).map(|_| daemon.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let row = vec![1.0; 1 + number];
        client
            .send("POST", &path, &[], json!({ "x": [row] }).to_string().as_bytes())
            .unwrap();
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let answer = client.receive().unwrap().expect(200);
        assert_eq!(answer["outputs"][0]["data"], json!(vec![2.0; 1 + number]));
    }
    assert_eq!(daemon.model(&id, "runs"), 6);

    let daemon = Daemon::start(&Options::one_core("lanes"));
    let id = daemon.serve(&joining(50_000_000));
    let start = Instant::now();
    daemon
        .client()
        .infer(&id, &json!({ "x": [[1.0]], "priority": "realtime" }))
        .expect(200);
    assert!(start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
}

#[test]
fn a_full_queue_says_so() {
    for mode in MODES {
        let daemon = Daemon::start(&Options::one_core(mode).setting("engine.queue_jobs_max = 2"));
        let bulk = daemon.serve(&slow("test/bulk"));
        let body = json!({ "x": rows(1_000), "priority": "batch" }).to_string();
        let path = format!("/models/{bulk}/inference");
        let mut clients: Vec<Client> = (0..6).map(|_| daemon.client()).collect();
        for client in &mut clients {
            client.send("POST", &path, &[], body.as_bytes()).unwrap();
        }
        until("some are refused", || {
            (daemon.class("batch", "rejected") >= 2).then_some(())
        });
        until("all have arrived", || {
            (daemon.class("batch", "arrived") == 6).then_some(())
        });
        let refused = daemon.class("batch", "rejected");
        assert!((3..=4).contains(&refused), "{mode}: {refused}");
        // One runs and two wait; which of them, only the answers tell.
        let (mut waiting, mut answered) = (clients, Vec::new());
        until("all that were refused are told", || {
            for mut client in std::mem::take(&mut waiting) {
                let is_answered = client.is_answered().unwrap();
                let side = if is_answered { &mut answered } else { &mut waiting };
                side.push(client);
            }
            (answered.len() as u64 >= refused).then_some(())
        });
        for mut client in answered {
            let answer = client.receive().unwrap();
            assert_eq!(
                (answer.status, answer.kind().as_str()),
                (429, "overloaded"),
                "{}",
                answer.text()
            );
            assert!(
                answer.message().contains("queue of class batch"),
                "{}",
                answer.text()
            );
            let after_s: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            let after_ms = answer.json()["error"]["retry_after_ms"].as_u64().unwrap();
            assert!(
                after_ms >= 1 && after_s == after_ms.div_ceil(1_000),
                "{}",
                answer.text()
            );
        }
        // Other classes have queues of their own.
        daemon
            .client()
            .infer(&bulk, &json!({ "x": rows(1), "priority": "realtime" }))
            .expect(200);
    }
}

/// The cost of the model is known from its profile: a millisecond a row.
#[test]
fn a_deadline_that_cannot_be_met_is_refused_with_the_prediction() {
    for mode in MODES {
        let daemon = Daemon::start(&Options::one_core(mode));
        let id = daemon.serve(&slow("test/slow"));
        for class in ["realtime", "high", "normal", "batch"] {
            let body = json!({ "x": rows(1), "priority": class, "deadline_ms": 0.25 });
            let answer = daemon.client().infer(&id, &body);
            assert_eq!(answer.status, 504, "{mode}: {}", answer.text());
            assert_eq!(answer.kind(), "deadline_miss");
            let error = &answer.json()["error"];
            assert_eq!(error["deadline_us"], 250);
            assert!(error["predicted_us"].as_u64().unwrap() >= 1_000, "{error}");
            assert_eq!(daemon.class(class, "rejected"), 1);
        }
        daemon
            .client()
            .infer(&id, &json!({ "x": rows(1), "deadline_ms": 60_000 }))
            .expect(200);
    }
}

/// What must run before it counts, too.
#[test]
fn a_deadline_that_others_are_in_the_way_of_is_refused() {
    let daemon = Daemon::start(&Options::one_core("layer"));
    let whole = daemon.serve(&whole());
    let path = format!("/models/{whole}/inference");
    let body = json!({ "x": rows(8), "priority": "high" }).to_string();
    let mut before: Vec<Client> = (0..60).map(|_| daemon.client()).collect();
    for client in &mut before {
        client.send("POST", &path, &[], body.as_bytes()).unwrap();
    }
    until("they have arrived", || {
        (daemon.class("high", "arrived") == 60).then_some(())
    });
    let answer = daemon
        .client()
        .infer(&whole, &json!({ "x": rows(8), "deadline_ms": 60 }));
    assert_eq!(answer.status, 504, "{}", answer.text());
    assert!(
        answer.json()["error"]["predicted_us"].as_u64().unwrap() > 60_000,
        "{}",
        answer.text()
    );
    for client in &mut before {
        client.receive().unwrap().expect(200);
    }
}

#[test]
fn a_deadline_that_cannot_be_met_may_be_degraded() {
    let daemon = Daemon::start(&Options::one_core("lanes"));
    let id = daemon.serve(&slow("test/slow"));
    for (asked, got) in [
        ("realtime", "normal"),
        ("high", "normal"),
        ("normal", "normal"),
        ("batch", "batch"),
    ] {
        let body = json!({ "x": rows(1), "priority": asked, "deadline_ms": 0.25, "on_miss": "degrade" });
        let answer = daemon.client().infer(&id, &body).expect(200);
        assert_eq!(answer["class"], got, "{asked}");
        assert_eq!(answer["outputs"][1]["data"], json!([2.0]));
    }
}

/// The numbers add up.
#[test]
fn every_request_is_counted_once() {
    let daemon = Daemon::start(&Options::default());
    let good = daemon.serve(&Package::affine("test/good", "1", "a 2"));
    let bad = daemon.serve(&Package::affine("test/bad", "1", "behave fail"));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = daemon.client();
                for number in 0..50 {
                    let class = ["realtime", "high", "normal", "batch"][number % 4];
                    let body = json!({ "x": [[1.0]], "priority": class });
                    assert_eq!(client.infer(&good, &body).status, 200);
                    assert_eq!(client.infer(&bad, &body).status, 500);
                }
            });
        }
    });
    let sum = |number| {
        ["realtime", "high", "normal", "batch"]
            .iter()
            .map(|class| daemon.class(class, number))
            .sum()
    };
    let totals: [u64; 4] = ["arrived", "completed", "failed", "queued"].map(sum);
    assert_eq!(totals, [400, 200, 200, 0]);
    assert_eq!(
        (daemon.model(&good, "completed"), daemon.model(&bad, "failed")),
        (200, 200)
    );
    let stats = daemon.stats();
    assert_eq!(
        (&stats["total_requests"], &stats["successful_requests"]),
        (&json!(400), &json!(200))
    );
    let metrics = daemon.client().get("/metrics").text();
    assert!(
        metrics.lines().count() > 50 && metrics.contains("realtime"),
        "{metrics}"
    );
    let in_use = stats["shards"]
        .as_array()
        .unwrap()
        .iter()
        .map(|shard| &shard["pool"]["in_use_bytes"]);
    assert!(
        in_use.clone().all(|bytes| *bytes == 0),
        "no tensor is left behind: {in_use:?}"
    );
}
