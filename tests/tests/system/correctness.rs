//! What is served is what ONNX Runtime itself computes, whole, in parts, suspended, on the front and in lanes.

use mlos_tests::{Client, Daemon, Options, Output, Package, Reference, request_of, served};
use mlos_zoo::{Input, Probe, Size, Zoo};
use serde_json::{Value, json};

use crate::traffic::Traffic;

const SEED: u64 = 5;

/// How far an answer may be from the reference, in parts of its greatest element.
///
/// Whole runs are the same to the bit. A run in parts is not: kernels for one row and for many add in another order.
const PARTS_TOLERANCE: f32 = 1e-5;

fn name(zoo: Zoo, size: Size) -> String {
    match size {
        Size::Tiny => format!("zoo/{}-tiny", zoo.name()),
        Size::Full => format!("zoo/{}", zoo.name()),
    }
}

/// Everything a check needs for one model.
struct Case {
    id: String,
    reference: Reference,
    zoo: Zoo,
    size: Size,
}

impl Case {
    fn new(daemon: &Daemon, zoo: Zoo, size: Size) -> Self {
        let package = Package::zoo(&name(zoo, size), "1", zoo, size);
        let root = package.write(&daemon.home().models());
        Self {
            id: daemon.serve_path(&root),
            reference: Reference::load(&root.join("model.onnx")),
            zoo,
            size,
        }
    }

    /// Asks in a class, compares, and returns in how many parts it ran and how often it was suspended.
    #[track_caller]
    fn check(&mut self, client: &mut Client, rows: usize, class: &str) -> (u64, u64) {
        let inputs = self.zoo.inputs(self.size, rows, SEED);
        let body = request_of(&inputs, &[&format!("\"priority\":\"{class}\"")]);
        let path = format!("/models/{}/inference", self.id);
        let answer = client.ask("POST", &path, &[], body.as_bytes());
        let (outputs, expected) = (served(&answer), self.reference.run(&inputs));
        let timing = &answer.json()["timing"];
        let number = |key: &str| timing[key].as_u64().unwrap();
        let tolerance = if number("parts") > 1 { PARTS_TOLERANCE } else { 0.0 };
        let what = format!("{}, {rows} rows, {class}, {timing}", self.id);
        assert_same(&what, &outputs, &expected, tolerance);
        (number("parts"), number("preemptions"))
    }
}

#[track_caller]
fn assert_same(what: &str, outputs: &[Output], expected: &[Output], tolerance: f32) {
    assert_eq!(outputs.len(), expected.len(), "{what}");
    for (output, expect) in outputs.iter().zip(expected) {
        assert_eq!(
            (&output.name, &output.shape),
            (&expect.name, &expect.shape),
            "{what}"
        );
        let distance = expect.data.distance(&output.data);
        assert!(distance <= tolerance, "{what}: {} is {distance} off", output.name);
    }
}

/// Yields as close as they may be, and nothing but REALTIME on the front.
fn options(preemption: &str) -> Options {
    Options::one_core(preemption)
        .setting("engine.slice_target_us = 50")
        .setting("engine.front_budget_us = 0")
}

fn every_tiny_model(preemption: &str) {
    let daemon = Daemon::start(&options(preemption));
    let mut client = daemon.client();
    for zoo in Zoo::ALL {
        let mut case = Case::new(&daemon, zoo, Size::Tiny);
        for rows in [1, 3] {
            for class in ["realtime", "high", "normal", "batch"] {
                case.check(&mut client, rows, class);
            }
        }
    }
}

#[test]
fn every_tiny_model_with_lanes() {
    every_tiny_model("lanes");
}

#[test]
fn every_tiny_model_with_layers() {
    every_tiny_model("layer");
}

#[test]
fn every_tiny_model_without_preemption() {
    every_tiny_model("none");
}

/// A client asks the digits model in class REALTIME all the time.
fn urgent_traffic(daemon: &Daemon) -> Traffic {
    let digits = daemon.serve(&Package::zoo("test/urgent", "1", Zoo::Digits, Size::Tiny));
    let body = json!({ "image": vec![0.5; 64], "priority": "realtime" });
    let first = daemon.client().infer(&digits, &body);
    let expected = served(&first);
    Traffic::start(daemon, 1, &digits, &body, move |answer| {
        // More than REALTIME may take is refused, and said.
        if answer.status != 429 {
            assert_eq!(served(answer), expected);
        }
    })
}

/// BERT and ResNet as published, again and again, until one was suspended often.
#[test]
fn full_models_suspended_between_layers() {
    let daemon = Daemon::start(&options("layer"));
    let mut client = daemon.client();
    let mut resnet = Case::new(&daemon, Zoo::ResNet50, Size::Full);
    let mut bert = Case::new(&daemon, Zoo::BertBase, Size::Full);
    let urgent = urgent_traffic(&daemon);
    let mut totals = [(0, 0); 2];
    for (case, (parts, preemptions)) in [&mut resnet, &mut bert].into_iter().zip(&mut totals) {
        for rows in [1, 2] {
            let (in_parts, suspended) = case.check(&mut client, rows, "batch");
            *parts += in_parts;
            *preemptions += suspended;
        }
    }
    let answered = urgent.stop();
    assert!(
        totals.iter().all(|(_, preemptions)| *preemptions >= 10),
        "{totals:?}"
    );
    assert!(
        totals.iter().all(|(parts, _)| *parts == 3),
        "two rows run one by one: {totals:?}"
    );
    assert!(answered > 20, "{answered}");
}

#[test]
fn full_models_in_lanes() {
    let daemon = Daemon::start(&options("lanes"));
    let mut client = daemon.client();
    let mut cases = [Zoo::ResNet50, Zoo::BertBase].map(|zoo| Case::new(&daemon, zoo, Size::Full));
    let urgent = urgent_traffic(&daemon);
    for case in &mut cases {
        case.check(&mut client, 1, "high");
        case.check(&mut client, 2, "normal");
    }
    assert!(urgent.stop() > 20);
}

/// Many clients, many shapes, all classes at once, with deadlines that move some to another core: answers do not mix.
#[test]
fn answers_belong_to_their_requests() {
    let one_core = ["lanes", "layer", "none"].map(options);
    for options in one_core.into_iter().chain([Options::default()]) {
        let daemon = Daemon::start(&options);
        let mut shared = Case::new(&daemon, Zoo::Gpt2, Size::Tiny);
        let expected: Vec<(Vec<Input>, Vec<Output>)> = (0..12)
            .map(|seed| {
                let inputs = shared
                    .zoo
                    .inputs_of(Size::Tiny, 1 + seed % 3, 4 + seed, seed as u64);
                let outputs = shared.reference.run(&inputs);
                (inputs, outputs)
            })
            .collect();
        std::thread::scope(|scope| {
            for (index, class) in ["realtime", "high", "normal", "batch"].into_iter().enumerate() {
                let (mut client, id, expected) = (daemon.client(), &shared.id, &expected);
                scope.spawn(move || {
                    for round in 0..24 {
                        let (inputs, outputs) = &expected[(round * 5 + index * 3) % expected.len()];
                        let deadline = if round % 2 == 0 {
                            "\"deadline_ms\":2000"
                        } else {
                            "\"on_miss\":\"reject\""
                        };
                        let body = request_of(inputs, &[&format!("\"priority\":\"{class}\""), deadline]);
                        let path = format!("/models/{id}/inference");
                        let answer = client.ask("POST", &path, &[], body.as_bytes());
                        if !matches!(answer.status, 429 | 504) {
                            assert_same(class, &served(&answer), outputs, PARTS_TOLERANCE);
                        }
                    }
                });
            }
        });
    }
}

/// Every element type goes in and comes out unharmed.
#[test]
fn every_element_type_is_carried() {
    let daemon = Daemon::start(&Options::default());
    let mut client = daemon.client();
    let folder = daemon.home().models();
    for (dtype, elements) in [
        ("float32", json!([[0.1, -2.5, 3e-40, "NaN"]])),
        ("float64", json!([[0.1, -1e300, 5e-324, "-Infinity"]])),
        ("float16", json!([[0.5, -2.0, 65504.0, "Infinity"]])),
        ("bfloat16", json!([[0.5, -2.0, 128.0, 1.0]])),
        ("int8", json!([[-128, 127, 0, 1]])),
        ("int16", json!([[-32768, 32767, 0, 1]])),
        ("int32", json!([[i32::MIN, i32::MAX, 0, 1]])),
        ("int64", json!([[i64::MIN, i64::MAX, 0, 1]])),
        ("uint8", json!([[255, 0, 1, 2]])),
        ("uint16", json!([[65535, 0, 1, 2]])),
        ("uint32", json!([[u32::MAX, 0, 1, 2]])),
        ("uint64", json!([[u64::MAX, 0, 1, 2]])),
        ("bool", json!([[true, false, true, true]])),
        ("string", json!([["", "é\n\"", "text", "\u{1F600}"]])),
    ] {
        let probe = Probe::all()
            .into_iter()
            .find(|probe| probe.name() == format!("identity-{dtype}"));
        let file = probe.unwrap().write(&folder).unwrap();
        let body = json!({ "model_id": format!("test/{dtype}"), "path": file });
        let id = client.post("/models/register", &body).expect(201)["model_id"].clone();
        let id = id.as_str().unwrap();
        daemon.wait_ready(id);
        let answer = client.infer(id, &json!({ "x": elements })).expect(200);
        let output = &answer["outputs"][0];
        assert_eq!(
            (&output["dtype"], &output["shape"]),
            (&json!(dtype), &json!([1, 4]))
        );
        assert_eq!(sizes(&output["data"]), sizes(&elements[0]), "{dtype}");
    }
}

/// Numbers as the nearest doubles, so that `-2.0` and `-2` are the same; the rest as it is. Whole numbers stay whole.
fn sizes(data: &Value) -> Vec<Value> {
    let number = |value: &Value| match value.as_f64() {
        Some(number) if value.is_f64() => json!(number as f32),
        Some(number) if number.abs() < 1e15 => json!(number as f32),
        _ => value.clone(),
    };
    data.as_array().unwrap().iter().map(number).collect()
}
