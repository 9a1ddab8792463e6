//! `openapi.yaml` and the server, held against each other.

use mlos_http::Config;
use serde_json::{Value, json};

use crate::schema::{check, resolve};
use crate::support::{Client, Reply, numbers, with_server};

fn document() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.yaml");
    serde_norway::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// `GET /health` and so on, of the file.
fn operations(document: &Value) -> Vec<String> {
    let paths = document["paths"].as_object().unwrap();
    let methods = |(path, item): (&String, &Value)| {
        let methods = item
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| *key != "parameters");
        methods
            .map(|method| format!("{} {path}", method.to_uppercase()))
            .collect::<Vec<_>>()
    };
    paths.iter().flat_map(methods).collect()
}

/// Holds a reply against what the file says about this operation and status.
fn hold(document: &Value, method: &str, path: &str, reply: &Reply) {
    let operation = &document["paths"][path][method.to_lowercase()];
    let place = format!("{method} {path} {}", reply.status);
    let response = &operation["responses"][reply.status.to_string()];
    assert!(!response.is_null(), "{place} is not in the file: {reply:?}");
    let content = resolve(document, response)["content"].as_object().unwrap();
    let content_type = reply.header("content-type").unwrap().split(';').next().unwrap();
    let schema = &content
        .get(content_type)
        .unwrap_or_else(|| panic!("{place}: {content_type}"))["schema"];
    let body = if content_type == "application/json" {
        reply.json()
    } else {
        json!(str::from_utf8(&reply.body).unwrap())
    };
    check(document, schema, &body, &place).unwrap();
}

#[test]
fn the_file_has_every_route_and_the_server_every_operation() {
    with_server(Config::default(), |server| async move {
        let document = document();
        let (mut client, _served) = server.connect();
        let index = client.get("/").await.json();
        let mut routes: Vec<String> = serde_json::from_value(index["routes"].clone()).unwrap();
        let mut operations = operations(&document);
        routes.sort();
        operations.sort();
        assert_eq!(routes, operations);

        for operation in operations {
            let (method, path) = operation.split_once(' ').unwrap();
            let reply = client
                .request(method, &path.replace("{id}", "test%2Fdigits"), "", "")
                .await;
            assert!(![404, 405].contains(&reply.status), "{operation}: {reply:?}");
        }
    });
}

#[test]
fn no_schema_is_unused_or_broken() {
    let document = document();
    let text = document.to_string();
    for kind in ["schemas", "responses", "parameters"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            assert!(
                text.contains(&format!("#/components/{kind}/{name}\"")),
                "{kind}/{name} is unused"
            );
        }
    }
    for (_, target) in text
        .match_indices("\"$ref\":\"")
        .map(|(at, found)| (at, &text[at + found.len()..]))
    {
        let pointer = &target[1..target.find('"').unwrap()];
        assert!(document.pointer(pointer).is_some(), "{pointer} is nowhere");
    }
}

/// A request, and the status it must get.
const EXCHANGES: [(&str, &str, &str, &str, u16); 33] = [
    ("GET", "/", "", "", 200),
    ("GET", "/health", "", "", 200),
    ("GET", "/stats", "", "", 200),
    ("GET", "/metrics", "", "", 200),
    ("GET", "/plugins", "", "", 200),
    ("GET", "/models", "", "", 200),
    ("POST", "/models/register", "", r#"{"path":"/models/new"}"#, 201),
    (
        "POST",
        "/models/register",
        "",
        r#"{"model_path":"/models/known","model_id":"a/b","plugin_id":"onnx","name":"b"}"#,
        200,
    ),
    (
        "POST",
        "/models/register",
        "",
        r#"{"path":"/models/new","colour":"red"}"#,
        400,
    ),
    ("POST", "/models/register", "", r#"{"model_id":"a/b"}"#, 400),
    (
        "POST",
        "/models/register",
        "",
        r#"{"path":"/m","model_id":"../b"}"#,
        400,
    ),
    (
        "POST",
        "/models/register",
        "origin: https://bad.example\r\n",
        r#"{"path":"/models/new"}"#,
        403,
    ),
    ("POST", "/models/scan", "", "", 200),
    ("GET", "/models/{test/digits}", "", "", 200),
    ("GET", "/models/{test%2Fbert@1.0.0}", "", "", 200),
    ("GET", "/models/{test/none}", "", "", 404),
    ("GET", "/models/{a//b}", "", "", 400),
    ("DELETE", "/models/{test/digits@1.0.0}", "", "", 200),
    ("DELETE", "/models/{test/none}", "", "", 404),
    ("POST", "/models/{test/digits}/activate", "", "", 200),
    ("POST", "/models/{test/broken}/activate", "", "", 409),
    (
        "POST",
        "/models/{test/digits}/inference",
        "",
        "{\"pixels\":[@]}",
        200,
    ),
    (
        "POST",
        "/models/{test/bert}/inference",
        "",
        r#"{"input":"Hello"}"#,
        200,
    ),
    (
        "POST",
        "/models/{test/vision}/inference",
        "content-type: image/png\r\n",
        "\u{1}PNG",
        200,
    ),
    (
        "POST",
        "/models/{test/digits}/inference",
        "",
        "{\"pixels\":[1]}",
        400,
    ),
    (
        "POST",
        "/models/{test/digits}/inference",
        "content-type: application/xml\r\n",
        "<a/>",
        415,
    ),
    (
        "POST",
        "/models/{test/digits}/inference",
        "content-encoding: gzip\r\n",
        "{}",
        415,
    ),
    (
        "POST",
        "/models/{test/digits}/inference",
        "x-mlos-priority: urgent\r\n",
        "{}",
        400,
    ),
    ("POST", "/models/{test/none}/inference", "", "{}", 404),
    (
        "POST",
        "/models/{test/full}/inference",
        "",
        "{\"pixels\":[@]}",
        429,
    ),
    (
        "POST",
        "/models/{test/late}/inference",
        "",
        "{\"pixels\":[@]}",
        504,
    ),
    (
        "POST",
        "/models/{test/broken}/inference",
        "",
        "{\"pixels\":[@]}",
        500,
    ),
    (
        "POST",
        "/models/{test/digits}/inference",
        "origin: null\r\n",
        "{\"pixels\":[@]}",
        403,
    ),
];

#[test]
fn replies_are_as_the_file_says() {
    with_server(Config::default(), |server| async move {
        let document = document();
        let (mut client, _served) = server.connect();
        for (method, path, headers, body, status) in EXCHANGES {
            let reply = exchange(&mut client, method, path, headers, body).await;
            assert_eq!(reply.status, status, "{method} {path} {body}: {reply:?}");
            let known = match (path.find('{'), path.find('}')) {
                (Some(open), Some(close)) => format!("{}{{id}}{}", &path[..open], &path[close + 1..]),
                _ => path.to_owned(),
            };
            hold(&document, method, &known, &reply);
        }
        server.fake.draining.set(true);
        hold(&document, "GET", "/health", &client.get("/health").await);
    });
}

async fn exchange(client: &mut Client, method: &str, path: &str, headers: &str, body: &str) -> Reply {
    let path = path.replace(['{', '}'], "");
    let body = body.replace('@', &numbers(64));
    client.request(method, &path, headers, body).await
}

#[test]
fn refusals_carry_their_facts() {
    with_server(Config::default(), |server| async move {
        let document = document();
        let error = &document["components"]["schemas"]["Error"];
        let (mut client, _served) = server.connect();
        let reply = exchange(
            &mut client,
            "POST",
            "/models/test/full/inference",
            "",
            "{\"pixels\":[@]}",
        )
        .await;
        assert_eq!(reply.header("retry-after"), Some("2"));
        assert_eq!(reply.json()["error"]["retry_after_ms"], 1500);
        let reply = exchange(
            &mut client,
            "POST",
            "/models/test/late/inference",
            "",
            "{\"pixels\":[@]}",
        )
        .await;
        assert_eq!(reply.json()["error"]["predicted_us"], 900);
        assert_eq!(reply.json()["error"]["deadline_us"], 500);
        let reply = client.get("/models/test/digit").await;
        assert_eq!(reply.json()["error"]["nearest"], json!(["test/digits"]));
        assert_eq!(
            reply.json()["message"],
            "model 'test/digit' is not registered; did you mean 'test/digits'?"
        );
        let reply = client
            .post("/models/test/digits/inference", "{\"pixels\":[1]}")
            .await;
        assert_eq!(reply.json()["error"]["input"], "pixels");

        let reply = client.get("/nothing/here").await;
        assert_eq!(
            (
                reply.status,
                reply.json()["error"]["routes"].as_array().unwrap().len()
            ),
            (404, 12)
        );
        check(&document, error, &reply.json(), "404").unwrap();
        let reply = client.request("PUT", "/models/test/digits", "", "").await;
        assert_eq!(
            (reply.status, reply.header("allow")),
            (405, Some("GET, HEAD, DELETE, OPTIONS"))
        );
        check(&document, error, &reply.json(), "405").unwrap();
    });
}

#[test]
fn an_inference_says_what_it_did() {
    with_server(Config::default(), |server| async move {
        let (mut client, _served) = server.connect();
        let headers = "x-mlos-priority: batch\r\nx-mlos-deadline-ms: 50\r\n";
        let reply = client
            .request(
                "POST",
                "/models/test/bert/inference?include_outputs=true",
                headers,
                r#"{"input_ids":[[101,102]],"priority":"high"}"#,
            )
            .await;
        let tensor = |name: &str, data: [i64; 2]| json!({"name": name, "dtype": "int64", "shape": [1, 2], "data": data});
        assert_eq!(
            reply.json(),
            json!({
                "status": "success",
                "model_id": "test/bert@1.0.0",
                "model_version": "1.0.0",
                "outputs": [
                    tensor("input_ids", [101, 102]), tensor("attention_mask", [1, 1]), tensor("token_type_ids", [0, 0])
                ],
                "class": "high",
                "timing": {"queue_us": 1, "compute_us": 20, "total_us": 25, "preemptions": 1, "parts": 2},
                "inference_time_us": 20,
            })
        );
        let seen = server.fake.seen.borrow();
        assert_eq!(seen[0].deadline.unwrap().as_millis(), 50);
        assert_eq!(seen[0].model.to_string(), "test/bert");
    });
}

#[test]
fn large_bodies_are_worked_through_in_breaths() {
    with_server(Config::default(), |server| async move {
        let (mut client, _served) = server.connect();
        let body = format!("{{\"pixels\":[{}]}}", numbers(3 * 224 * 224));
        let reply = client.post("/models/test/vision/inference", &body).await;
        assert_eq!(reply.status, 200);
        let answer = reply.json();
        assert_eq!(answer["outputs"][0]["shape"], json!([1, 3, 224, 224]));
        let data: Vec<f32> = serde_json::from_value(answer["outputs"][0]["data"].clone()).unwrap();
        assert!(
            data.iter()
                .enumerate()
                .all(|(n, value)| *value == (n % 100) as f32 + 0.5)
        );
        // Each 64 KiB of what is parsed and of what is printed.
        let least = (body.len() + reply.body.len()) / mlos_api::limits::BREATHE_BYTES;
        assert!(
            server.fake.breaths.get() >= least,
            "{} < {least}",
            server.fake.breaths.get()
        );
    });
}

#[test]
fn metrics_count_cumulatively() {
    with_server(Config::default(), |server| async move {
        let (mut client, _served) = server.connect();
        let reply = client.get("/metrics").await;
        let text = str::from_utf8(&reply.body).unwrap();
        for line in [
            "mlos_up 1",
            "mlos_requests_total{class=\"realtime\",outcome=\"completed\"} 6",
            "mlos_latency_seconds_bucket{class=\"batch\",le=\"0.000064\"} 1",
            "mlos_latency_seconds_bucket{class=\"batch\",le=\"0.000128\"} 6",
            "mlos_latency_seconds_bucket{class=\"batch\",le=\"+Inf\"} 7",
            "mlos_latency_seconds_sum{class=\"batch\"} 1",
            "mlos_latency_seconds_count{class=\"batch\"} 7",
            "mlos_model_completed_total{model=\"test/digits@1.0.0\"} 24",
            "mlos_pool_limit_bytes{shard=\"0\"} 1073741824",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        // Every family is announced once, before its samples, and every sample belongs to one.
        let mut announced = String::new();
        for line in text.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(family) => {
                    family.split(' ').next().unwrap().clone_into(&mut announced);
                    assert_eq!(text.matches(&format!("# TYPE {announced} ")).count(), 1);
                }
                None if line.starts_with('#') => {}
                None => assert!(line.starts_with(&announced), "{line} is not of {announced}"),
            }
        }
    });
}
