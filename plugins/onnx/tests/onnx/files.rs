//! Model files: external data, and files that are not models.

use std::path::Path;

use mlos_plugin_host::{Error, Status};
use mlos_zoo::{ExternalData, Input, Prng, Size, Zoo, write_sparse};

use crate::host::{Load, load, run};

#[track_caller]
fn refused(path: &Path, status: Status, expect: &str) {
    let error = load(path, &Load::default()).unwrap_err();
    let message = error.to_string();
    assert!(
        matches!(error, Error::Plugin { status: found, .. } if found == status),
        "{error:?}"
    );
    assert!(
        message.contains(&*path.file_name().unwrap().to_string_lossy()),
        "{message} does not name the file"
    );
    assert!(message.contains(expect), "{message}");
}

#[test]
fn files_that_are_no_models_are_refused_with_their_name() {
    let dir = tempfile::tempdir().unwrap();
    let whole = std::fs::read(Zoo::Digits.write(dir.path(), Size::Full, 1).unwrap()).unwrap();
    let cases: [(&str, &[u8], &str); 6] = [
        ("empty.onnx", b"", "empty"),
        (
            "text.onnx",
            b"this is not a model, it is text",
            "not an onnx model",
        ),
        ("zip.onnx", b"PK\x03\x04\x14\0\0\0", "not an onnx model"),
        ("half.onnx", &whole[..whole.len() / 2], "truncated"),
        ("almost.onnx", &whole[..whole.len() - 1], "truncated"),
        ("headless.onnx", &[0x08, 0x08], "no graph"),
    ];
    for (name, bytes, expect) in cases {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        refused(&path, Status::BadModel, expect);
    }
    refused(&dir.path().join("gone.onnx"), Status::NotFound, "");
}

#[test]
fn a_model_damaged_at_random_is_refused_or_runs() {
    let dir = tempfile::tempdir().unwrap();
    let path = Zoo::Digits.write(dir.path(), Size::Tiny, 1).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let seed = 1;
    println!("seed {seed}");
    let mut random = Prng::new(seed, 0);
    let inputs = Zoo::Digits.inputs(Size::Tiny, 1, 1);
    for _ in 0..60 {
        let mut bytes = whole.clone();
        for _ in 0..3 {
            // The graph's structure is at the front; damage to weights alone would pass.
            let at = random.below(bytes.len().min(1500) as u64) as usize;
            bytes[at] = random.below(256) as u8;
        }
        std::fs::write(&path, &bytes).unwrap();
        match load(&path, &Load::default()) {
            Ok(model) if model.info().inputs.len() == inputs.len() => {
                let pool = crate::host::pool();
                let given = vec![Some(crate::host::tensor(&pool, &inputs[0]))];
                // Refusal by the host or the plugin is as good as an answer: nobody crashed.
                if let Ok(work) = mlos_plugin_host::Work::new(&model, given, mlos_plugin_host::Outputs::All) {
                    let gate = crate::host::Always::new(mlos_plugin_host::Verdict::Continue);
                    drop(crate::host::finish(mlos_plugin_host::Call::start(
                        work, None, &pool, gate,
                    )));
                }
            }
            Ok(_) => {}
            Err(error) => assert!(error.to_string().contains("digits"), "{error}"),
        }
    }
}

#[test]
fn weights_in_a_file_of_their_own_are_found_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let (inside, outside) = (dir.path().join("inside.onnx"), dir.path().join("outside.onnx"));
    let graph = Zoo::BertBase.graph(Size::Tiny, 1);
    graph.save(&inside, ExternalData::Never).unwrap();
    graph.save(&outside, ExternalData::Above(64)).unwrap();
    let inputs = Zoo::BertBase.inputs(Size::Tiny, 2, 1);
    let answer = |path: &Path| run(&load(path, &Load::default()).unwrap(), &inputs);
    assert!(answer(&inside) == answer(&outside));
    let data = dir.path().join("outside.onnx.data");
    let bytes = std::fs::read(&data).unwrap();
    std::fs::write(&data, &bytes[..bytes.len() - 1]).unwrap();
    refused(&outside, Status::BadModel, "outside.onnx.data");
    std::fs::remove_file(&data).unwrap();
    refused(&outside, Status::BadModel, "missing");
}

#[test]
fn external_data_outside_of_the_models_folder_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.onnx");
    Zoo::BertBase
        .graph(Size::Tiny, 1)
        .save(&path, ExternalData::Above(64))
        .unwrap();
    let bytes = std::fs::read(&path).unwrap();
    // The same length, so that the message stays whole.
    for evil in ["../../etc/passwd", "/etc/passwd/////"] {
        assert_eq!(evil.len(), "model.onnx.data_".len());
        let name = b"model.onnx.data";
        let mut changed = bytes.clone();
        let places: Vec<_> = (0..bytes.len() - name.len())
            .filter(|at| &bytes[*at..at + name.len()] == name)
            .collect();
        assert!(!places.is_empty());
        for at in places {
            changed[at..at + name.len()].copy_from_slice(&evil.as_bytes()[..name.len()]);
        }
        std::fs::write(&path, changed).unwrap();
        refused(&path, Status::BadModel, "outside of the model's folder");
    }
}

#[test]
fn a_model_of_more_than_two_gigabytes_is_served() {
    let dir = tempfile::tempdir().unwrap();
    // A table of zeros is a hole on disk, here and in the cache: it takes time to hash, not space.
    let path = write_sparse(dir.path(), (2 << 30) + (64 << 20)).unwrap();
    let model = load(&path, &Load::default()).unwrap();
    let last = ((2_i64 << 30) + (64 << 20)) / 1024 - 1;
    let answer = run(&model, &[Input::i64("ids", &[2], |index| [0, last][index])]);
    assert_eq!(answer[0].0, [2, 256]);
    // Both rows are zeros plus the bias.
    assert_eq!(answer[0].1[..1024], answer[0].1[1024..]);
    assert!(answer[0].1.iter().any(|byte| *byte != 0));
}
