//! Manifests: what is read, what is refused and where, and that the writer and the validator agree.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use axon_package::{
    Error, FileEntry, Manifest, ModelId, Sha256,
    manifest::{
        Author, Dtype, ExecutionFile, ExecutionFormat, Port, Preprocessing, PreprocessingKind, Priority,
        Role, Values,
    },
};
use proptest::{collection, option, prelude::*};
use support::{files, manifest};

/// As the first implementation wrote them before its version 3.1.5: JSON, `v1`, null lists, unknown fields.
const OLD_JSON: &str = r#"{
  "apiVersion": "v1", "kind": "Model",
  "metadata": {"name": "bert-base-uncased", "namespace": "hf", "version": "latest", "description": "",
    "authors": null, "created": "2025-11-30T00:00:00Z", "tags": null, "hub_likes": 7},
  "spec": {
    "framework": {"name": "PyTorch", "version": "2.0.0"},
    "format": {"type": "pytorch", "execution_format": "onnx", "available_formats": ["onnx"],
      "files": [{"path": "onnx/model.onnx", "size": 3, "sha256":
        "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"}],
      "execution_files": [{"path": "onnx/model.onnx", "format": "onnx", "type": "single"}]},
    "io": {"inputs": [{"name": "input_ids", "dtype": "int64", "shape": [-1, -1]}], "outputs": null},
    "requirements": {"compute": {"cpu": {"min_cores": 2}, "memory": {"min_gb": 1.5}}, "storage": {"min_gb": 1}},
    "performance": null
  },
  "distribution": {"package": {"url": "", "size": 0, "sha256": "", "mirrors": null}}
}"#;

#[test]
fn old_json_manifests_read() {
    let manifest = Manifest::parse_valid(OLD_JSON.as_bytes(), "old").unwrap();
    assert_eq!(manifest.api_version, "axon.mlos.io/v1");
    assert_eq!(
        manifest.id().unwrap(),
        ModelId::parse("hf/bert-base-uncased@latest").unwrap()
    );
    assert_eq!(manifest.spec.format.execution_format, Some(ExecutionFormat::Onnx));
    assert_eq!(manifest.spec.io.inputs[0].dtype, Dtype::I64);
    assert_eq!(
        manifest.file("onnx/model.onnx").unwrap().digest().unwrap(),
        Sha256::of(b"abc")
    );
    assert_eq!(manifest.size_bytes(), 3);
    // Unknown fields come through a rewrite.
    let again = Manifest::parse(manifest.to_yaml().unwrap().as_bytes(), "again").unwrap();
    assert_eq!(again, manifest);
    assert_eq!(again.metadata.extra["hub_likes"].as_u64(), Some(7));
    assert!(again.spec.format.extra.contains_key("available_formats"));
}

#[test]
fn yaml_of_a_person_reads() {
    let yaml = "
apiVersion: axon.mlos.io/v1
kind: Model
metadata: {name: Org/Digits_v2.1, namespace: local, version: 1.10}
spec:
  framework: {name: onnx, version: 1.2}
  format:
    type: onnx
    files:
      - {path: model.onnx, size: 3, sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad}
      - {path: tokenizer.json, size: 3, sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad}
  io:
    inputs:
      - name: x
        dtype: fp32
        shape: [-1, 8]
        preprocessing: {type: tokenizer, tokenizer: tokenizer.json, config: {max_length: 128}}
  serving: {priority: realtime, max_batch_rows: 8, max_queue_delay_us: 200, splittable: true}
";
    let manifest = Manifest::parse_valid(yaml.as_bytes(), "yaml").unwrap();
    // Unquoted, and still not the number 1.1.
    assert_eq!(manifest.id().unwrap().version(), Some("1.10"));
    assert_eq!(manifest.spec.io.inputs[0].dtype, Dtype::F32);
    let serving = &manifest.spec.serving;
    assert_eq!(serving.priority, Some(Priority::Realtime));
    assert_eq!(
        (serving.max_batch_rows, serving.max_queue_delay_us),
        (Some(8), Some(200))
    );
    assert_eq!(serving.splittable, Some(true));
}

#[test]
fn every_problem_is_named_with_its_path() {
    let mut bad = manifest("local/m@1", &files([("a.onnx", b"abc"), ("b", b"")]));
    bad.api_version = "v2".into();
    bad.kind = "Dataset".into();
    bad.metadata.name = "../x".into();
    bad.metadata.version = "a/b".into();
    bad.spec.framework.name = "py torch".into();
    let entry = |path: &str, sha256: &str| FileEntry {
        path: path.into(),
        size: 1,
        sha256: sha256.into(),
    };
    bad.spec.format.files.extend([
        entry("a.onnx", "xyz"),
        entry("/etc/passwd", ""),
        entry("b/c", &"0".repeat(64)),
    ]);
    let file = ExecutionFile {
        path: "no.onnx".into(),
        format: ExecutionFormat::Onnx,
        role: Role::Single,
    };
    bad.spec.format.execution_files.push(file);
    bad.spec
        .io
        .inputs
        .push(port("", Dtype::Other("float12".into()), vec![-2]));
    bad.spec.requirements.compute.cpu.min_cores = Some(0);
    bad.spec.requirements.storage.min_gb = Some(f64::NAN);
    bad.spec.dependencies.models.push("nonsense".into());
    bad.spec.serving.priority = Some(Priority::Other("urgent".into()));
    bad.spec.serving.max_batch_rows = Some(0);
    bad.distribution.package.sha256 = "12".into();
    let found: Vec<String> = bad.validate().0.into_iter().map(|problem| problem.at).collect();
    let expect = [
        "apiVersion",
        "kind",
        "metadata.name",
        "metadata.version",
        "spec.framework.name",
        "spec.format.files[2].path",
        "spec.format.files[2].sha256",
        "spec.format.files[3].path",
        "spec.format.files[3].sha256",
        "spec.format.files[4].path",
        "spec.format.execution_files[0].path",
        "spec.io.inputs[0].name",
        "spec.io.inputs[0].dtype",
        "spec.io.inputs[0].shape",
        "spec.requirements.compute.cpu.min_cores",
        "spec.requirements.storage.min_gb",
        "spec.dependencies.models[0]",
        "spec.serving.priority",
        "spec.serving.max_batch_rows",
        "distribution.package.sha256",
    ];
    assert_eq!(found, expect);
    let message = bad.to_yaml().unwrap_err().to_string();
    assert!(
        message.contains("spec.format.files[2].sha256: is not 64 hexadecimal digits"),
        "{message}"
    );
}

#[test]
fn aliases_that_repeat_little_are_read() {
    let yaml = OLD_JSON
        .replace("\"inputs\": [{", "\"inputs\": [&x {")
        .replace("\"outputs\": null", "\"outputs\": [*x]");
    let io = Manifest::parse_valid(yaml.as_bytes(), "yaml").unwrap().spec.io;
    assert_eq!(io.inputs, io.outputs);
}

#[test]
fn the_largest_package_has_a_manifest() {
    let mut manifest = manifest("local/m@1", &files([("m", b"abc")]));
    let entry = manifest.spec.format.files[0].clone();
    let path = |i: usize| format!("variables/layer-{i:05}/attention/output/dense/kernel.bin");
    manifest.spec.format.files = (0..16_384)
        .map(|i| FileEntry {
            path: path(i),
            ..entry.clone()
        })
        .collect();
    let yaml = manifest.to_yaml().unwrap();
    assert_eq!(Manifest::parse_valid(yaml.as_bytes(), "large").unwrap(), manifest);
}

#[test]
fn single_problems() {
    let check = |change: fn(&mut Manifest), expect: &str| {
        let mut manifest = manifest("local/m@1", &files([("m.onnx", b"abc")]));
        change(&mut manifest);
        let problems = manifest.validate().to_string();
        assert!(problems.contains(expect), "expected {expect:?} in {problems:?}");
    };
    check(|m| m.spec.format.files.clear(), "spec.format.files: is empty");
    check(
        |m| m.spec.format.files[0].path = "manifest.yaml".into(),
        "is the manifest itself",
    );
    check(|m| m.spec.format.files[0].size = u64::MAX, "sum up to");
    check(
        |m| m.spec.format.files = vec![m.spec.format.files[0].clone(); 20_000],
        "has 20000 entries",
    );
    check(
        |m| m.spec.io.inputs = vec![port("x", Dtype::F32, vec![1; 33])],
        "more than 32 dimensions",
    );
    check(
        |m| m.spec.io.outputs = vec![port("x", Dtype::F32, vec![]); 2],
        "spec.io.outputs[1].name: `x` is listed twice",
    );
    check(
        |m| m.spec.io.inputs = vec![tokenized("")],
        "preprocessing.tokenizer: is empty",
    );
    check(
        |m| m.spec.io.inputs = vec![tokenized("no.json")],
        "`no.json` is not one of spec.format.files",
    );
}

#[test]
fn nonsense_is_refused_with_its_place() {
    let check = |text: &[u8], expect: &str| {
        let error = Manifest::parse(text, "m.yaml").unwrap_err();
        assert!(
            error.to_string().contains(expect),
            "expected {expect:?} in {error}"
        );
    };
    check(b"", "m.yaml is not a manifest");
    check(b"\xff\xfe", "utf-8");
    check(b"[1, 2]", "m.yaml is not a manifest");
    check(b"apiVersion: v1\nkind: Model\n", "missing field");
    check(b"a: &a [*a, *a]", "m.yaml is not a manifest");
    check(
        OLD_JSON.replace("\"size\": 3", "\"size\": -3").as_bytes(),
        "spec.format.files[0].size",
    );
    check(
        OLD_JSON.replace("\"size\": 3", "\"size\": \"big\"").as_bytes(),
        "line",
    );
    // Aliases that multiply: nine levels of nine.
    let level = |i: usize| format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(","));
    let bomb: String = std::iter::once("a0: &a0 [x]\n".to_owned())
        .chain((1..10).map(level))
        .collect();
    check(
        format!("{bomb}apiVersion: v1\nkind: Model\n").as_bytes(),
        "m.yaml is not a manifest",
    );
    // Fewer aliases, each of much: the parser alone would follow them all.
    let wide = format!(
        "apiVersion: v1\na: &a [{}]\nb: [{}]\n",
        "x,".repeat(10_000),
        "*a,".repeat(10_000)
    );
    check(wide.as_bytes(), "its aliases repeat too much");
    let long = format!(
        "apiVersion: v1\na: &a {}\nb: [{}]\n",
        "x".repeat(100_000),
        "*a,".repeat(10_000)
    );
    check(long.as_bytes(), "its aliases repeat too much");
    check("[".repeat(100_000).as_bytes(), "m.yaml is not a manifest");
    let long = vec![b' '; (4 << 20) + 1];
    assert!(matches!(Manifest::parse(&long, "m"), Err(Error::Limit { .. })));
}

#[test]
fn a_file_is_replaced_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("manifest.yaml");
    let first = manifest("local/m@1", &files([("m", b"abc")]));
    first.write(&path).unwrap();
    let mut second = first.clone();
    second.metadata.description = "new".into();
    second.write(&path).unwrap();
    assert_eq!(Manifest::read(&path).unwrap(), second);
    second.kind = String::new();
    assert!(matches!(second.write(&path), Err(Error::ManifestInvalid { .. })));
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing is left beside it"
    );
    assert!(matches!(
        Manifest::read(&dir.path().join("no")),
        Err(Error::FileNotFound { .. })
    ));
}

fn port(name: &str, dtype: Dtype, shape: Vec<i64>) -> Port {
    Port {
        name: name.into(),
        dtype,
        shape,
        description: String::new(),
        preprocessing: None,
        extra: Values::new(),
    }
}

fn tokenized(tokenizer: &str) -> Port {
    let preprocessing = Preprocessing {
        kind: PreprocessingKind::Tokenizer,
        tokenizer: tokenizer.into(),
        tokenizer_type: String::new(),
        config: Values::new(),
    };
    Port {
        preprocessing: Some(preprocessing),
        ..port("x", Dtype::I64, vec![-1])
    }
}

prop_compose! {
    fn any_port()(
        name in "[a-zA-Z0-9_./: -]{1,12}", dtype in 0..Dtype::KNOWN.len(),
        shape in collection::vec(-1i64..4096, 0..5), description in any::<String>(),
    ) -> Port {
        Port { description, ..port(&name, Dtype::KNOWN[dtype].parse().unwrap(), shape) }
    }
}

prop_compose! {
    fn any_files()(paths in collection::btree_map("[a-z]{1,8}(/[a-zA-Z0-9_ é-]{1,8}){0,2}\\.x", any::<[u8; 32]>(), 1..6))
        -> Vec<FileEntry> {
        paths.into_iter().map(|(path, sha)| FileEntry::new(path, u64::from(sha[0]) << (sha[1] % 30), Sha256(sha))).collect()
    }
}

prop_compose! {
    /// Whatever the public types can hold, within the rules.
    fn any_manifest()(
        namespace in "[a-zA-Z0-9_][a-zA-Z0-9_-]{0,8}", name in "[a-zA-Z0-9_][a-zA-Z0-9_-]{0,7}(/[a-zA-Z0-9_][a-zA-Z0-9_-]{0,7}){0,3}",
        version in "[0-9a-z]{1,8}(\\.[0-9]{1,3}){0,3}(-rc)?", texts in collection::vec(any::<String>(), 6),
        files in any_files(), inputs in collection::btree_map("[a-z]{1,6}", any_port(), 0..4),
        cores in option::of(1u32..), gb in option::of(0.0..1e9f64), flags in any::<[bool; 4]>(),
        priority in option::of(0..Priority::KNOWN.len()), rows in option::of(1u32..), delay in option::of(any::<u64>()),
        values in collection::btree_map("[a-z]{1,6}", any::<(i32, String)>(), 0..3),
    ) -> Manifest {
        let mut m = Manifest::new(&ModelId::new(&namespace, &name, Some(&version)).unwrap(), "onnx", "onnx");
        let [description, license, author, tag, dataset, extra] = texts.try_into().unwrap();
        m.metadata.description = description;
        m.metadata.license = license;
        m.metadata.authors = vec![Author { name: author, ..Author::default() }];
        m.metadata.tags = vec![tag];
        if flags[0] {
            let path = files[0].path.clone();
            let role = if flags[1] { Role::Single } else { Role::Other("unet".into()) };
            m.spec.format.execution_files = vec![ExecutionFile { path, format: ExecutionFormat::Onnx, role }];
            m.spec.format.execution_format = Some(ExecutionFormat::Onnx);
        }
        m.spec.format.multi_encoder = flags[2];
        m.spec.format.files = files;
        m.spec.io.inputs = inputs.into_iter().map(|(name, port)| Port { name, ..port }).collect();
        m.spec.requirements.compute.cpu.min_cores = cores;
        m.spec.requirements.compute.memory.min_gb = gb;
        m.spec.performance.dataset = dataset;
        m.spec.performance.accuracy = values.iter().map(|(k, v)| (k.clone(), v.0.into())).collect();
        m.spec.serving.priority = priority.map(|i| Priority::KNOWN[i].parse().unwrap());
        m.spec.serving.max_batch_rows = rows;
        m.spec.serving.max_queue_delay_us = delay;
        m.spec.serving.splittable = flags[1].then_some(flags[3]);
        m.extra = values.into_iter().map(|(k, v)| (format!("x-{k}"), v.1.into())).collect();
        m.extra.insert("x".into(), extra.into());
        m
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_validates_and_reads_back(manifest in any_manifest()) {
        let yaml = manifest.to_yaml().unwrap();
        let again = Manifest::parse_valid(yaml.as_bytes(), "again").unwrap();
        prop_assert_eq!(&again, &manifest, "{}", yaml);
        prop_assert_eq!(again.to_yaml().unwrap(), yaml);
    }

    #[test]
    fn bytes_never_panic(bytes in collection::vec(any::<u8>(), 0..200)) {
        axon_package::fuzzing::fuzz_manifest(&bytes);
    }
}
