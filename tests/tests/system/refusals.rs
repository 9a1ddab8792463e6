//! Requests that cannot be answered as they are: each gets a status, a kind, and words that say what to do.

use mlos_tests::{Answer, Client, Daemon, Options, Package};
use mlos_zoo::{Size, Zoo};
use serde_json::{Value, json};

/// Two models: `test/matrix` takes `x` float32 [batch, 4], `test/bert` three inputs of int64.
fn daemon() -> (Daemon, Client) {
    let daemon = Daemon::start(&Options::default());
    daemon.serve(&Package::affine("test/matrix", "1", "a 2\ncolumns 4"));
    daemon.serve(&Package::zoo("test/bert", "1", Zoo::BertBase, Size::Tiny));
    let client = daemon.client();
    (daemon, client)
}

const MATRIX: &str = "/models/test/matrix/inference";
const BERT: &str = "/models/test/bert/inference";

/// The daemon serves as if nothing had happened.
#[track_caller]
fn assert_serves(client: &mut Client) {
    let answer = client.post(MATRIX, &json!({ "x": [[1, 2, 3, 4]] })).expect(200);
    assert_eq!(answer["outputs"][0]["data"], json!([2.0, 4.0, 6.0, 8.0]));
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, kind: &str, words: &[&str], what: &str) {
    assert_eq!(answer.status, status, "{what}: {}", answer.text());
    assert_eq!(answer.kind(), kind, "{what}: {}", answer.text());
    let message = answer.message();
    assert_eq!(answer.json()["status"], "error");
    assert_eq!(answer.json()["message"], json!(message));
    for word in words {
        assert!(message.contains(word), "{what}: no '{word}' in '{message}'");
    }
}

#[test]
fn inputs_that_do_not_fit() {
    let (_daemon, mut client) = daemon();
    let invalid = "invalid_argument";
    for (path, body, words) in [
        // Names.
        (
            MATRIX,
            r#"{"y":[[1,2,3,4]]}"#,
            &["'y'", "did you mean 'x'", "float32"][..],
        ),
        (MATRIX, r#"{"x":[[1,2,3,4]],"mask":[1]}"#, &["'mask'", "'x'"]),
        (MATRIX, r#"{}"#, &["'x'", "missing"]),
        (BERT, r#"{"attention_mask":[[1]]}"#, &["'input_ids'", "missing"]),
        (BERT, r#"{"input_idz":[[1]]}"#, &["did you mean 'input_ids'"]),
        (MATRIX, r#"{"x":[[1,2,3,4]],"x":[[1,2,3,4]]}"#, &["twice"]),
        (MATRIX, r#"{"inputs":{"z":[[1,2,3,4]]}}"#, &["'z'"]),
        // Types.
        (MATRIX, r#"{"x":[["a","b","c","d"]]}"#, &["'x'"]),
        (MATRIX, r#"{"x":[[true,false,true,true]]}"#, &["'x'"]),
        (MATRIX, r#"{"x":[[null,1,2,3]]}"#, &["'x'"]),
        (MATRIX, r#"{"x":"text"}"#, &["'x'"]),
        (MATRIX, r#"{"x":{"a":1}}"#, &["x"]),
        (BERT, r#"{"input_ids":[[1.5]]}"#, &["'input_ids'"]),
        (BERT, r#"{"input_ids":[["NaN"]]}"#, &["'input_ids'"]),
        (BERT, r#"{"input_ids":[[9223372036854775808]]}"#, &["'input_ids'"]),
        (BERT, r#"{"input_ids":[[1e30]]}"#, &["'input_ids'"]),
        (
            BERT,
            r#"{"input_ids":[[99999999999999999999999999999999999999]]}"#,
            &["'input_ids'"],
        ),
        // Shapes.
        (MATRIX, r#"{"x":[[1,2,3]]}"#, &["'x'", "4"]),
        (MATRIX, r#"{"x":[1,2,3]}"#, &["'x'", "4"]),
        (MATRIX, r#"{"x":[[[[1,2,3,4]]]]}"#, &["'x'"]),
        (MATRIX, r#"{"x":[[1,2,3,4],[1,2,3]]}"#, &["'x'"]),
        (MATRIX, r#"{"x":[[1,2,3,4],5]}"#, &["'x'"]),
        (MATRIX, r#"{"x":7}"#, &["'x'"]),
        (
            BERT,
            r#"{"input_ids":[[1,2]],"attention_mask":[[1,1,1]]}"#,
            &["attention_mask"],
        ),
        // What there is beside the inputs.
        (
            MATRIX,
            r#"{"x":[[1,2,3,4]],"component":"encoder"}"#,
            &["component", "'encoder'"],
        ),
        (
            MATRIX,
            r#"{"x":[[1,2,3,4]],"outputs":["z"]}"#,
            &["output 'z'", "y", "sums"],
        ),
        (MATRIX, r#"{"x":[[1,2,3,4]],"outputs":"y"}"#, &["list"]),
        (
            MATRIX,
            r#"{"x":[[1,2,3,4]],"priority":"urgent"}"#,
            &["'urgent'", "realtime"],
        ),
        (MATRIX, r#"{"x":[[1,2,3,4]],"priority":9}"#, &["'9'"]),
        (MATRIX, r#"{"x":[[1,2,3,4]],"deadline_ms":-1}"#, &["deadline_ms"]),
        (MATRIX, r#"{"x":[[1,2,3,4]],"deadline_ms":"soon"}"#, &["'soon'"]),
        (
            MATRIX,
            r#"{"x":[[1,2,3,4]],"deadline_ms":1e300}"#,
            &["deadline_ms"],
        ),
        (
            MATRIX,
            r#"{"x":[[1,2,3,4]],"on_miss":"shrug"}"#,
            &["'shrug'", "degrade"],
        ),
        (MATRIX, r#"{"input":"text"}"#, &["x"]),
        // What is no request.
        (MATRIX, "", &["empty"]),
        (MATRIX, "[1,2,3,4]", &["'[1'", "object"]),
        (MATRIX, "null", &["object"]),
        (MATRIX, r#"{"x":[[1,2,3,4]]} {}"#, &["byte"]),
        (MATRIX, r#"{"x":[[1,2,3,4]],}"#, &["byte"]),
        (MATRIX, r#"{"x":[[1,2,3,04]]}"#, &["x"]),
        (MATRIX, r#"{"x":[[1,2,3,NaN]]}"#, &["'x'", "\"NaN\""]),
        (MATRIX, "{\"x\":[[1,2,3,4]],\"a\u{7}\":1}", &["byte"]),
    ] {
        let answer = client.ask("POST", path, &[], body.as_bytes());
        assert_refused(&answer, 400, invalid, words, body);
    }
    assert_serves(&mut client);
}

/// What JSON cannot say of floats is a text, in and out.
#[test]
fn floats_that_are_no_numbers() {
    let (_daemon, mut client) = daemon();
    let answer = client
        .post(MATRIX, &json!({ "x": [["NaN", "Infinity", "-Infinity", 3e38]] }))
        .expect(200);
    assert_eq!(
        answer["outputs"][0]["data"],
        json!(["NaN", "Infinity", "-Infinity", "Infinity"])
    );
    for (number, expect) in [
        ("1e39", json!("Infinity")),
        ("-1e400", json!("-Infinity")),
        ("1e-60", json!(0.0)),
    ] {
        let body = format!(r#"{{"x":[[{number},0,0,0]]}}"#);
        let answer = client.ask("POST", MATRIX, &[], body.as_bytes());
        // Too large a number is either said to be, or what IEEE 754 makes of it; never something else.
        if answer.status == 200 {
            assert_eq!(answer.json()["outputs"][0]["data"][0], expect, "{number}");
        } else {
            assert_refused(&answer, 400, "invalid_argument", &["'x'"], number);
        }
    }
}

/// Cut anywhere, a body is refused: with its length as it says, the text of it is broken.
#[test]
fn a_body_cut_at_every_byte() {
    let (_daemon, mut client) = daemon();
    let body = r#"{"priority":"high","x":[[1.5,-2e3,"NaN",4]],"outputs":["y"],"deadline_ms":1000}"#;
    client.ask("POST", MATRIX, &[], body.as_bytes()).expect(200);
    for end in 0..body.len() {
        let answer = client.ask("POST", MATRIX, &[], &body.as_bytes()[..end]);
        assert_refused(&answer, 400, "invalid_argument", &[], &body[..end]);
    }
    // Bytes that are no text, in a key, in a value, between.
    for at in 0..body.len() {
        let mut bytes = body.as_bytes().to_vec();
        bytes[at] = 0xff;
        let answer = client.ask("POST", MATRIX, &[], &bytes);
        assert_eq!(answer.status, 400, "{at}: {}", answer.text());
    }
    assert_serves(&mut client);
}

#[test]
fn nothing_is_nested_too_deep() {
    let (_daemon, mut client) = daemon();
    for body in [
        format!("{{\"x\":{}", "[".repeat(200_000)),
        format!("{{\"x\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("{{\"a\":{}", "{\"a\":".repeat(100_000)),
    ] {
        let answer = client.ask("POST", MATRIX, &[], body.as_bytes());
        assert_refused(&answer, 400, "invalid_argument", &[], "deep");
        assert!(answer.body.len() < 4_096, "{} bytes", answer.body.len());
    }
    assert_serves(&mut client);
}

#[test]
fn models_that_are_not_there() {
    let (_daemon, mut client) = daemon();
    for (id, nearest) in [
        ("test/matrx", json!(["test/matrix"])),
        ("tests/matrix", json!(["test/matrix"])),
        ("matrix", json!(["test/matrix"])),
        ("zzzzzzzzzzzzzzzz/qqqqqqqqqqqqqqqqq", json!([])),
    ] {
        let answer = client.infer(id, &json!({ "x": [[1, 2, 3, 4]] }));
        assert_refused(&answer, 404, "not_found", &[id], id);
        assert_eq!(answer.json()["error"]["nearest"], nearest, "{}", answer.text());
        assert_eq!(client.get(&format!("/models/{id}")).status, 404);
        assert_eq!(client.delete(&format!("/models/{id}")).status, 404);
    }
    let answer = client.get("/models/test/matrix@7");
    assert_eq!(answer.status, 404, "{}", answer.text());
    assert!(answer.message().contains("test/matrix@7"), "{}", answer.text());
}

#[test]
fn paths_and_methods_that_are_not_there() {
    let (_daemon, mut client) = daemon();
    for (method, path, status, kind) in [
        ("GET", "/nothing", 404, "no_such_route"),
        ("GET", "/models/../etc/passwd", 400, "invalid_argument"),
        ("GET", "/models/%2e%2e/x", 400, "invalid_argument"),
        ("GET", "/models/%FF", 400, "invalid_argument"),
        ("GET", "/models/a%00b", 400, "invalid_argument"),
        ("GET", MATRIX, 405, "method_not_allowed"),
        ("PUT", "/models/test/matrix", 405, "method_not_allowed"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("PATCH", "/models/register", 405, "method_not_allowed"),
        ("BREW", "/", 405, "method_not_allowed"),
    ] {
        let answer = client.ask(method, path, &[], b"");
        assert_refused(&answer, status, kind, &[], path);
        assert_eq!(answer.header("allow").is_some(), status == 405, "{path}");
    }
    let long = format!("/models/{}", "a".repeat(2_000));
    assert_refused(
        &client.get(&long),
        400,
        "invalid_argument",
        &["too long"],
        "a long id",
    );
    for (header, value, status) in [
        ("content-type", "application/xml", 415),
        ("content-encoding", "gzip", 415),
        ("x-mlos-priority", "urgent", 400),
        ("x-mlos-deadline-ms", "x", 400),
    ] {
        let answer = client.ask("POST", MATRIX, &[(header, value)], br#"{"x":[[1,2,3,4]]}"#);
        assert_eq!(answer.status, status, "{header}: {value}: {}", answer.text());
    }
    assert_serves(&mut client);
}

#[test]
fn registrations_that_cannot_be() {
    let (daemon, mut client) = daemon();
    let folder = daemon.home().models();
    let empty = folder.join("empty");
    std::fs::create_dir_all(&empty).unwrap();
    let text = folder.join("notes.txt");
    std::fs::write(&text, "not a model").unwrap();
    let package = Package::affine("test/other", "1", "a 2").write(&folder);
    for (body, status, words) in [
        (json!({}), 400, &["path"][..]),
        (json!({ "path": 7 }), 400, &["registration"]),
        (json!({ "path": "/nowhere/at/all" }), 400, &["/nowhere/at/all"]),
        (json!({ "path": empty }), 400, &["manifest.yaml"]),
        (
            json!({ "path": package, "model_id": "../up" }),
            400,
            &["model id"],
        ),
        (json!({ "path": package, "model_id": "" }), 400, &["model id"]),
        (json!({ "path": package, "colour": "red" }), 400, &["colour"]),
        (
            json!({ "path": package, "manifest_path": "/nowhere.yaml" }),
            400,
            &["/nowhere.yaml"],
        ),
        (
            json!({ "path": package.join("model.affine") }),
            400,
            &["model_id"],
        ),
        (
            json!({ "path": text, "model_id": "test/text" }),
            501,
            &["txt", "onnx", "affine"],
        ),
        (
            json!({ "path": "/dev/zero", "model_id": "test/zero" }),
            400,
            &["/dev/zero"],
        ),
        (json!([]), 400, &["registration"]),
    ] {
        let answer = client.post("/models/register", &body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        for word in words {
            assert!(answer.message().contains(word), "{body}: {}", answer.text());
        }
    }
    assert_eq!(
        client.get("/models").expect(200)["total"],
        2,
        "none of them is remembered"
    );
    assert_serves(&mut client);
}

/// What is done to a manifest, under a name, and words of the answer.
type Change = (&'static str, fn(&mut Value), &'static [&'static str]);

#[test]
fn manifests_that_are_wrong() {
    let (daemon, mut client) = daemon();
    let changes: [Change; 10] = [
        ("kind", |m| m["kind"] = json!("Pod"), &["kind", "Model"]),
        ("api", |m| m["apiVersion"] = json!("v9"), &["apiVersion"]),
        (
            "name",
            |m| m["metadata"]["name"] = json!("a b"),
            &["metadata.name"],
        ),
        (
            "no metadata",
            |m| drop(m.as_object_mut().unwrap().remove("metadata")),
            &["metadata"],
        ),
        (
            "hash",
            |m| m["spec"]["format"]["files"][0]["sha256"] = json!("12"),
            &["sha256", "64"],
        ),
        (
            "up",
            |m| m["spec"]["format"]["files"][0]["path"] = json!("../x"),
            &["path"],
        ),
        (
            "root",
            |m| m["spec"]["format"]["files"][0]["path"] = json!("/etc/passwd"),
            &["path"],
        ),
        (
            "no files",
            |m| m["spec"]["format"]["files"] = json!([]),
            &["files"],
        ),
        (
            "other file",
            |m| m["spec"]["format"]["execution_files"][0]["path"] = json!("x"),
            &["execution_files"],
        ),
        (
            "class",
            |m| m["spec"]["serving"] = json!({ "priority": "urgent" }),
            &["priority", "realtime"],
        ),
    ];
    for (what, change, words) in changes {
        let package = Package::affine("test/manifest", "1", "a 2");
        let root = package.write(&daemon.home().models());
        let mut manifest = package.manifest();
        change(&mut manifest);
        std::fs::write(root.join("manifest.yaml"), manifest.to_string()).unwrap();
        let answer = client.post("/models/register", &json!({ "path": root }));
        assert_refused(&answer, 400, "invalid_argument", words, what);
    }
    for text in ["", "\0\0\0", "a: [", "{{{{", "&a [*a, *a]", "- 1"] {
        let root = Package::affine("test/manifest", "1", "a 2").write(&daemon.home().models());
        std::fs::write(root.join("manifest.yaml"), text).unwrap();
        let answer = client.post("/models/register", &json!({ "path": root }));
        assert_eq!(answer.status, 400, "{text}: {}", answer.text());
    }
    assert_serves(&mut client);
}

/// Loads a file in place of a model and returns why it failed.
#[track_caller]
fn failure_of(daemon: &Daemon, client: &mut Client, name: &str, bytes: &[u8]) -> String {
    let path = daemon.home().models().join(format!("{name}.onnx"));
    std::fs::create_dir_all(daemon.home().models()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let id = format!("test/{name}");
    let answer = client.post("/models/register", &json!({ "model_id": id, "path": path }));
    if answer.status != 201 {
        assert!(matches!(answer.status, 400 | 501), "{name}: {}", answer.text());
        return answer.message();
    }
    let model = daemon.wait_loaded(&id);
    assert_eq!(model["state"], "failed", "{name}: {model}");
    model["failure"].as_str().unwrap().to_owned()
}

#[test]
fn model_files_that_are_broken() {
    let (daemon, mut client) = daemon();
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(Zoo::ResNet50.write(folder.path(), Size::Tiny, 1).unwrap()).unwrap();
    for parts in [0, 1, 2, 5, 9] {
        let cut = &whole[..whole.len() * parts / 10];
        let failure = failure_of(&daemon, &mut client, &format!("cut-{parts}"), cut);
        assert!(!failure.is_empty());
    }
    let mut noise = whole.clone();
    noise[..4_096]
        .iter_mut()
        .step_by(11)
        .for_each(|byte| *byte ^= 0x5a);
    assert!(!failure_of(&daemon, &mut client, "noise", &noise).is_empty());
    assert!(!failure_of(&daemon, &mut client, "zeros", &vec![0; 100_000]).is_empty());
    // A file that grew or shrank since it was packed.
    let package = Package::zoo("test/swapped", "1", Zoo::Digits, Size::Tiny);
    let root = package.write(&daemon.home().models());
    std::fs::write(root.join("model.onnx"), &whole).unwrap();
    let id = client
        .post("/models/register", &json!({ "path": root }))
        .expect(201)["model_id"]
        .clone();
    let model = daemon.wait_loaded(id.as_str().unwrap());
    assert_eq!(model["state"], "failed");
    assert!(model["failure"].as_str().unwrap().contains("sha256"), "{model}");
    let answer = client.infer("test/swapped", &json!({ "image": [0] }));
    assert!(matches!(answer.status, 500 | 503), "{}", answer.text());
    assert_serves(&mut client);
}

/// A plugin that fails, in whichever way, costs its caller only.
#[test]
fn a_plugin_that_misbehaves_costs_its_caller_only() {
    let (daemon, mut client) = daemon();
    for (behave, expect) in [
        ("fail", "asked to fail"),
        ("fail_late", "asked to fail after a row"),
        ("fail_mute", "plugin"),
        ("silent", "not produced"),
        ("wrong_dtype", "`y`"),
        ("wrong_rank", "`y`"),
        ("wrong_size", "`y`"),
        ("wrong_rows", "`y`"),
        ("wrong_index", "plugin"),
        ("negative", "`y`"),
        ("overflow", "`y`"),
        ("twice", "`y`"),
    ] {
        let id = daemon.serve(&Package::affine(
            &format!("test/{behave}"),
            "1",
            &format!("behave {behave}"),
        ));
        let answer = client.infer(&id, &json!({ "x": [[1, 2]] }));
        assert_eq!(answer.status, 500, "{behave}: {}", answer.text());
        assert_eq!(answer.kind(), "model_failed", "{behave}");
        assert!(answer.message().contains(expect), "{behave}: {}", answer.text());
        assert_eq!(daemon.model(&id, "failed"), 1, "{behave}");
        assert_serves(&mut client);
    }
    for behave in ["bad_rank", "bad_dtype"] {
        let root = Package::affine(&format!("test/{behave}"), "1", &format!("behave {behave}"));
        let root = root.write(&daemon.home().models());
        client
            .post("/models/register", &json!({ "path": root }))
            .expect(201);
        let model = daemon.wait_loaded(&format!("test/{behave}"));
        assert_eq!(model["state"], "failed", "{model}");
    }
}

/// A plugin runs in the daemon's process: one that crashes takes the daemon along. What was registered is there
/// again at the next start, and nobody's request runs into the same plugin by itself.
#[test]
fn a_plugin_that_crashes_ends_the_daemon_and_not_the_registry() {
    let (mut daemon, mut client) = daemon();
    let id = daemon.serve(&Package::affine("test/abort", "1", "behave abort"));
    let body = json!({ "x": [[1, 2]] }).to_string();
    let path = format!("/models/{id}/inference");
    assert!(client.try_ask("POST", &path, &[], body.as_bytes()).is_err());
    let status = daemon.wait();
    assert!(!status.success(), "{status}");
    let daemon = Daemon::start_in(daemon.kill(), &Options::default());
    for id in ["test/matrix", "test/bert", &id] {
        daemon.wait_ready(id);
    }
    assert_serves(&mut daemon.client());
}
