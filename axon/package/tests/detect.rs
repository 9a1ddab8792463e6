//! Format detection: true files of every format, and files that only pretend.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use axon_package::{
    ErrorKind,
    detect::{self, Format},
    manifest::Dtype,
};
use std::{fs, io::Cursor, path::Path};
use support::proto::{external_tensor, graph, message, model, number, port};

fn detect(bytes: &[u8]) -> detect::Detection {
    detect::detect_reader(&mut Cursor::new(bytes), bytes.len() as u64, Path::new("file")).unwrap()
}

fn safetensors(header: &str, data_bytes: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data_bytes, 0);
    bytes
}

/// A zip with empty stored entries.
fn zip(names: &[&str]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for name in names {
        let offset = bytes.len() as u32;
        let len = (name.len() as u16).to_le_bytes();
        bytes.extend([b"PK\x03\x04".as_slice(), &[0; 22], &len, &[0; 2], name.as_bytes()].concat());
        directory.extend(
            [
                b"PK\x01\x02".as_slice(),
                &[0; 24],
                &len,
                &[0; 12],
                &offset.to_le_bytes(),
                name.as_bytes(),
            ]
            .concat(),
        );
    }
    let (count, size, offset) = (names.len() as u16, directory.len() as u32, bytes.len() as u32);
    bytes.extend(directory);
    let counts = [[0; 4].as_slice(), &count.to_le_bytes(), &count.to_le_bytes()].concat();
    bytes.extend(
        [
            b"PK\x05\x06".as_slice(),
            &counts,
            &size.to_le_bytes(),
            &offset.to_le_bytes(),
            &[0; 2],
        ]
        .concat(),
    );
    bytes
}

fn gguf(version: u32) -> Vec<u8> {
    [
        b"GGUF".as_slice(),
        &version.to_le_bytes(),
        &1u64.to_le_bytes(),
        &0u64.to_le_bytes(),
    ]
    .concat()
}

const LFS: &[u8] = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 438017\n";
const TENSOR: &str =
    r#"{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;

#[test]
fn true_files() {
    let check = |name: &str, bytes: &[u8], format: Format| {
        let found = detect(bytes);
        assert_eq!(
            (found.format, &found.damage),
            (format, &None),
            "{name}: {found:?}"
        );
        assert!(!found.evidence.is_empty());
        assert_eq!(
            found.require_model(Path::new(name)).is_ok(),
            format.is_model(),
            "{name}"
        );
    };
    check("onnx", &model(&graph()), Format::Onnx);
    check("gguf 3", &gguf(3), Format::Gguf);
    check("gguf big endian", &gguf(3u32.swap_bytes()), Format::Gguf);
    check("safetensors", &safetensors(TENSOR, 8), Format::SafeTensors);
    check(
        "safetensors, padded header",
        &safetensors(&format!("{TENSOR}   "), 8),
        Format::SafeTensors,
    );
    check(
        "pytorch zip",
        &zip(&["archive/data.pkl", "archive/data/0"]),
        Format::PyTorchZip,
    );
    check(
        "torchscript",
        &zip(&["m/code/a.py", "m/data.pkl"]),
        Format::PyTorchZip,
    );
    check("zip", &zip(&["word/document.xml"]), Format::Zip);
    check("empty zip", &zip(&[]), Format::Zip);
    check(
        "zip with comment",
        &[zip(&["data.pkl"]), b"comment".to_vec()].concat(),
        Format::PyTorchZip,
    );
    check("pickle 2", b"\x80\x02}q\x00.", Format::Pickle);
    check("pickle 4", b"\x80\x04\x95\x01\0\0\0\0\0\0\0N.", Format::Pickle);
    check(
        "old pytorch",
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
        Format::Pickle,
    );
    check(
        "tflite",
        b"\x18\0\0\0TFL3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        Format::TfLite,
    );
    let meta_graph = [message(1, b""), message(2, &message(1, b"node"))].concat();
    check(
        "saved model",
        &[number(1, 1), message(2, &meta_graph)].concat(),
        Format::SavedModel,
    );
    check("git-lfs", LFS, Format::GitLfsPointer);
    check(
        "html",
        b"\xef\xbb\xbf\n <!DOCTYPE html><html><body>404</body></html>",
        Format::Html,
    );
    check("empty", b"", Format::Empty);
    check("json", br#"{"error": "not found"}"#, Format::Unknown);
    check("text", b"Entry not found", Format::Unknown);
    check("zeros", &[0; 4096], Format::Unknown);
    check("random", &support::Random::new(3).bytes(4096), Format::Unknown);
}

#[test]
fn pretenders() {
    let check = |name: &str, bytes: &[u8], format: Format, expect: &str| {
        let found = detect(bytes);
        assert_eq!(found.format, format, "{name}: {found:?}");
        let error = found.require_model(Path::new("dir/model.bin")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let message = error.to_string();
        assert!(
            message.contains(expect) && message.contains("dir/model.bin"),
            "{name}: {message}"
        );
    };
    check(
        "git-lfs",
        LFS,
        Format::GitLfsPointer,
        "git-lfs pointer (it stands for oid sha256:4d7a21, size 438017); fetch the real file with `git lfs pull`",
    );
    check("html", b"<html>", Format::Html, "the server answered with a page");
    check(
        "empty",
        b"",
        Format::Empty,
        "an empty file (0 bytes); download it again",
    );
    check(
        "text",
        b"hello, world",
        Format::Unknown,
        "of no known format (it begins with `hello, world`)",
    );
    check("plain zip", &zip(&["a"]), Format::Zip, "zip without data.pkl");
    check("gguf cut", b"GGUF\x03", Format::Gguf, "it ends inside its header");
    check(
        "gguf header cut",
        &gguf(3)[..20],
        Format::Gguf,
        "it ends inside its header",
    );
    check("gguf version", &gguf(0), Format::Gguf, "not plausible");
    check(
        "zip cut",
        &zip(&["archive/data.pkl", "b"])[..60],
        Format::PyTorchZip,
        "cut short",
    );
    check("plain zip cut", &zip(&["a", "b"])[..40], Format::Zip, "cut short");
    check(
        "tflite root",
        b"\xff\xff\xff\x7fTFL3\0\0\0\0",
        Format::TfLite,
        "its root table is at 2147483647",
    );
    check(
        "pickle frame",
        b"\x80\x04\x95\xff\0\0\0\0\0\0\0N.",
        Format::Pickle,
        "inside its first frame",
    );
    check(
        "safetensors data",
        &safetensors(TENSOR, 7),
        Format::SafeTensors,
        "its tensors end at 8 where 7 bytes are left",
    );
    check(
        "safetensors header",
        &safetensors(TENSOR, 0)[..40],
        Format::SafeTensors,
        "where 32 are left",
    );
    check(
        "safetensors offsets",
        &safetensors(r#"{"w":{"data_offsets":[8,0]}}"#, 8),
        Format::SafeTensors,
        "ends before it begins",
    );
    check(
        "safetensors json",
        &safetensors(r#"{"w":[1,2"#, 8),
        Format::SafeTensors,
        "not a list of tensors",
    );
    check(
        "safetensors nested",
        &safetensors(&format!("{{\"w\":{}", "[".repeat(10_000)), 8),
        Format::SafeTensors,
        "not a list",
    );
    let mut huge = safetensors(TENSOR, 8);
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    check(
        "safetensors huge header",
        &huge,
        Format::Unknown,
        "of no known format",
    );
    let onnx = model(&graph());
    check(
        "onnx cut",
        &onnx[..onnx.len() / 2],
        Format::Onnx,
        "its graph claims",
    );
    check(
        "onnx without graph",
        &[number(1, 8), message(2, b"pytorch")].concat(),
        Format::Unknown,
        "of no known format",
    );
    check(
        "onnx, empty graph",
        &model(b""),
        Format::Unknown,
        "of no known format",
    );
    check(
        "onnx, version",
        &[number(1, 5000), message(7, &graph())].concat(),
        Format::Unknown,
        "of no known format",
    );
    check(
        "onnx, wrong kind",
        &[number(7, 1), number(1, 8)].concat(),
        Format::Unknown,
        "of no known format",
    );
}

/// A zip64 directory, as in checkpoints over 4 GB.
#[test]
fn zip64_is_followed() {
    let names = ["archive/data.pkl"];
    let mut bytes = zip(&names);
    bytes.truncate(bytes.len() - 22);
    let directory = bytes.windows(4).position(|w| w == b"PK\x01\x02").unwrap() as u64;
    let end64 = bytes.len() as u64;
    bytes.extend(
        [
            b"PK\x06\x06".as_slice(),
            &[0; 28],
            &1u64.to_le_bytes(),
            &[0; 8],
            &directory.to_le_bytes(),
        ]
        .concat(),
    );
    let with_locator = |at: u64| {
        let locator = [b"PK\x06\x07".as_slice(), &[0; 4], &at.to_le_bytes(), &[0; 4]].concat();
        let end = [b"PK\x05\x06".as_slice(), &[0; 4], &[0xff; 12], &[0; 2]].concat();
        [bytes.clone(), locator, end].concat()
    };
    assert_eq!(detect(&with_locator(end64)).format, Format::PyTorchZip);
    for lie in [0, u64::MAX, end64 + 1] {
        assert!(detect(&with_locator(lie)).damage.is_some(), "{lie}");
    }
}

#[test]
fn saved_model_directories() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(detect::detect(dir.path()).unwrap().format, Format::Unknown);
    let meta_graph = message(2, &message(1, b"node"));
    fs::write(
        dir.path().join("saved_model.pb"),
        [number(1, 1), message(2, &meta_graph)].concat(),
    )
    .unwrap();
    assert_eq!(detect::detect(dir.path()).unwrap().format, Format::SavedModel);
    fs::write(dir.path().join("saved_model.pb"), "<html>").unwrap();
    assert_eq!(detect::detect(dir.path()).unwrap().format, Format::Unknown);
    assert_eq!(
        detect::detect(&dir.path().join("no")).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn external_data_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.onnx");
    fs::write(dir.path().join("short.bin"), [0; 99]).unwrap();
    fs::write(dir.path().join("long.bin"), [0; 400]).unwrap();
    let tensor = |dims: &[u64], entries: &[(&str, &str)]| external_tensor("w", dims, entries);
    // One in the graph, one in an attribute of a node, one in the body of a loop, one without a length.
    let in_body = message(
        5,
        &tensor(
            &[1],
            &[("location", "gone.bin"), ("offset", "10"), ("length", "20")],
        ),
    );
    let body = message(6, &in_body);
    let in_node = message(
        5,
        &tensor(
            &[1],
            &[("location", "short.bin"), ("offset", "0"), ("length", "100")],
        ),
    );
    let graph = [
        graph(),
        message(5, &tensor(&[10, 10], &[("location", "./long.bin")])),
        message(1, &[message(5, &in_node), message(5, &body)].concat()),
    ]
    .concat();
    fs::write(&path, model(&graph)).unwrap();
    let found = detect::external_files(&path).unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|f| {
            (
                f.location.as_str(),
                f.needed_bytes,
                f.actual_bytes,
                f.is_complete(),
            )
        })
        .collect();
    let expect = [
        ("gone.bin", 30, None, false),
        ("long.bin", 400, Some(400), true),
        ("short.bin", 100, Some(99), false),
    ];
    assert_eq!(found, expect);
}

#[test]
fn hostile_external_data_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.onnx");
    let check = |bytes: &[u8], expect: &str| {
        fs::write(&path, bytes).unwrap();
        let error = detect::external_files(&path).unwrap_err().to_string();
        assert!(error.contains(expect), "expected {expect:?} in {error}");
    };
    let with = |entries: &[(&str, &str)]| {
        model(&[graph(), message(5, &external_tensor("w", &[1], entries))].concat())
    };
    check(
        &with(&[("location", "../../etc/shadow")]),
        "must not leave the package",
    );
    check(&with(&[("location", "/etc/shadow")]), "is absolute");
    check(&with(&[("offset", "0")]), "has no location");
    check(
        &with(&[("location", "a"), ("length", "-1")]),
        "the length of external tensor `w` is no number",
    );
    let good = model(&graph());
    check(&good[..good.len() - 3], "its ONNX graph is damaged");
    check(&[0x0a; 50], "its ONNX graph is damaged");
    // Graphs in attributes of nodes of graphs, 60 deep.
    let deep = (0..20).fold(graph(), |inner, _| message(1, &message(5, &message(6, &inner))));
    check(&model(&deep), "nested deeper than 32");
    // An offset that would overflow is only very far.
    fs::write(
        &path,
        with(&[
            ("location", "a"),
            ("offset", &u64::MAX.to_string()),
            ("length", "9"),
        ]),
    )
    .unwrap();
    assert_eq!(detect::external_files(&path).unwrap()[0].needed_bytes, u64::MAX);
}

#[test]
fn ports_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.onnx");
    let initializer = [message(8, b"weight"), number(2, 1)].concat();
    let graph = [
        message(1, b""),
        message(11, &port("input_ids", 7, &[None, Some(128)])),
        message(11, &port("weight", 1, &[Some(3)])),
        message(11, &port("complex", 15, &[])),
        message(12, &port("logits", 10, &[None, None, Some(30_522)])),
        message(5, &initializer),
    ]
    .concat();
    fs::write(&path, model(&graph)).unwrap();
    let io = detect::graph_io(&path).unwrap();
    let shown = |ports: &[axon_package::manifest::Port]| -> Vec<(String, Dtype, Vec<i64>)> {
        ports
            .iter()
            .map(|p| (p.name.clone(), p.dtype.clone(), p.shape.clone()))
            .collect()
    };
    assert_eq!(
        shown(&io.inputs),
        [("input_ids".into(), Dtype::I64, vec![-1, 128])]
    );
    assert_eq!(
        shown(&io.outputs),
        [("logits".into(), Dtype::F16, vec![-1, -1, 30_522])]
    );
}
