//! The commands, one after another, as a user types them.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command, thread};

use serde_json::json;

use mlos_hub::{Fault, FaultKind};

use crate::{
    model_files::safetensors,
    world::{Run, World, find_file},
};

/// The sha256 of `outside`.
const OUTSIDE: &str = "31207a2065f46a5b948fce6fe5c13e85abaf5631e2f894b47dcd4fce14f6c57b";

const MANIFEST: &str = "\
apiVersion: axon.mlos.io/v1
kind: Model
metadata: {name: digits, namespace: local, version: 1.0.0, license: MIT}
spec:
  framework: {name: pytorch}
  format:
    type: safetensors
    files:
    - {path: model.safetensors, size: SIZE, sha256: SHA}
";

/// A directory with a manifest.
fn digits(world: &World) {
    let weights = safetensors(5000, 1);
    let manifest = MANIFEST
        .replace("SIZE", &weights.len().to_string())
        .replace("SHA", &axon_package::Sha256::of(&weights).to_string());
    world.write("digits/manifest.yaml", manifest.as_bytes());
    world.write("digits/model.safetensors", &weights);
}

#[test]
fn init_creates_a_private_configuration() {
    let world = World::new();
    fs::remove_dir_all(world.home()).unwrap();
    let created = world.json(&["init"]);
    assert_eq!(created["created"], true);
    let config = world.home().join("config.yaml");
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(world.json(&["init"])["created"], false);
    assert!(world.axon(&["init"]).ok().stdout.contains("was there already"));
}

#[test]
fn the_home_can_be_named() {
    let world = World::new();
    digits(&world);
    let other = world.path("other");
    let other = other.to_str().unwrap();
    world.axon(&["--home", other, "install", "digits"]).ok();
    assert!(world.check_store().is_empty());
    world
        .axon(&["list", "--home", other])
        .ok()
        .says(&["local/digits@1.0.0"]);
    // Without either, `~/.axon`.
    let mut command = world.command(&["config", "path"]);
    let run = Run::of(command.env_remove("AXON_HOME").env("HOME", "/somewhere")).ok();
    assert_eq!(run.stdout, "/somewhere/.axon/config.yaml\n");
}

#[test]
fn a_directory_is_installed_listed_verified_and_removed() {
    let world = World::new();
    digits(&world);
    world.axon(&["list"]).ok().says(&["no models are installed"]);
    world
        .axon(&["install", "digits"])
        .ok()
        .says(&["installed local/digits@1.0.0 (5.1 kB)", "note: no plugin"]);
    world
        .axon(&["install", "./digits"])
        .ok()
        .says(&["already installed: local/digits@1.0.0"]);
    world
        .axon(&["list"])
        .ok()
        .says(&["MODEL", "local/digits@1.0.0  safetensors  5.1 kB"]);
    assert_eq!(
        world.axon(&["list", "--names"]).ok().stdout,
        "local/digits@1.0.0\n"
    );
    world
        .axon(&["info", "local/digits"])
        .ok()
        .says(&["license    MIT", "model.safetensors (5.1 kB, sha256 "]);
    world
        .axon(&["verify", "local/digits"])
        .ok()
        .says(&["local/digits@1.0.0: intact (1 files, 5.1 kB)"]);
    world
        .axon(&["info", "local/digit"])
        .fails(3, &["did you mean local/digits", "not installed"]);
    assert_eq!(
        world.json(&["uninstall", "local/digits"])["removed"],
        json!(["local/digits@1.0.0"])
    );
    world
        .axon(&["uninstall", "local/digits"])
        .fails(3, &["error: model local/digits is not installed"]);
    let stats = world.json(&["cache", "stats"]);
    assert_eq!(
        (&stats["models"], &stats["disk_bytes"]),
        (&json!(0), &json!(0)),
        "the files are gone with it"
    );
}

#[test]
fn a_version_is_a_promise() {
    let world = World::new();
    digits(&world);
    world.axon(&["install", "digits"]).ok();
    let manifest = fs::read_to_string(world.path("digits/manifest.yaml")).unwrap();
    world.write(
        "digits/manifest.yaml",
        manifest.replace("MIT", "Apache-2.0").as_bytes(),
    );
    world.axon(&["install", "digits"]).fails(
        7,
        &["local/digits@1.0.0 is installed", "raise its version", "--force"],
    );
    assert_eq!(
        world.json(&["install", "digits", "--force"])["status"],
        "replaced"
    );
    assert_eq!(world.json(&["info", "local/digits"])["license"], "Apache-2.0");
    world.axon(&["uninstall", "local/digits"]).ok();
    world.write("digits/model.safetensors", &safetensors(5000, 2));
    world
        .axon(&["install", "digits"])
        .fails(4, &["model.safetensors: sha256 is"]);
    assert!(world.check_store().is_empty());
}

#[test]
fn a_flipped_byte_is_found_and_repaired() {
    let world = World::new();
    digits(&world);
    let installed = world.json(&["install", "digits"]);
    let file = std::path::Path::new(installed["path"].as_str().unwrap()).join("model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    bytes[4000] ^= 1;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&file, bytes).unwrap();
    world.axon(&["verify", "local/digits"]).fails(
        4,
        &["damaged", "model.safetensors: altered", "axon install --force"],
    );
    let run = world.axon(&["verify", "--all", "--json"]).fails(4, &[]);
    assert_eq!(run.json()["models"][0]["files"][0]["state"], "altered");
    world.axon(&["install", "digits", "--force"]).ok();
    assert_eq!(world.check_store().len(), 1);
    fs::remove_file(&file).unwrap();
    world
        .axon(&["verify", "local/digits"])
        .fails(4, &["model.safetensors: missing"]);
    fs::write(file.with_file_name("manifest.yaml"), "metadata: [").unwrap();
    world
        .axon(&["verify", "--all"])
        .fails(4, &["digits/1.0.0: damaged", "is not a manifest"]);
    world.axon(&["list"]).ok().says(&["no models are installed"]);
    world.axon(&["install", "digits", "--force"]).ok();
    assert_eq!(world.check_store().len(), 1);
}

#[test]
fn directories_without_a_manifest_and_single_files() {
    let world = World::new();
    world.write("My Model/weights.safetensors", &safetensors(100, 1));
    world.write("My Model/.git/objects/x", b"nobody's business");
    let installed = world.json(&["install", "./My Model"]);
    assert_eq!(
        (&installed["id"], &installed["files"]),
        (&json!("local/My-Model@latest"), &json!(1))
    );
    assert_eq!(world.json(&["install", "./My Model"])["status"], "present");
    world.write("My Model/weights.safetensors", &safetensors(100, 2));
    assert_eq!(world.json(&["install", "./My Model"])["status"], "replaced");
    let named = world.json(&["install", "./My Model/weights.safetensors", "--as", "me/w@2"]);
    assert_eq!(named["id"], "me/w@2");
    assert_eq!(world.check_store().len(), 2);
    world.write("empty/.hidden", b"");
    world.axon(&["install", "./empty"]).fails(3, &["no files"]);
    world.axon(&["install", "./nowhere"]).fails(3, &["no such file"]);
    world.write("page.onnx", b"<!DOCTYPE html><html></html>");
    world.axon(&["install", "./page.onnx"]).fails(10, &["HTML"]);
}

#[test]
fn packages_are_made_and_installed() {
    let world = World::new();
    digits(&world);
    for compression in ["zstd", "gzip"] {
        let packed = world.json(&["package", "digits", "--compression", compression]);
        assert_eq!(
            (&packed["id"], &packed["path"]),
            (&json!("local/digits@1.0.0"), &json!("digits-1.0.0.axon"))
        );
        let installed = world.json(&["install", "digits-1.0.0.axon"]);
        assert_eq!(
            (&installed["id"], &installed["status"]),
            (&packed["id"], &json!("installed"))
        );
        assert_eq!(world.check_store().len(), 1);
        world.axon(&["uninstall", "local/digits"]).ok();
    }
    let archive = world.path("digits-1.0.0.axon");
    let whole = fs::read(&archive).unwrap();
    for (content, code) in [
        (&whole[..whole.len() / 2], 4),
        (&whole[..10], 4),
        (b"PK\x03\x04nothing".as_slice(), 4),
    ] {
        fs::write(&archive, content).unwrap();
        world
            .axon(&["install", "digits-1.0.0.axon"])
            .fails(code, &["error: "]);
        assert!(world.check_store().is_empty());
    }
    world.write("bare/model.safetensors", &safetensors(10, 1));
    world
        .axon(&["package", "bare"])
        .fails(2, &["--as namespace/name@version"]);
    world
        .axon(&["package", "bare", "--as", "me/bare@1.0.0", "-o", "b.axon"])
        .ok()
        .says(&["b.axon", "me/bare@1.0.0"]);
    world.axon(&["install", "b.axon"]).ok();
    world.axon(&["package", "nowhere"]).fails(2, &["not a directory"]);
}

/// Written by the `tar` of everybody, from files that are really there.
#[test]
fn archives_that_would_reach_outside_are_refused() {
    let world = World::new();
    world.write("outside", b"outside");
    let files: String = ["first", "second", "symlink", "null"]
        .map(|path| format!("      - {{path: {path}, size: 7, sha256: {OUTSIDE}}}\n"))
        .concat();
    let (manifest, _) = MANIFEST.split_once("    files:\n").unwrap();
    world.write(
        "in/manifest.yaml",
        format!("{manifest}    files:\n{files}").as_bytes(),
    );
    let (inside, outside) = (world.path("in"), world.path("outside"));
    std::os::unix::fs::symlink(&outside, inside.join("symlink")).unwrap();
    fs::hard_link(&outside, inside.join("first")).unwrap();
    fs::hard_link(&outside, inside.join("second")).unwrap();
    for (members, expect) in [
        (&["../outside"][..], "not in the manifest"),
        (&[outside.to_str().unwrap()], "not in the manifest"),
        (&["symlink"], "a symbolic link"),
        (&["first", "second"], "a hard link"),
        (&["--directory=/dev", "null"], "a device"),
    ] {
        let mut tar = Command::new("tar");
        tar.current_dir(&inside)
            .args([
                "--create",
                "--gzip",
                "--absolute-names",
                "--format=gnu",
                "--file=../evil.axon",
            ])
            .arg("manifest.yaml")
            .args(members);
        Run::of(&mut tar).ok();
        world
            .axon(&["install", "evil.axon"])
            .fails(10, &["archive entry", expect]);
        assert!(world.check_store().is_empty(), "{members:?}");
        assert_eq!(fs::read(&outside).unwrap(), b"outside", "{members:?}");
    }
}

#[test]
fn two_installs_of_the_same_model_at_once() {
    let world = World::new();
    world.publish("acme/tiny", "model.safetensors", &safetensors(3_000_000, 1));
    // Slow enough that the second one comes while the first is at it.
    let slow = FaultKind::Slow {
        piece_bytes: 100_000,
        pause: std::time::Duration::from_millis(5),
    };
    world.hub.inject(Fault::always("/objects/", slow));
    let runs: Vec<Run> = thread::scope(|scope| {
        let install = || Run::of_child(world.spawn(&["install", "hf/acme/tiny", "--json"])).ok();
        let running: Vec<_> = (0..3).map(|_| scope.spawn(install)).collect();
        running.into_iter().map(|run| run.join().unwrap()).collect()
    });
    let mut status: Vec<String> = runs
        .iter()
        .map(|run| run.json()["status"].as_str().unwrap().to_owned())
        .collect();
    status.sort();
    assert_eq!(status, ["installed", "present", "present"]);
    assert_eq!(world.check_store().len(), 1);
    let downloads = world
        .hub
        .requests()
        .iter()
        .filter(|request| request.path.starts_with("/objects/"))
        .count();
    assert_eq!(downloads, 1, "the bytes came once");
}

#[test]
fn two_models_with_the_same_files_share_them() {
    let world = World::new();
    for repo in ["acme/one", "acme/two"] {
        world.publish(repo, "model.safetensors", &safetensors(1_000_000, 1));
    }
    thread::scope(|scope| {
        for model in ["hf/acme/one", "hf/acme/two"] {
            let world = &world;
            scope.spawn(move || Run::of_child(world.spawn(&["install", model])).ok());
        }
    });
    assert_eq!(world.check_store().len(), 2);
    let stats = world.json(&["cache", "stats"]);
    assert!(stats["disk_bytes"].as_u64().unwrap() < 1_100_000, "{stats}");
    world.axon(&["uninstall", "hf/acme/one"]).ok();
    assert_eq!(world.check_store().len(), 1);
}

#[test]
fn what_was_cut_is_cleaned_only_when_asked() {
    let world = World::new();
    world.publish("acme/tiny", "model.safetensors", &safetensors(2_000_000, 1));
    world
        .hub
        .inject(Fault::once("/objects/", FaultKind::CutAfter(1_500_000)));
    world
        .hub
        .inject(Fault::always("/objects/", FaultKind::status(404)));
    world.axon(&["install", "hf/acme/tiny"]).fails(3, &[]);
    let partial = |world: &World| world.json(&["cache", "stats"])["partial_bytes"].as_u64().unwrap();
    assert_eq!(partial(&world), 1_500_000);
    world.axon(&["cache", "clean", "--keep-partial"]).ok();
    assert_eq!(partial(&world), 1_500_000);
    world.axon(&["cache", "clean"]).ok().says(&["freed 1.5 MB"]);
    assert_eq!(partial(&world), 0);
    world.axon(&["cache", "list"]).ok();
}

#[test]
fn the_configuration_is_read_and_changed() {
    let world = World::new();
    world
        .axon(&["config", "set", "mlos.endpoint", "http://10.0.0.5:8080"])
        .ok();
    assert_eq!(
        world.axon(&["config", "get", "mlos.endpoint"]).ok().stdout,
        "http://10.0.0.5:8080\n"
    );
    world
        .axon(&["config", "set", "registry.huggingface_token", "hf_secret"])
        .ok();
    let list = world
        .axon(&["config", "list"])
        .ok()
        .says(&["download.max_retries           2", "***"]);
    assert!(!list.stdout.contains("hf_secret"), "{list:?}");
    assert_eq!(
        world.json(&["config", "get", "registry.huggingface_token"])["value"],
        "hf_secret"
    );
    world.axon(&["config", "set", "mlos.endpoint", ""]).ok();
    assert_eq!(world.axon(&["config", "get", "mlos.endpoint"]).ok().stdout, "");
    let mode = fs::metadata(world.home().join("config.yaml"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600, "it holds a token");
    world
        .axon(&["config", "set", "download.parallel", "many"])
        .fails(2, &["download.parallel"]);
    world
        .axon(&["config", "get", "nothing"])
        .fails(2, &["there are cache_dir, registry."]);
    world.write("home/config.yaml", b"download: [1");
    world
        .axon(&["list"])
        .fails(10, &["config.yaml", "correct or delete it"]);
}

#[test]
fn the_store_can_lie_elsewhere() {
    let world = World::new();
    digits(&world);
    let elsewhere = world.path("elsewhere");
    world
        .axon(&["config", "set", "cache_dir", elsewhere.to_str().unwrap()])
        .ok();
    let installed = world.json(&["install", "digits"]);
    assert!(
        installed["path"]
            .as_str()
            .unwrap()
            .starts_with(elsewhere.to_str().unwrap()),
        "{installed}"
    );
}

#[test]
fn a_registry_in_a_directory_comes_before_the_hubs() {
    let world = World::new();
    digits(&world);
    fs::create_dir_all(world.path("shared/any/where")).unwrap();
    fs::rename(world.path("digits"), world.path("shared/any/where/digits")).unwrap();
    let shared = format!("file://{}", world.path("shared").display());
    world.axon(&["config", "set", "registry.url", &shared]).ok();
    let installed = world.json(&["install", "local/digits"]);
    assert_eq!(
        (&installed["id"], &installed["status"]),
        (&json!("local/digits@1.0.0"), &json!("installed"))
    );
    assert_eq!(
        world.json(&["install", "local/digits@1.0.0"])["status"],
        "present"
    );
    world
        .axon(&["install", "local/digits@2.0.0"])
        .fails(3, &["local models are installed from a path"]);
    assert!(world.hub.requests().is_empty());
    world.publish("acme/tiny", "model.safetensors", &safetensors(10, 1));
    world.axon(&["install", "hf/acme/tiny"]).ok();
    assert_eq!(world.check_store().len(), 2);
    world
        .axon(&["config", "set", "registry.url", "http://registry"])
        .ok();
    world
        .axon(&["install", "local/digits"])
        .fails(2, &["registry.url is http://registry"]);
}

#[test]
fn hubs_can_be_switched_off() {
    let world = World::new();
    world
        .axon(&["config", "set", "registry.enable_huggingface", "false"])
        .ok();
    world
        .axon(&["install", "hf/acme/tiny"])
        .fails(10, &["no adapter takes"]);
    assert!(world.hub.requests().is_empty());
}

#[test]
fn errors_are_objects_where_json_is_asked_for() {
    let world = World::new();
    for (arguments, code, kind) in [
        (vec!["info", "hf/acme/none", "--json"], 3, "not_found"),
        (vec!["install", "--json", "hf/../x"], 2, "usage"),
        (vec!["install", "--json"], 2, "usage"),
        (vec!["nonsense", "--json"], 2, "usage"),
        (vec!["verify", "hf/acme/none", "--json"], 3, "not_found"),
        (vec!["register", "hf/acme/none", "--json"], 3, "not_found"),
    ] {
        let run = world.axon(&arguments).fails(code, &[]);
        let error = &run.json()["error"];
        assert_eq!(error["kind"], kind, "{run:?}");
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty()),
            "{run:?}"
        );
    }
}

#[test]
fn help_tells_what_there_is() {
    let world = World::new();
    world
        .axon(&["--help"])
        .ok()
        .says(&["Exit codes:", "4  bytes are not", "install", "completions"]);
    world
        .axon(&["install", "--help"])
        .ok()
        .says(&["Examples:", "HF_TOKEN", "axon install ./model.onnx"]);
    for command in [
        "register", "infer", "package", "verify", "config", "cache", "list", "info",
    ] {
        world.axon(&[command, "--help"]).ok().says(&["Usage: axon "]);
    }
    world.axon(&["--version"]).ok().says(&["axon 0."]);
    let version = world.json(&["version"]);
    assert_eq!(
        (&version["version"], &version["os"]),
        (&json!(env!("CARGO_PKG_VERSION")), &json!("linux"))
    );
    world.axon(&[]).fails(2, &["Usage: axon"]);
}

#[test]
fn shells_get_completions() {
    let world = World::new();
    for (shell, word) in [
        ("bash", "_axon()"),
        ("zsh", "#compdef axon"),
        ("fish", "complete -c axon"),
        ("powershell", "axon"),
    ] {
        world.axon(&["completions", shell]).ok().says(&[word, "via"]);
    }
    // The values too.
    world
        .axon(&["completions", "bash"])
        .ok()
        .says(&["\"http local\""]);
    world
        .axon(&["completions", "tcsh"])
        .fails(2, &["possible values"]);
}

#[test]
fn progress_is_a_line_per_file_where_there_is_no_terminal() {
    let world = World::new();
    digits(&world);
    let run = world.axon(&["install", "digits"]).ok();
    assert_eq!(run.stderr, "model.safetensors: 5.1 kB\n");
    world.axon(&["uninstall", "local/digits"]).ok();
    assert_eq!(world.axon(&["install", "digits", "--quiet"]).ok().stderr, "");
    let model = world.home().join("models/local/digits/1.0.0");
    assert!(find_file(&model, ".safetensors").exists());
}
