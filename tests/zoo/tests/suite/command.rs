//! The `zoo` command.

use std::process::{Command, Output};

fn zoo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_zoo"))
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn it_writes_what_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("new").join("models");
    let out = out.to_str().unwrap();
    // What to write, and how many files it makes.
    for (model, files) in [("digits", 1), ("mlp-8x16x2", 1), ("all", 11), ("probes", 31)] {
        let output = zoo(&[model, "--tiny", "--seed", "3", "--out", out]);
        assert!(
            output.status.success(),
            "{model}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let paths = String::from_utf8(output.stdout).unwrap();
        assert_eq!(paths.lines().count(), files, "{model}");
        for path in paths.lines() {
            assert!(
                std::path::Path::new(path).is_file(),
                "{model}: {path} does not exist"
            );
        }
    }
}

#[test]
fn an_unknown_model_is_refused_with_the_known_ones() {
    for model in ["resnet51", "mlp-8x16", "mlp-8x0x2", "mlp-8xax2", ""] {
        let dir = tempfile::tempdir().unwrap();
        let output = zoo(&[model, "--out", dir.path().to_str().unwrap()]);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{model} was accepted");
        assert!(
            message.contains("unknown model") && message.contains("resnet50"),
            "{model}: {message}"
        );
    }
}
