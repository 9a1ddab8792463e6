//! `register` and `infer` against a server that answers what it is told to, and keeps what it was asked.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

use crate::{
    model_files::onnx,
    world::{Run, World},
};

/// A daemon of so many answers.
struct Daemon {
    endpoint: String,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Daemon {
    fn answering(answers: &[(u16, Value)]) -> Daemon {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (asked, answers) = (Arc::default(), VecDeque::from(answers.to_vec()));
        let kept = Arc::clone(&asked);
        thread::spawn(move || serve(&listener, answers, &kept));
        Daemon { endpoint, asked }
    }

    fn asked(&self) -> Vec<(String, Value)> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(listener: &TcpListener, mut answers: VecDeque<(u16, Value)>, kept: &Mutex<Vec<(String, Value)>>) {
    while let Some((status, body)) = answers.pop_front() {
        let (mut stream, _) = listener.accept().unwrap();
        kept.lock().unwrap().push(read(&stream));
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
    }
}

fn read(stream: &TcpStream) -> (String, Value) {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let words: Vec<&str> = first.split(' ').collect();
    (
        format!("{} {}", words[0], words[1]),
        serde_json::from_slice(&body).unwrap_or(Value::Null),
    )
}

fn installed() -> World {
    let world = World::new();
    world.write(
        "m/model.onnx",
        &onnx(&[("x", 1, &[0, 2])], &[("y", 1, &[0, 2])], &[]),
    );
    world.axon(&["install", "./m", "--as", "local/m@1.0"]).ok();
    world
}

fn run(world: &World, daemon: &Daemon, arguments: &[&str]) -> Run {
    Run::of(world.command(arguments).env("MLOS_ENDPOINT", &daemon.endpoint))
}

fn registered(state: &str) -> Value {
    json!({ "status": "success", "model_id": "local/m@1.0", "plugin_id": "onnx", "state": state, "already": false })
}

#[test]
fn register_tells_all_and_waits_until_the_model_is_ready() {
    let world = installed();
    let detail = |state: &str| {
        (
            200,
            json!({ "status": "success", "state": state, "plugin_id": "onnx" }),
        )
    };
    let answers = [
        (201, registered("registered")),
        detail("loading"),
        detail("loading"),
        detail("ready"),
    ];
    let daemon = Daemon::answering(&answers);
    let answer = run(&world, &daemon, &["register", "local/m", "--json"])
        .ok()
        .json();
    let url = format!("{}/models/local%2Fm%401.0/inference", daemon.endpoint);
    assert_eq!(
        answer,
        json!({ "id": "local/m@1.0", "state": "ready", "plugin": "onnx", "already": false, "endpoint": url })
    );
    let asked = daemon.asked();
    assert_eq!(asked[0].0, "POST /models/register");
    let directory = world.home().join("models/local/m/1.0");
    assert_eq!(
        asked[0].1,
        json!({
            "model_id": "local/m@1.0", "path": directory, "manifest_path": directory.join("manifest.yaml"), "name": "m",
            "framework": "onnx", "execution_format": "onnx", "description": "",
        })
    );
    assert!(
        asked[1..]
            .iter()
            .all(|(line, _)| line == "GET /models/local%2Fm%401.0"),
        "{asked:?}"
    );
    assert_eq!(asked.len(), 4);
}

#[test]
fn register_need_not_wait_and_says_why_it_failed() {
    let world = installed();
    let daemon = Daemon::answering(&[(201, registered("loading"))]);
    run(&world, &daemon, &["register", "local/m", "--no-wait"])
        .ok()
        .says(&["local/m@1.0: loading", "POST http://"]);
    let failed = (
        200,
        json!({ "state": "failed", "failure": "the graph has no outputs" }),
    );
    let daemon = Daemon::answering(&[(201, registered("loading")), failed]);
    run(&world, &daemon, &["register", "local/m"]).fails(6, &["cannot be loaded: the graph has no outputs"]);
    let refusal = json!({ "status": "error", "error": { "kind": "conflict", "message": "another path" } });
    let daemon = Daemon::answering(&[(409, refusal)]);
    let refused = run(&world, &daemon, &["register", "local/m", "--json"]).fails(6, &["409", "another path"]);
    assert_eq!(refused.json()["error"]["kind"], "server");
    let nobody = Run::of(
        world
            .command(&["register", "local/m"])
            .env("MLOS_CORE_ENDPOINT", "http://127.0.0.1:1"),
    );
    nobody.fails(5, &["no answer from mlosd at http://127.0.0.1:1", "start it"]);
}

fn outputs() -> Value {
    json!({
        "status": "success", "model_id": "local/m@1.0",
        "outputs": [{ "name": "y", "dtype": "float32", "shape": [1, 12], "data": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] }],
        "timing": { "queue_us": 1, "compute_us": 2, "total_us": 4 },
    })
}

#[test]
fn infer_sends_tensors_from_text_and_files() {
    let world = installed();
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }\n";
    npy.extend((header.len() as u16).to_le_bytes());
    npy.extend(
        [
            header.as_bytes(),
            &0.5_f32.to_le_bytes(),
            &(-1.0_f32).to_le_bytes(),
        ]
        .concat(),
    );
    world.write("x.npy", &npy);
    world.write("z.json", b"[[1, 2]]");
    let daemon = Daemon::answering(&[(200, outputs())]);
    let arguments = [
        "infer",
        "local/m",
        "-i",
        "x=@x.npy",
        "-i",
        "z=@z.json",
        "-i",
        "k=[true]",
        "--priority",
        "realtime",
        "--deadline-ms",
        "5",
    ];
    let answer = run(&world, &daemon, &arguments).ok();
    answer.says(&[
        "y       float32  [1,12]  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …",
        "4 us: 1 queued, 2 computing",
    ]);
    let (line, body) = daemon.asked().remove(0);
    assert_eq!(line, "POST /models/local%2Fm/inference");
    let expect = json!({
        "inputs": { "x": [[0.5, -1.0]], "z": [[1, 2]], "k": [true] }, "priority": "realtime", "deadline_ms": 5.0,
    });
    assert_eq!(body, expect);
}

#[test]
fn infer_sends_text_and_images_and_passes_json_on() {
    let world = installed();
    let daemon = Daemon::answering(&[(200, outputs()), (200, outputs())]);
    let answer = run(
        &world,
        &daemon,
        &["infer", "local/m@1.0", "--text", "Hello \"you\"", "--json"],
    )
    .ok();
    assert_eq!(answer.json(), outputs());
    world.write("cat.png", b"\x89PNG");
    run(&world, &daemon, &["infer", "local/m", "--image", "cat.png"]).ok();
    let asked = daemon.asked();
    assert_eq!(
        asked[0],
        (
            "POST /models/local%2Fm%401.0/inference".into(),
            json!({ "input": "Hello \"you\"" })
        )
    );
    assert_eq!(asked[1].1, json!({ "input": "iVBORw==" }));
}

/// Before there is any daemon to ask.
#[test]
fn infer_over_shared_memory_says_what_it_needs() {
    let world = installed();
    let socket = world.path("mlosd.sock");
    let check = |arguments: &[&str], code: i32, words: &[&str]| {
        let mut command = world.command(&[&["infer", "local/m", "--via", "local"], arguments].concat());
        Run::of(command.env("MLOS_SOCKET", &socket)).fails(code, words);
    };
    check(&[], 2, &["give --input"]);
    check(&["--text", "a"], 2, &["a model takes tensors", "--via http"]);
    check(&["-i", "x=1", "--endpoint", "http://x"], 2, &["--socket"]);
    check(
        &["-i", "x=1", "--deadline-ms", "0"],
        6,
        &["invalid_argument", "0 is no time ahead"],
    );
    check(
        &["-i", "x=1", "--priority", "soon"],
        6,
        &["'soon' is none of realtime"],
    );
    let nobody = format!("no answer from mlosd at {}", socket.display());
    check(
        &["-i", "x=1"],
        5,
        &[&nobody, "start it with `mlosd`, or set MLOS_SOCKET"],
    );
    world
        .axon(&["infer", "local/m", "-i", "x=1", "--via", "grpc"])
        .fails(2, &["[possible values: http, local]"]);
    world
        .axon(&["infer", "local/m", "-i", "x=1", "--socket", "x"])
        .fails(2, &["--socket goes with --via local"]);
    world
        .axon(&["infer", "--help"])
        .ok()
        .says(&["--via <VIA>", "- local: "]);
}

#[test]
fn infer_refuses_what_cannot_be_sent() {
    let world = installed();
    world.write("bad.npy", b"PK");
    let check = |arguments: &[&str], code: i32, words: &str| {
        world
            .axon(
                &[
                    &["infer", "local/m", "--endpoint", "http://127.0.0.1:1"],
                    arguments,
                ]
                .concat(),
            )
            .fails(code, &[words]);
    };
    check(&[], 2, "give --input");
    check(&["-i", "x"], 2, "expected NAME=VALUE");
    check(&["-i", "x=[1,"], 2, "not JSON");
    check(&["-i", "x=@bad.npy"], 10, "bad.npy");
    check(&["-i", "x=@none.npy"], 3, "none.npy");
    check(&["-i", "x=1", "--text", "a"], 2, "cannot be used with");
    check(&["-i", "x=1"], 5, "no answer from mlosd");
    let missing = json!({ "status": "error", "error": { "kind": "not_found", "message": "model 'x' is not registered" } });
    let daemon = Daemon::answering(&[(404, missing), (502, Value::Null)]);
    run(&world, &daemon, &["infer", "local/x", "-i", "x=1"]).fails(3, &["is not registered"]);
    run(&world, &daemon, &["infer", "local/x", "-i", "x=1"]).fails(6, &["is it mlosd?"]);
}
