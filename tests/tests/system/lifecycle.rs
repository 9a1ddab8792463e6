//! Models come, change, go, and are still there afterwards.

use std::time::Duration;

use mlos_tests::{Client, Daemon, Home, Options, Package, Reference, run, served, until};
use mlos_zoo::{Size, Zoo};
use serde_json::{Value, json};

use crate::traffic::Traffic;

fn factor(version: &str, factor: u32) -> Package {
    Package::affine("test/factor", version, &format!("a {factor}"))
}

/// What the model makes of 1.
#[track_caller]
fn product(client: &mut Client, id: &str) -> f64 {
    let answer = client.infer(id, &json!({ "x": [[1.0]] })).expect(200);
    answer["outputs"][0]["data"][0].as_f64().unwrap()
}

fn versions(client: &mut Client, id: &str) -> Value {
    client.get(&format!("/models/{id}")).expect(200)["versions"].clone()
}

/// Asks a model that doubles, and takes its time for each row, for so many; returns when it runs, with its id.
#[track_caller]
fn ask_slowly(daemon: &Daemon, row_us: u32, rows: usize) -> (String, Client) {
    let model = Package::affine("test/slow", "1", &format!("a 2\nbusy_us {row_us}"));
    let id = daemon.serve(&model);
    let mut client = daemon.client();
    let body = json!({ "x": vec![[1.0]; rows] }).to_string();
    client
        .send("POST", &format!("/models/{id}/inference"), &[], body.as_bytes())
        .unwrap();
    until("it runs", || (daemon.model(&id, "runs") > 0).then_some(()));
    (id, client)
}

#[test]
fn a_model_is_registered_loaded_asked_and_removed() {
    let daemon = Daemon::start(&Options::default());
    let mut client = daemon.client();
    let root = factor("1", 2).write(&daemon.home().models());
    let registered = client
        .post("/models/register", &json!({ "path": root }))
        .expect(201);
    assert_eq!(registered["model_id"], "test/factor@1");
    assert_eq!(registered["plugin_id"], "example.affine");
    daemon.wait_ready("test/factor@1");
    assert_eq!(client.get("/health").expect(200)["models_ready"], 1);
    for id in [
        "test/factor",
        "test%2Ffactor",
        "test/factor@1",
        "test/factor@latest",
        "test%2Ffactor%401",
    ] {
        assert_eq!(product(&mut client, id), 2.0, "{id}");
    }
    let answer = client
        .infer("test/factor", &json!({ "x": [[1.0, 3.0]] }))
        .expect(200);
    assert_eq!(
        (&answer["model_id"], &answer["model_version"]),
        (&json!("test/factor@1"), &json!("1"))
    );
    assert_eq!(
        answer["outputs"][1],
        json!({ "name": "sums", "dtype": "float32", "shape": [1], "data": [8.0] })
    );
    let again = client
        .post("/models/register", &json!({ "path": root }))
        .expect(200);
    assert_eq!(
        (&again["already"], &again["state"]),
        (&json!(true), &json!("ready"))
    );
    client.delete("/models/test/factor").expect(200);
    assert_eq!(client.get("/models/test/factor").status, 404);
    assert_eq!(client.infer("test/factor", &json!({ "x": [[1.0]] })).status, 404);
    assert_eq!(client.get("/models").expect(200)["total"], 0);
    assert_eq!(client.delete("/models/test/factor").status, 404);
}

#[test]
fn versions_are_activated_and_rolled_back() {
    let daemon = Daemon::start(&Options::default());
    let mut client = daemon.client();
    for (version, by) in [("1", 2), ("2", 3)] {
        daemon.serve(&factor(version, by));
    }
    assert_eq!(versions(&mut client, "test/factor"), json!(["1", "2"]));
    assert_eq!(
        product(&mut client, "test/factor"),
        3.0,
        "the one that came last is active"
    );
    assert_eq!(product(&mut client, "test/factor@1"), 2.0);
    client
        .post("/models/test/factor/activate", &json!({}))
        .expect(200);
    assert_eq!(product(&mut client, "test/factor"), 2.0, "rolled back");
    client
        .post("/models/test/factor/activate", &json!({}))
        .expect(200);
    assert_eq!(product(&mut client, "test/factor"), 3.0, "and forth");
    client
        .post("/models/test/factor@1/activate", &json!({}))
        .expect(200);
    assert_eq!(product(&mut client, "test/factor"), 2.0);

    let third = factor("3", 5).write(&daemon.home().models());
    client
        .post("/models/register", &json!({ "path": third, "activate": false }))
        .expect(201);
    daemon.wait_ready("test/factor@3");
    assert_eq!(product(&mut client, "test/factor"), 2.0, "not activated");
    assert_eq!(
        client.post("/models/test/factor@9/activate", &json!({})).status,
        404
    );

    client.delete("/models/test/factor@1").expect(200);
    assert_eq!(
        product(&mut client, "test/factor"),
        3.0,
        "the one before it takes its place"
    );
    assert_eq!(client.get("/models/test/factor@1").status, 404);
    assert_eq!(versions(&mut client, "test/factor"), json!(["2", "3"]));
}

#[test]
fn there_is_nothing_to_roll_back_to_at_first() {
    let daemon = Daemon::start(&Options::default());
    let id = daemon.serve(&factor("1", 2));
    let mut client = daemon.client();
    let answer = client.post("/models/test/factor/activate", &json!({}));
    assert_eq!(
        (answer.status, answer.kind().as_str()),
        (409, "conflict"),
        "{}",
        answer.text()
    );
    assert_eq!(product(&mut client, &id), 2.0);
}

#[test]
fn changed_content_under_the_same_version_replaces_it() {
    let daemon = Daemon::start(&Options::default());
    let mut client = daemon.client();
    daemon.serve(&factor("1", 2));
    let root = factor("1", 7).write(&daemon.home().models());
    let registered = client
        .post("/models/register", &json!({ "path": root }))
        .expect(201);
    assert_eq!(registered["already"], false);
    until("the new content serves", || {
        (product(&mut client, "test/factor") == 7.0).then_some(())
    });
    assert_eq!(versions(&mut client, "test/factor"), json!(["1"]));
}

#[test]
fn new_content_that_cannot_be_loaded_leaves_the_old_serving() {
    let daemon = Daemon::start(&Options::default());
    let mut client = daemon.client();
    daemon.serve(&factor("1", 2));
    let broken = Package::affine("test/factor", "1", "nonsense 1").write(&daemon.home().models());
    client
        .post("/models/register", &json!({ "path": broken }))
        .expect(201);
    let failure = until("the failure is shown", || {
        client.get("/models/test/factor").json()["failure"]
            .as_str()
            .map(str::to_owned)
    });
    assert!(failure.contains("nonsense"), "{failure}");
    assert_eq!(client.get("/models/test/factor").json()["state"], "ready");
    assert_eq!(product(&mut client, "test/factor"), 2.0);
}

/// No request fails while the model behind it is replaced again and again, in both ways there are.
#[test]
fn models_are_replaced_under_traffic_without_a_failed_request() {
    let daemon = Daemon::start(&Options::default());
    let mut client = daemon.client();
    daemon.serve(&factor("1", 2));
    let traffic = Traffic::start(&daemon, 3, "test/factor", &json!({ "x": [[1.0]] }), |answer| {
        let answer = answer.expect(200);
        let product = answer["outputs"][0]["data"][0].as_f64().unwrap();
        let version: f64 = answer["model_version"].as_str().unwrap().parse().unwrap();
        assert!(product == version + 1.0 || version == 1.0, "{answer}");
    });
    for round in 0..10 {
        // The same version with other content.
        let by = 10 + round;
        let root = factor("1", by).write(&daemon.home().models());
        client
            .post("/models/register", &json!({ "path": root }))
            .expect(201);
        until("the new content serves", || {
            (product(&mut client, "test/factor@1") == f64::from(by)).then_some(())
        });
        // Another version, which then goes.
        let version = 2 + round;
        let id = daemon.serve(&factor(&version.to_string(), version + 1));
        assert_eq!(product(&mut client, "test/factor"), f64::from(version + 1));
        client
            .post("/models/test/factor@1/activate", &json!({}))
            .expect(200);
        client.delete(&format!("/models/{id}")).expect(200);
    }
    let answered = traffic.stop();
    assert!(answered > 100, "{answered}");
    assert_eq!(daemon.class("normal", "failed"), 0);
}

/// What is in flight when its model goes is answered.
#[test]
fn a_model_that_goes_finishes_what_it_has() {
    let daemon = Daemon::start(&Options::default());
    let (id, mut asking) = ask_slowly(&daemon, 1_000, 300);
    daemon.client().delete(&format!("/models/{id}")).expect(200);
    let answer = asking.receive().unwrap().expect(200);
    assert_eq!(answer["outputs"][0]["shape"], json!([300, 1]));
    assert_eq!(daemon.client().get(&format!("/models/{id}")).status, 404);
}

/// 100 MB of weights, five times; what stays must not grow.
#[test]
fn memory_is_given_back() {
    let daemon = Daemon::start(&Options::default());
    let mut client = daemon.client();
    // 5,120 squared are 26 million weights, 105 MB.
    let zoo = Zoo::Mlp {
        dim: 5120,
        width: 5120,
        depth: 1,
    };
    let root = Package::zoo("test/large", "1", zoo, Size::Full).write(&daemon.home().models());
    let mut after = Vec::new();
    for _ in 0..5 {
        let id = daemon.serve_path(&root);
        assert!(daemon.resident_mib() > 100, "{} MiB", daemon.resident_mib());
        client.delete(&format!("/models/{id}")).expect(200);
        after.push(daemon.resident_mib());
    }
    let most = after.iter().max().unwrap();
    assert!(
        *most < after[0] + 16 && after[0] < 150,
        "after each of five rounds: {after:?} MiB"
    );
}

#[test]
fn everything_is_back_after_a_restart() {
    let options = Options::default();
    let daemon = Daemon::start(&options);
    for (version, by) in [("1", 2), ("2", 3), ("3", 5)] {
        daemon.serve(&factor(version, by));
    }
    let mut client = daemon.client();
    client
        .post("/models/test/factor@2/activate", &json!({}))
        .expect(200);
    client.delete("/models/test/factor@1").expect(200);
    let bare = daemon.home().models().join("bare.affine");
    std::fs::write(&bare, "affine 1\na 9\n").unwrap();
    client
        .post(
            "/models/register",
            &json!({ "model_id": "test/bare", "path": bare }),
        )
        .expect(201);
    daemon.wait_ready("test/bare");

    let daemon = daemon.restart(&options);
    let mut client = daemon.client();
    // From its first answer on it knows them; they may still be on their way.
    let first = client.infer("test/bare", &json!({ "x": [[1.0]] }));
    assert!(matches!(first.status, 200 | 503), "{}", first.text());
    for id in ["test/factor@2", "test/factor@3", "test/bare"] {
        daemon.wait_ready(id);
    }
    assert_eq!(product(&mut client, "test/factor"), 3.0, "the active version");
    assert_eq!(product(&mut client, "test/bare"), 9.0);
    assert_eq!(versions(&mut client, "test/factor"), json!(["2", "3"]));
    client
        .post("/models/test/factor/activate", &json!({}))
        .expect(200);
    assert_eq!(
        product(&mut client, "test/factor"),
        5.0,
        "what there was to roll back to"
    );
}

#[test]
fn a_file_that_changes_under_a_running_daemon_is_found_at_the_next_start() {
    let options = Options::default();
    let daemon = Daemon::start(&options);
    let package = Package::zoo("test/mlp", "1", Zoo::MLP_SMALL, Size::Tiny);
    let root = package.write(&daemon.home().models());
    let id = daemon.serve_path(&root);
    let file = root.join("model.onnx");
    let inputs = Zoo::MLP_SMALL.inputs(Size::Tiny, 1, 1);
    let expected = Reference::load(&file).run(&inputs);
    let body = mlos_tests::request_of(&inputs, &[]);
    let path = format!("/models/{id}/inference");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let answer = daemon.client().ask("POST", &path, &[], body.as_bytes());
    assert_eq!(served(&answer), expected, "it serves what it loaded");

    let daemon = daemon.restart(&options);
    let model = daemon.wait_loaded(&id);
    assert_eq!(model["state"], "failed");
    let failure = model["failure"].as_str().unwrap();
    assert!(
        failure.contains("sha256") && failure.contains("model.onnx"),
        "{failure}"
    );
    let answer = daemon.client().ask("POST", &path, &[], body.as_bytes());
    assert!(matches!(answer.status, 500 | 503), "{}", answer.text());
    assert!(answer.message().contains("sha256"), "{}", answer.text());
    // Put right and registered again, it serves.
    let _ = package.write(&daemon.home().models());
    daemon.serve_path(&root);
    let answer = daemon.client().ask("POST", &path, &[], body.as_bytes());
    assert_eq!(served(&answer), expected);
}

#[test]
fn a_folder_that_is_gone_after_a_restart_is_said() {
    let options = Options::default();
    let daemon = Daemon::start(&options);
    let root = factor("1", 2).write(&daemon.home().models());
    let id = daemon.serve_path(&root);
    std::fs::remove_dir_all(&root).unwrap();
    let daemon = daemon.restart(&options);
    let model = daemon.wait_loaded(&id);
    assert_eq!(model["state"], "failed");
    assert!(model["failure"].as_str().unwrap().contains("factor"), "{model}");
    daemon.client().delete(&format!("/models/{id}")).expect(200);
}

#[test]
fn a_scan_finds_what_is_new_and_says_what_is_broken() {
    let daemon = Daemon::start(&Options::default());
    let mut client = daemon.client();
    let models = daemon.home().models();
    let empty = client.post("/models/scan", &json!({})).expect(200);
    assert_eq!((&empty["registered"], &empty["known"]), (&json!([]), &json!(0)));
    for (version, by) in [("1", 2), ("2", 3)] {
        let _ = factor(version, by).write(&models);
    }
    let broken = models.join("broken");
    std::fs::create_dir_all(&broken).unwrap();
    std::fs::write(broken.join("manifest.yaml"), "apiVersion: 7").unwrap();
    let found = client.post("/models/scan", &json!({})).expect(200);
    assert_eq!(found["registered"], json!(["test/factor@1", "test/factor@2"]));
    assert_eq!(found["failed"][0]["path"], json!(broken));
    for id in ["test/factor@1", "test/factor@2"] {
        daemon.wait_ready(id);
    }
    let again = client.post("/models/scan", &json!({})).expect(200);
    assert_eq!((&again["registered"], &again["known"]), (&json!([]), &json!(2)));
}

#[test]
fn the_parts_of_a_package_are_asked_by_name() {
    let daemon = Daemon::start(&Options::default());
    let folder = tempfile::tempdir().unwrap();
    let parts = [("encoder", Zoo::T5Encoder), ("decoder", Zoo::T5Decoder)].map(|(role, zoo)| {
        let path = zoo.write(folder.path(), Size::Tiny, 3).unwrap();
        (role, zoo, path)
    });
    let package = parts
        .iter()
        .fold(Package::new("test/t5", "1"), |package, (role, _, path)| {
            let bytes = std::fs::read(path).unwrap();
            package.executable(&format!("onnx/{role}.onnx"), "onnx", role, bytes)
        });
    let id = daemon.serve(&package);
    let mut client = daemon.client();
    let path = format!("/models/{id}/inference");
    for (role, zoo, file) in &parts {
        let inputs = zoo.inputs(Size::Tiny, 2, 9);
        let body = mlos_tests::request_of(&inputs, &[&format!("\"component\":\"{role}\"")]);
        let answer = client.ask("POST", &path, &[], body.as_bytes());
        assert_eq!(served(&answer), Reference::load(file).run(&inputs), "{role}");
    }
    let inputs = Zoo::T5Encoder.inputs(Size::Tiny, 1, 9);
    let body = mlos_tests::request_of(&inputs, &[]);
    let answer = client.ask("POST", &path, &[], body.as_bytes());
    assert_eq!(
        served(&answer)[0].name,
        "last_hidden_state",
        "the first is what is asked without a name"
    );
    let model = client.get(&format!("/models/{id}")).expect(200);
    let names: Vec<_> = model["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| &part["name"])
        .collect();
    assert_eq!(names, ["encoder", "decoder"]);
}

#[test]
fn a_second_daemon_on_the_same_port_or_folder_says_what_is_wrong() {
    let options = Options::default();
    let daemon = Daemon::start(&options);
    let address = daemon.address.to_string();
    let home = Home::new();
    let ended = run(options
        .clone()
        .flag("--http", &address)
        .command(&home)
        .arg("--log=error"));
    assert_eq!(ended.code(), 1);
    assert!(
        ended.stderr.contains(&address) && ended.stderr.contains("--http"),
        "{}",
        ended.stderr
    );
    let ended = run(options.command(daemon.home()).arg("--log=error"));
    assert_eq!(ended.code(), 1);
    assert!(
        ended.stderr.contains("another mlosd") && ended.stderr.contains("--state-dir"),
        "{}",
        ended.stderr
    );
    daemon.client().get("/health").expect(200);
}

/// SIGTERM under load: readiness turns first, and nothing that was accepted is lost.
#[test]
fn a_drain_loses_nothing() {
    let options = Options::default().setting("http.drain_notice_ms = 1500");
    let mut daemon = Daemon::start(&options);
    let id = daemon.serve(&Package::affine("test/slow", "1", "a 2\nbusy_us 1000"));
    let mut long: Vec<Client> = (0..3).map(|_| daemon.client()).collect();
    let rows: Vec<[f64; 1]> = vec![[1.0]; 400];
    let (path, body) = (
        format!("/models/{id}/inference"),
        json!({ "x": rows }).to_string(),
    );
    for client in &mut long {
        client.send("POST", &path, &[], body.as_bytes()).unwrap();
    }
    let mut watching = daemon.client();
    let arrived = || daemon.class("normal", "arrived");
    until("they have arrived", || (arrived() == 3).then_some(()));
    daemon.terminate();
    let health = until("readiness turns", || {
        let health = watching.get("/health");
        (health.status == 503).then_some(health)
    });
    assert_eq!(health.json()["status"], "draining");
    // Whoever has not heard of it yet is still served.
    let answer = daemon
        .client()
        .infer(&id, &json!({ "x": [[1.0]], "priority": "realtime" }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    for client in &mut long {
        let answer = client.receive().unwrap().expect(200);
        assert_eq!(answer["outputs"][0]["shape"], json!([400, 1]));
    }
    let status = daemon.wait();
    assert_eq!(status.code(), Some(0), "{}", daemon.log());
    assert!(
        daemon.client().try_ask("GET", "/health", &[], b"").is_err(),
        "nobody listens any more"
    );
}

/// An idle connection does not hold up a drain, and one in the middle of a head no longer than a head may take.
#[test]
fn a_drain_does_not_wait_for_idle_connections() {
    let mut daemon = Daemon::start(&Options::default().setting("http.header_seconds_max = 1"));
    let mut idle: Vec<Client> = (0..20).map(|_| daemon.client()).collect();
    for client in &mut idle {
        client.get("/health").expect(200);
    }
    let mut half = daemon.client();
    half.write(b"GET /health HT").unwrap();
    let start = std::time::Instant::now();
    daemon.terminate();
    assert!(daemon.wait().success());
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    assert!(idle.iter_mut().all(|client| client.is_closed().unwrap_or(true)));
}

/// What does not end is given up after the time that is set, and the exit code says that something was lost.
#[test]
fn a_drain_has_an_end() {
    let mut daemon = Daemon::start(&Options::default().setting("engine.drain_ms_max = 200"));
    let (_, _asking) = ask_slowly(&daemon, 10_000, 1000);
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(1));
    assert!(daemon.log().contains("draining"), "{}", daemon.log());
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut daemon = Daemon::start(&Options::default());
    let (_, _asking) = ask_slowly(&daemon, 10_000, 10_000);
    daemon.terminate();
    until("it drains", || daemon.log().contains("draining").then_some(()));
    let start = std::time::Instant::now();
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(1));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}
