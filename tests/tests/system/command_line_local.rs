//! `axon infer --via local`: the same words, over shared memory.

use std::path::{Path, PathBuf};

use mlos_shm::Status;
use mlos_tests::{Daemon, Local, Options, Package, json_of, until};
use mlos_zoo::{Input, Probe, Size, Zoo};
use serde_json::{Value, json};

use crate::command_line::Axon;
use crate::local::{double, slow, socket};

/// A daemon that listens on its socket.
fn daemon() -> Daemon {
    let daemon = Daemon::start(&Options::default());
    until("the local socket", || {
        Local::try_join(&socket(&daemon), 0, 0).ok()
    });
    daemon
}

fn named(folder: &Path, input: &Input) -> String {
    let path = folder.join(format!("{}.json", input.name));
    std::fs::write(&path, json_of(input)).unwrap();
    format!("{}=@{}", input.name, path.display())
}

/// What both ways answer to the same words, which is the same but for the time that it took.
#[track_caller]
fn both(axon: &Axon, id: &str, inputs: &[String]) -> Value {
    let mut arguments = vec!["infer", id];
    inputs.iter().for_each(|input| arguments.extend(["-i", input]));
    let [over_http, over_memory] = ["http", "local"].map(|via| {
        let mut answer = axon.json(&[arguments.as_slice(), &["--via", via]].concat());
        let fields = answer.as_object_mut().unwrap();
        let timing = fields.remove("timing").unwrap();
        let times = ["queue_us", "compute_us", "total_us", "preemptions", "parts"];
        assert!(times.iter().all(|time| timing[time].is_u64()), "{timing}");
        assert!(fields.remove("inference_time_us").unwrap().is_u64());
        answer
    });
    assert_eq!(over_memory, over_http, "{id}");
    over_memory
}

#[test]
fn every_element_type_is_answered_as_over_http() {
    let daemon = daemon();
    let axon = Axon::new(&daemon);
    let mut seen = 0;
    for probe in Probe::all() {
        let name = probe.name();
        let Some(dtype) = name.strip_prefix("identity-") else {
            continue;
        };
        let values = match dtype {
            "bool" => json!([true, false, 1, 0]),
            "uint64" => json!([0, 1, 3.0, u64::MAX]),
            "int64" => json!([i64::MIN, -1, 2e3, i64::MAX]),
            unsigned if unsigned.starts_with('u') => json!([0, 1, 2, 255]),
            signed if signed.starts_with("int") => json!([-128, -1, 0, 127]),
            "float64" => json!([0.1, -0.0, 5e-324, "NaN"]),
            "float32" => json!([0.1, 1e-45, -3.4028235e38, "Infinity"]),
            "float16" | "bfloat16" => json!([0.1, -65504.0, "NaN", "-Infinity"]),
            _ => json!(["a", "", "ünï", "\n"]),
        };
        let file = probe.write(&daemon.home().models()).unwrap();
        let body = json!({ "model_id": format!("test/{dtype}"), "path": file });
        let id = daemon.client().post("/models/register", &body).expect(201)["model_id"].clone();
        let id = id.as_str().unwrap();
        daemon.wait_ready(id);
        let input = format!("x={values}");
        if dtype == "string" {
            let refused = axon.run(&["infer", id, "-i", &input, "--via", "local"]);
            assert_eq!(refused.code(), 6, "{refused:?}");
            assert!(refused.stderr.contains(Status::Unsupported.name()), "{refused:?}");
            continue;
        }
        let answer = both(&axon, id, &[input]);
        assert_eq!(answer["outputs"][0]["shape"], json!([1, 4]), "{answer}");
        assert_eq!(answer["outputs"][0]["dtype"], dtype);
        seen += 1;
    }
    assert_eq!(seen, 13);
}

#[test]
fn every_tiny_model_is_answered_as_over_http() {
    let daemon = daemon();
    let axon = Axon::new(&daemon);
    let folder = tempfile::tempdir().unwrap();
    for zoo in Zoo::ALL {
        let id = format!("zoo/{}", zoo.name());
        let id = daemon.serve(&Package::zoo(&id, "1", zoo, Size::Tiny));
        let inputs = zoo.inputs(Size::Tiny, 1, 5);
        let mut words: Vec<String> = inputs.iter().map(|input| named(folder.path(), input)).collect();
        both(&axon, &id, &words);
        // What follows from the ids need not be said.
        let is_said =
            |word: &String| !word.starts_with("attention_mask=") && !word.starts_with("token_type_ids=");
        if inputs.iter().any(|input| input.name == "input_ids") && !words.iter().all(is_said) {
            words.retain(is_said);
            both(&axon, &id, &words);
        }
    }
}

fn npy(folder: &Path, rows: usize, columns: usize) -> PathBuf {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend((0..rows * columns).flat_map(|index| (index as f32 / 16.0).to_le_bytes()));
    let path = folder.join("x.npy");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// More than the first room for an output of open shape, and with the second more than a usual arena has.
#[test]
fn large_outputs_of_open_shape_get_their_room() {
    let daemon = daemon();
    let id = daemon.serve(&double("test/double"));
    let axon = Axon::new(&daemon);
    let folder = tempfile::tempdir().unwrap();
    for (rows, columns) in [(3, 5), (600, 500), (1100, 2000)] {
        let input = format!("x=@{}", npy(folder.path(), rows, columns).display());
        let answer = axon.json(&["infer", &id, "-i", &input, "--via", "local"]);
        let y = &answer["outputs"][0];
        assert_eq!(y["shape"], json!([rows, columns]));
        let data = y["data"].as_array().unwrap();
        assert_eq!(data.len(), rows * columns);
        let wrong = data.iter().enumerate().find(|(index, value)| {
            let expect = 2.0 * (*index as f32 / 16.0);
            value.as_f64() != Some(expect.to_string().parse().unwrap())
        });
        assert_eq!(wrong, None);
    }
}

#[test]
fn what_is_asked_for_is_shown_as_ever() {
    let daemon = daemon();
    let id = daemon.serve(&double("test/double"));
    let axon = Axon::new(&daemon);
    let arguments = ["infer", &id, "-i", "x=[[1, 2]]", "--via", "local"];
    let shown = axon
        .run(&[&arguments[..], &["--priority", "realtime"]].concat())
        .succeeded();
    let first_line = shown.stdout.lines().nth(1).unwrap();
    let words: Vec<&str> = first_line.split_whitespace().collect();
    assert_eq!(words, ["y", "float32", "[1,2]", "2.0,", "4.0"]);
    assert!(shown.stdout.contains("us:"), "{shown:?}");
    let answer = axon.json(
        &[
            &arguments[..],
            &["--priority", "realtime", "--deadline-ms", "1e3"],
        ]
        .concat(),
    );
    assert_eq!(answer["class"], "realtime");
}

#[test]
fn what_is_wrong_is_said_with_the_same_exit_codes() {
    let daemon = daemon();
    let (id, slow) = (
        daemon.serve(&double("test/double")),
        daemon.serve(&slow("test/slow", 20_000)),
    );
    let mlp = daemon.serve(&Package::zoo("zoo/mlp", "1", Zoo::MLP_SMALL, Size::Tiny));
    let axon = Axon::new(&daemon);
    // Once, so that its time is known.
    axon.json(&["infer", &slow, "-i", "x=[[1]]"]);
    let check = |arguments: &[&str], code: i32, words: &[&str]| {
        let said = axon.run(&[&["infer"], arguments, &["--via", "local"]].concat());
        assert_eq!(said.code(), code, "{arguments:?}: {said:?}");
        for word in words {
            assert!(said.stderr.contains(word), "{arguments:?}: {word}: {said:?}");
        }
    };
    check(
        &["test/none", "-i", "x=[[1]]"],
        3,
        &["not_found", "not registered"],
    );
    check(&[&id, "-i", "z=[[1]]"], 6, &["'z'", "takes 'x' (float32 [?, ?])"]);
    check(
        &[&id, "-i", "x=[[[1]]]"],
        6,
        &["invalid_argument", "got the shape [1, 1, 1]"],
    );
    check(
        &[&id, "-i", "x=[[1], [2, 3]]"],
        6,
        &["'x'", "its lists differ in length"],
    );
    check(
        &[&id, "-i", "x=[[\"one\"]]"],
        6,
        &["element 0: \"one\" does not fit float32"],
    );
    check(&[&mlp, "-i", "x=[1, 2, 3]"], 6, &["must be a multiple of"]);
    check(
        &[&slow, "-i", "x=[[1]]", "--deadline-ms", "0.5"],
        6,
        &["deadline_miss", "after its deadline of 500 us"],
    );
    check(
        &[&id, "-i", "x=[[1]]", "--deadline-ms", "0"],
        6,
        &["no time ahead"],
    );
    check(
        &[&id, "-i", "x=[[1]]", "--priority", "soon"],
        6,
        &["'soon' is none of"],
    );
    check(&[&id, "--text", "a"], 2, &["--via http"]);
    check(&[&id], 2, &["give --input NAME=VALUE"]);
    check(
        &[&id, "-i", "x=1", "--endpoint", "http://x"],
        2,
        &["--endpoint goes with --via http"],
    );
    let elsewhere = ["--socket", "/nonexistent/mlosd.sock"];
    check(
        &[&[id.as_str(), "-i", "x=[[1]]"][..], &elsewhere].concat(),
        5,
        &[
            "no answer from mlosd at /nonexistent/mlosd.sock",
            "start it with `mlosd`, or set MLOS_SOCKET",
        ],
    );
    let said = axon.run(&[&["infer", &id, "-i", "x=1"], &elsewhere[..]].concat());
    assert_eq!(said.code(), 2, "{said:?}");
    let _ = daemon.stop();
    check(
        &[&id, "-i", "x=[[1]]"],
        5,
        &["no answer from mlosd at", "MLOS_SOCKET"],
    );
}
