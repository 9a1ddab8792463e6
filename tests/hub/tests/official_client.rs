//! The official `huggingface_hub` client downloads from the fixture: that is why the fixture may stand for the hub.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use mlos_hub::{Hub, HubOptions, Side};

/// The release that the fixture was checked against.
const CLIENT: &str = "huggingface_hub==2.4.0";

/// Python of a virtual environment that has the client; made on the first run.
fn python() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("the directory lies in target")
        .to_owned();
    let venv = target.join("venv-hub");
    let ready = venv.join(CLIENT.replace("==", "-"));
    if !ready.exists() {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
        run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", CLIENT]));
        fs::write(&ready, "").unwrap();
    }
    venv.join("bin/python")
}

fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{command:?}: {}\n{stdout}\n{stderr}",
        output.status
    );
    stdout.into_owned()
}

fn write(root: &Path, path: &str, content: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

const SCRIPT: &str = r#"
import json, sys
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
root, cache = sys.argv[1], sys.argv[2]
api = HfApi()
info = api.model_info("acme/tiny")
assert sorted(s.rfilename for s in info.siblings) == ["README.md", "config.json", "onnx/model.onnx"], info.siblings
assert info.card_data.license == "mit", info.card_data
tree = {f.path: f for f in api.list_repo_tree("acme/tiny", recursive=True)}
assert tree["onnx/model.onnx"].lfs.size == 300000, tree
assert [m.id for m in api.list_models(search="tiny")] == ["acme/tiny"]
path = snapshot_download("acme/tiny", cache_dir=cache)
assert path.endswith(info.sha), (path, info.sha)
for name in tree:
    assert open(f"{path}/{name}", "rb").read() == open(f"{root}/acme/tiny/{name}", "rb").read(), name
old = hf_hub_download("acme/tiny", "config.json", revision="v1", cache_dir=cache)
assert json.load(open(old)) == {"version": 1}
for call, error in [
    (lambda: hf_hub_download("acme/none", "a", cache_dir=cache), RepositoryNotFoundError),
    (lambda: hf_hub_download("acme/tiny", "none", cache_dir=cache), EntryNotFoundError),
    (lambda: hf_hub_download("acme/tiny", "config.json", revision="none", cache_dir=cache), RevisionNotFoundError),
    (lambda: hf_hub_download("acme/gated", "config.json", cache_dir=cache), GatedRepoError),
]:
    try:
        call()
    except error:
        continue
    raise AssertionError(error)
hf_hub_download("acme/gated", "weights.bin", cache_dir=cache, token="hf_secret")
print("ok")
"#;

#[test]
fn the_official_client_downloads_from_the_fixture() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let weights: Vec<u8> = (0..300_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    write(&root, "acme/tiny/README.md", b"---\nlicense: mit\n---\n# Tiny\n");
    write(&root, "acme/tiny/config.json", br#"{"version": 2}"#);
    write(&root, "acme/tiny/onnx/model.onnx", &weights);
    write(&root, "acme/tiny@v1/config.json", br#"{"version": 1}"#);
    write(&root, "acme/gated/config.json", b"{}");
    write(&root, "acme/gated/weights.bin", &weights);
    for resolve_cache in [false, true] {
        let hub = Hub::start_with(
            &root,
            HubOptions {
                tree_page_entries: 2,
                resolve_cache,
                ..HubOptions::default()
            },
        )
        .unwrap();
        hub.gate("acme/gated", "hf_secret");
        let cache = directory.path().join(format!("cache-{resolve_cache}"));
        let mut command = Command::new(python());
        command.args(["-c", SCRIPT]).arg(&root).arg(&cache);
        command
            .env("HF_ENDPOINT", hub.endpoint())
            .env("HF_HOME", directory.path().join("home"));
        command
            .env_remove("HF_TOKEN")
            .env_remove("HF_HUB_OFFLINE")
            .env("HF_HUB_DISABLE_TELEMETRY", "1");
        assert!(run(&mut command).ends_with("ok\n"));
        let from_cdn: Vec<_> = hub
            .requests()
            .into_iter()
            .filter(|request| request.side == Side::Cdn)
            .collect();
        assert!(!from_cdn.is_empty(), "large files come from the content network");
        assert!(
            from_cdn
                .iter()
                .all(|request| request.header("authorization").is_none()),
            "no token there"
        );
    }
}
