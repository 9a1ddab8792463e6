//! Everything at once, at random from a seed: requests of every class, with and without deadlines, clients that leave,
//! models that come and go. Afterwards the books must balance.

use mlos_tests::{Client, Daemon, Options, Package, count, until};
use mlos_zoo::{Prng, Size, Zoo};
use serde_json::{Value, json};

const CLASSES: [&str; 4] = ["realtime", "high", "normal", "batch"];
const CLIENTS: u64 = 4;

/// One client's part: so many random things.
fn disturb(daemon: &Daemon, seed: u64, stream: u64, things: usize) {
    let random = &mut Prng::new(seed, stream);
    let mut client = daemon.client();
    for _ in 0..things {
        match random.below(20) {
            0..12 => ask(&mut client, random),
            12..16 => ask_and_leave(daemon, random),
            16..18 => register(daemon, &mut client, random),
            _ => unregister(&mut client, random),
        }
    }
}

fn request(random: &mut Prng) -> (&'static str, Value) {
    let class = CLASSES[random.below(4) as usize];
    let model = ["test/comes", "test/stays", "test/joins", "test/layers"][random.below(4) as usize];
    let rows = 1 + random.below(12) as usize;
    let mut body = match model {
        "test/layers" => json!({ "image": vec![vec![[[1; 8]; 8]]; rows] }),
        _ => json!({ "x": vec![[random.below(100) as f64, 1.0]; rows] }),
    };
    body["priority"] = json!(class);
    if random.below(3) == 0 {
        body["deadline_ms"] = json!(1 + random.below(50));
        body["on_miss"] = json!(["reject", "degrade"][random.below(2) as usize]);
    }
    (model, body)
}

/// The answer is right, or says why there is none; a failure is never among them.
fn ask(client: &mut Client, random: &mut Prng) {
    let (model, body) = request(random);
    let path = format!("/models/{model}/inference");
    let answer = client.try_ask("POST", &path, &[], body.to_string().as_bytes());
    let answer = answer.unwrap_or_else(|error| panic!("{model}: {body}: {error}"));
    match answer.status {
        200 => {
            let rows = body["x"].as_array().or(body["image"].as_array()).unwrap();
            let output = &answer.json()["outputs"][0];
            assert_eq!(output["shape"][0], rows.len(), "{output}");
            if let Some(x) = body["x"][0][0].as_f64() {
                assert_eq!(output["data"][0].as_f64(), Some(2.0 * x), "{output}");
            }
        }
        404 | 503 => assert_eq!(model, "test/comes", "{}", answer.text()),
        429 | 504 => {}
        _ => panic!("{body}: {} {}", answer.status, answer.text()),
    }
}

fn ask_and_leave(daemon: &Daemon, random: &mut Prng) {
    let (model, body) = request(random);
    let mut client = daemon.client();
    let body = body.to_string();
    let cut = body.len() - random.below(2) as usize * random.below(body.len() as u64) as usize;
    let path = format!("/models/{model}/inference");
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.write(head.as_bytes()).unwrap();
    client.write(&body.as_bytes()[..cut]).unwrap();
}

fn register(daemon: &Daemon, client: &mut Client, random: &mut Prng) {
    let version = 1 + random.below(3);
    let root = daemon.home().models().join(format!("test/comes/{version}"));
    let answer = client.post("/models/register", &json!({ "path": root }));
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
}

fn unregister(client: &mut Client, random: &mut Prng) {
    let version = 1 + random.below(3);
    let answer = client.delete(&format!("/models/test/comes@{version}"));
    assert!(matches!(answer.status, 200 | 404), "{}", answer.text());
}

fn disorder(options: &Options) {
    let (things, seed) = (
        count("MLOS_TESTS_THINGS", 200),
        count("MLOS_TESTS_SEED", 1) as u64,
    );
    println!("{things} things by each of {CLIENTS} clients, seed {seed}");
    let daemon = Daemon::start(options);
    for version in ["1", "2", "3"] {
        let _ = Package::affine("test/comes", version, "a 2\nbusy_us 300").write(&daemon.home().models());
    }
    daemon.serve(&Package::affine("test/stays", "1", "a 2\nbusy_us 200"));
    let joins = Package::affine("test/joins", "1", "a 2\nbusy_us 50");
    daemon.serve(&joins.serving(json!({ "max_batch_rows": 16, "max_queue_delay_us": 3_000 })));
    daemon.serve(&Package::zoo("test/layers", "1", Zoo::Digits, Size::Tiny));
    std::thread::scope(|scope| {
        for stream in 0..CLIENTS {
            let daemon = &daemon;
            scope.spawn(move || disturb(daemon, seed, stream, things));
        }
    });
    until("the books balance", || balances(&daemon).then_some(()));
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    // Nothing is stuck: every model that stayed answers in every class.
    let mut client = daemon.client();
    for class in CLASSES {
        let body = json!({ "x": [[21.0, 1.0]], "priority": class });
        for model in ["test/stays", "test/joins"] {
            assert_eq!(
                client.infer(model, &body).expect(200)["outputs"][0]["data"][0],
                42.0
            );
        }
    }
    let _ = daemon.stop();
}

/// What arrived has ended, once, and left nothing behind.
fn balances(daemon: &Daemon) -> bool {
    let stats = daemon.stats();
    let classes = stats["classes"].as_array().unwrap();
    let sum = |number: &str| {
        classes
            .iter()
            .map(|class| class[number].as_u64().unwrap())
            .sum::<u64>()
    };
    let ended = sum("completed") + sum("failed") + sum("rejected") + sum("cancelled");
    let in_use = |shard: &Value| shard["pool"]["in_use_bytes"].as_u64().unwrap();
    let shards = stats["shards"].as_array().unwrap();
    let is_quiet = sum("queued") == 0 && shards.iter().map(in_use).sum::<u64>() == 0;
    assert!(sum("arrived") >= ended, "{stats}");
    assert_eq!(sum("failed"), 0, "{stats}");
    is_quiet && sum("arrived") == ended
}

#[test]
fn with_lanes_on_every_core() {
    disorder(&Options::default());
}

#[test]
fn with_lanes_on_one_core() {
    disorder(&Options::one_core("lanes"));
}

#[test]
fn with_layers() {
    disorder(&Options::one_core("layer").setting("engine.slice_target_us = 50"));
}

#[test]
fn with_layers_on_every_core() {
    disorder(&Options::default().flag("--preemption", "layer"));
}

#[test]
fn without_preemption() {
    disorder(&Options::one_core("none"));
}
