//! What a user types, against a real daemon.

use std::path::{Path, PathBuf};
use std::process::Command;

use mlos_tests::{Daemon, Finished, Options, binary, repository, run};
use serde_json::{Value, json};

use crate::local::socket;

/// `axon` with a home of its own.
pub struct Axon {
    home: tempfile::TempDir,
    endpoint: String,
    socket: PathBuf,
}

impl Axon {
    pub fn new(daemon: &Daemon) -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            endpoint: format!("http://{}", daemon.address),
            socket: socket(daemon),
        }
    }

    pub fn run(&self, arguments: &[&str]) -> Finished {
        let mut command = Command::new(binary("axon"));
        for (name, _) in
            std::env::vars().filter(|(name, _)| name.starts_with("MLOS_") || name.starts_with("HF_"))
        {
            command.env_remove(name);
        }
        run(command
            .env("AXON_HOME", self.home.path())
            .env("MLOS_ENDPOINT", &self.endpoint)
            .env("MLOS_SOCKET", &self.socket)
            .args(arguments))
    }

    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[arguments, &["--json"]].concat()).succeeded().json()
    }
}

fn digits() -> String {
    repository("models/digits").display().to_string()
}

fn sample(name: &str) -> String {
    repository("models/digits/samples")
        .join(name)
        .display()
        .to_string()
}

fn flip_a_byte(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn from_install_to_uninstall() {
    let daemon = Daemon::start(&Options::default());
    let axon = Axon::new(&daemon);
    let installed = axon.json(&["install", &digits()]);
    assert_eq!(
        (&installed["id"], &installed["status"]),
        (&json!("mlos/digits@1.0.0"), &json!("installed"))
    );
    assert_eq!(axon.json(&["install", &digits()])["status"], "present");
    let listed = axon.run(&["list"]).succeeded();
    assert!(listed.stdout.contains("mlos/digits"), "{listed:?}");
    axon.run(&["verify", "mlos/digits"]).succeeded();

    let registered = axon.json(&["register", "mlos/digits"]);
    assert_eq!(
        (&registered["state"], &registered["already"]),
        (&json!("ready"), &json!(false))
    );
    assert_eq!(axon.json(&["register", "mlos/digits"])["already"], true);
    let samples = std::fs::read(repository("models/digits/samples/samples.json")).unwrap();
    let samples: Vec<Value> = serde_json::from_slice(&samples).unwrap();
    for entry in samples.iter().step_by(2) {
        let answer = axon.json(&[
            "infer",
            "mlos/digits",
            "--image",
            &sample(entry["file"].as_str().unwrap()),
        ]);
        assert_eq!(
            answer["outputs"][1]["data"],
            json!([entry["predicted"]]),
            "{answer}"
        );
    }
    let shown = axon.run(&[
        "infer",
        "mlos/digits",
        "--image",
        &sample("3-0.png"),
        "--priority",
        "realtime",
    ]);
    let shown = shown.succeeded().stdout;
    assert!(
        shown.contains("logits") && shown.contains("digit") && shown.contains("us:"),
        "{shown}"
    );
    let by_value = axon.json(&[
        "infer",
        "mlos/digits",
        "--input",
        &format!("image={:?}", [0.0; 64]),
    ]);
    assert_eq!(by_value["outputs"][0]["shape"], json!([1, 10]));

    axon.run(&["uninstall", "mlos/digits"]).succeeded();
    assert_eq!(
        axon.run(&["verify", "mlos/digits"]).code(),
        3,
        "it is not installed any more"
    );
    // What the daemon has loaded does not need the files.
    axon.json(&["infer", "mlos/digits", "--image", &sample("3-0.png")]);
}

#[test]
fn a_flipped_byte_is_found_refused_and_repaired() {
    let daemon = Daemon::start(&Options::default());
    let axon = Axon::new(&daemon);
    let installed = axon.json(&["install", &digits()]);
    let file = Path::new(installed["path"].as_str().unwrap()).join("model.onnx");
    flip_a_byte(&file);
    let verified = axon.run(&["verify", "mlos/digits", "--json"]);
    assert_eq!(verified.code(), 4);
    assert_eq!(verified.json()["intact"], false);
    assert!(verified.stdout.contains("altered"), "{verified:?}");
    let refused = axon.run(&["register", "mlos/digits"]);
    assert_eq!(refused.code(), 6, "{refused:?}");
    assert!(
        refused.stderr.contains("sha256") && refused.stderr.contains("axon verify"),
        "{refused:?}"
    );
    axon.run(&["install", &digits(), "--force"]).succeeded();
    axon.run(&["verify", "--all"]).succeeded();
    assert_eq!(axon.json(&["register", "mlos/digits"])["state"], "ready");
    let answer = axon.json(&["infer", "mlos/digits", "--image", &sample("7-0.png")]);
    assert_eq!(answer["outputs"][1]["data"], json!([7]));
}

#[test]
fn an_archive_carries_a_model_from_one_machine_to_another() {
    let daemon = Daemon::start(&Options::default());
    let (here, there) = (Axon::new(&daemon), Axon::new(&daemon));
    let archive = here.home.path().join("digits.axon").display().to_string();
    here.run(&["package", &digits(), "--output", &archive])
        .succeeded();
    there.run(&["install", &archive]).succeeded();
    there.run(&["verify", "mlos/digits"]).succeeded();
    assert_eq!(there.json(&["register", "mlos/digits"])["state"], "ready");
    let answer = there.json(&["infer", "mlos/digits", "--image", &sample("3-0.png")]);
    assert_eq!(answer["outputs"][1]["data"], json!([3]));
}

#[test]
fn what_the_daemon_refuses_is_said_with_an_exit_code() {
    let daemon = Daemon::start(&Options::default());
    let axon = Axon::new(&daemon);
    let unknown = axon.run(&["infer", "mlos/digits", "--input", "image=[0]"]);
    assert_eq!(unknown.code(), 3, "{unknown:?}");
    assert!(unknown.stderr.contains("not registered"), "{unknown:?}");
    axon.run(&["install", &digits()]).succeeded();
    axon.run(&["register", "mlos/digits"]).succeeded();
    let wrong = axon.run(&["infer", "mlos/digits", "--input", "image=[1,2,3]"]);
    assert_eq!(wrong.code(), 6, "{wrong:?}");
    assert!(wrong.stderr.contains("'image'"), "{wrong:?}");
    let _ = daemon.stop();
    let gone = axon.run(&["infer", "mlos/digits", "--input", "image=[0]"]);
    assert_eq!(gone.code(), 5, "{gone:?}");
    assert!(gone.stderr.contains("no answer from mlosd"), "{gone:?}");
}
