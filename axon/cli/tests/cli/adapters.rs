//! What becomes of a model on its way: which files, which version, which manifest.

use std::fs;

use mlos_hub::HubOptions;
use serde_json::{Value, json};

use crate::{
    model_files::{onnx, safetensors},
    world::{World, noise},
};

const F32: u8 = 1;
const I64: u8 = 7;

fn bert(world: &World) {
    let graph = onnx(
        &[("input_ids", I64, &[0, 0]), ("attention_mask", I64, &[0, 0])],
        &[("logits", F32, &[0, 0, 99])],
        &[],
    );
    world.publish("acme/bert", "onnx/model.onnx", &graph);
    world.publish(
        "acme/bert",
        "onnx/model_quantized.onnx",
        &onnx(&[("input_ids", I64, &[0, 0])], &[("logits", F32, &[0])], &[]),
    );
    world.publish("acme/bert", "model.safetensors", &safetensors(100, 1));
    world.publish("acme/bert", "config.json", br#"{"max_position_embeddings":512}"#);
    world.publish(
        "acme/bert",
        "tokenizer.json",
        br#"{"model":{"type":"WordPiece","vocab":{}}}"#,
    );
    world.publish("acme/bert", "README.md", b"---\nlicense: apache-2.0\n---\n");
    world.publish("acme/bert", ".gitattributes", b"*.onnx filter=lfs\n");
}

fn paths(manifest: &Value) -> Vec<&str> {
    manifest["spec"]["format"]["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect()
}

#[test]
fn a_text_model_is_described_from_its_files() {
    let world = World::with(HubOptions {
        tree_page_entries: 2,
        ..HubOptions::default()
    });
    bert(&world);
    let installed = world.json(&["install", "acme/bert"]);
    assert_eq!(
        (&installed["status"], &installed["format"]),
        (&json!("installed"), &json!("onnx"))
    );
    let commit = installed["commit"].as_str().unwrap();
    assert_eq!(installed["id"], format!("hf/acme/bert@{}", &commit[..12]));
    let info = world.json(&["info", "hf/acme/bert"]);
    let manifest = &info["manifest"];
    assert_eq!(
        paths(manifest),
        ["config.json", "onnx/model.onnx", "tokenizer.json"]
    );
    assert_eq!(manifest["metadata"]["license"], "apache-2.0");
    assert_eq!(manifest["metadata"]["commit"], commit);
    assert_eq!(
        manifest["spec"]["format"]["execution_files"][0]["path"],
        "onnx/model.onnx"
    );
    let input = &manifest["spec"]["io"]["inputs"][0];
    assert_eq!(
        (&input["name"], &input["dtype"], &input["shape"]),
        (&json!("input_ids"), &json!("int64"), &json!([-1, -1]))
    );
    assert_eq!(
        input["preprocessing"],
        json!({ "type": "tokenizer", "tokenizer": "tokenizer.json", "tokenizer_type": "wordpiece", "config": { "max_length": 512 } })
    );
    assert_eq!(manifest["spec"]["io"]["outputs"][0]["shape"], json!([-1, -1, 99]));
    assert_eq!(world.check_store().len(), 1);
}

#[test]
fn an_image_model_is_described_from_its_files() {
    let world = World::new();
    let graph = onnx(
        &[("pixel_values", F32, &[0, 0, 0, 0])],
        &[("logits", F32, &[0, 10])],
        &[],
    );
    world.publish("acme/vit", "model.onnx", &graph);
    let config =
        br#"{"size":{"height":224,"width":196},"image_mean":[0.5,0.5,0.5],"image_std":[0.1,0.2,0.3],"rescale_factor":0.5}"#;
    world.publish("acme/vit", "preprocessor_config.json", config);
    world.axon(&["install", "hf/acme/vit"]).ok();
    let info = world.json(&["info", "hf/acme/vit"]);
    let input = &info["manifest"]["spec"]["io"]["inputs"][0];
    assert_eq!(input["shape"], json!([-1, 3, -1, -1]));
    let preprocessing = &input["preprocessing"];
    assert_eq!(preprocessing["type"], "image");
    let config = &preprocessing["config"];
    assert_eq!(
        (&config["height"], &config["width"], &config["layout"]),
        (&json!(224), &json!(196), &json!("NCHW"))
    );
    assert_eq!(
        (&config["std"], &config["rescale_factor"]),
        (&json!([0.1, 0.2, 0.3]), &json!(0.5))
    );
}

#[test]
fn formats_can_be_asked_for() {
    let world = World::new();
    bert(&world);
    let files = |format: &str| {
        world.axon(&["install", "hf/acme/bert", "--format", format]).ok();
        paths(&world.json(&["info", "hf/acme/bert"])["manifest"]).join(" ")
    };
    assert_eq!(
        files("safetensors"),
        "config.json model.safetensors tokenizer.json"
    );
    assert_eq!(files("all").split(' ').count(), 6);
    world
        .axon(&["install", "hf/acme/bert", "-f", "gguf"])
        .fails(3, &["has no gguf file", "onnx/model.onnx"]);
    world
        .axon(&["install", "hf/acme/bert", "-f", "keras"])
        .fails(2, &["expected one of auto, onnx"]);
    assert_eq!(world.check_store().len(), 1);
}

#[test]
fn data_files_of_a_graph_come_with_it_whatever_their_name() {
    let world = World::new();
    let graph = onnx(
        &[("x", F32, &[0])],
        &[("y", F32, &[0])],
        &[("weights_a", 1000), ("more/weights.b", 500)],
    );
    world.publish("acme/large", "onnx/model.onnx", &graph);
    world.publish("acme/large", "onnx/weights_a", &noise(1000, 1));
    world
        .axon(&["install", "hf/acme/large"])
        .fails(3, &["onnx/more/weights.b, which onnx/model.onnx refers to"]);
    assert!(world.check_store().is_empty());
    world.publish("acme/large", "onnx/more/weights.b", &noise(500, 2));
    world.axon(&["install", "hf/acme/large"]).ok();
    let info = world.json(&["info", "hf/acme/large"]);
    assert_eq!(
        paths(&info["manifest"]),
        ["onnx/model.onnx", "onnx/more/weights.b", "onnx/weights_a"]
    );
    // The same from a path, with the data files beside the graph.
    let source = world.path("hub/acme/large/onnx/model.onnx");
    let installed = world.json(&["install", source.to_str().unwrap(), "--as", "local/large@1.0"]);
    assert_eq!(
        (&installed["id"], &installed["files"]),
        (&json!("local/large@1.0"), &json!(3))
    );
    assert_eq!(world.check_store().len(), 2);
}

#[test]
fn revisions_are_pinned() {
    let world = World::new();
    world.publish("acme/tiny", "model.safetensors", &safetensors(10, 1));
    world.publish("acme/tiny@v1", "model.safetensors", &safetensors(10, 2));
    let main = world.json(&["install", "hf/acme/tiny"]);
    let v1 = world.json(&["install", "hf/acme/tiny@v1"]);
    assert_eq!(v1["id"], "hf/acme/tiny@v1");
    assert_eq!(world.json(&["install", "hf/acme/tiny"])["status"], "present");
    // Every request for a file names a commit, so that a branch that moves meanwhile mixes nothing.
    for request in world
        .hub
        .requests()
        .iter()
        .filter(|request| request.path.contains("/resolve/"))
    {
        let pinned = [&main, &v1]
            .iter()
            .any(|model| request.path.contains(model["commit"].as_str().unwrap()));
        assert!(pinned, "{request:?}");
    }
    // A tag that moved replaces; a branch that moved stands beside.
    world.publish("acme/tiny@v1", "model.safetensors", &safetensors(10, 3));
    assert_eq!(world.json(&["install", "hf/acme/tiny@v1"])["status"], "replaced");
    world.publish("acme/tiny", "model.safetensors", &safetensors(10, 4));
    assert_eq!(world.json(&["install", "hf/acme/tiny"])["status"], "installed");
    assert_eq!(world.check_store().len(), 3);
    world
        .axon(&["install", "hf/acme/tiny@v2"])
        .fails(3, &["check the revision"]);
    world
        .axon(&["install", "hf/acme/none"])
        .fails(3, &["check the name"]);
}

#[test]
fn what_is_no_model_is_not_installed() {
    let world = World::new();
    let check = |name: &str, content: &[u8], words: &str| {
        world.publish("acme/odd", name, content);
        world.axon(&["install", "hf/acme/odd"]).fails(10, &[name, words]);
        assert!(world.check_store().is_empty());
        fs::remove_file(world.path("hub/acme/odd").join(name)).unwrap();
    };
    check(
        "model.onnx",
        b"<!DOCTYPE html><html><body>Sign in</body></html>",
        "HTML",
    );
    let pointer = format!(
        "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 12345\n",
        "a".repeat(64)
    );
    check("model.safetensors", pointer.as_bytes(), "git-lfs");
    let graph = onnx(&[("x", F32, &[0])], &[("y", F32, &[0])], &[]);
    check("model.onnx", &graph[..graph.len() / 2], "model.onnx");
    world.publish("acme/words", "notes.txt", b"nothing here");
    world
        .axon(&["install", "hf/acme/words"])
        .fails(3, &["has no model file", "notes.txt"]);
}

#[test]
fn paths_of_a_hub_cannot_leave_the_package() {
    let world = World::new();
    world.publish("acme/tiny", "model.safetensors", &safetensors(10, 1));
    world.publish("acme/tiny", "manifest.yaml", b"a: b");
    world
        .axon(&["install", "hf/acme/tiny", "--format", "all"])
        .fails(10, &["manifest.yaml"]);
    world.axon(&["install", "hf/acme/tiny"]).ok();
}
