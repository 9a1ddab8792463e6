//! Kills a process that installs, replaces, removes and collects, at random moments, and looks at what it left.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use axon_package::{
    Partials, Sha256, Stage, Staging, Store,
    archive::{self, Compression},
    scan,
};
use std::{
    collections::BTreeSet,
    env, fs,
    hint::spin_loop,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use support::{Files, Random, id, manifest, write_files};

const ROUNDS: usize = 200;
const SEED: u64 = 0xdead;
/// Tells the test binary that it is the process to be killed, and where its store is.
const CHILD: &str = "AXON_CRASH_CHILD";

/// Three models that share files; the contents depend on the seed only, so the parent knows them.
fn models() -> Vec<(&'static str, Files)> {
    let mut random = Random::new(SEED);
    let shared = random.bytes(300_000);
    ["hf/Org/a@1", "hf/Org/a@2", "local/b@1"]
        .into_iter()
        .map(|id| {
            let mut files = Files::from([("shared.bin".into(), shared.clone())]);
            for i in 0..3 {
                files.insert(format!("dir/{i}"), random.bytes(1 << (10 + 3 * i)));
            }
            (id, files)
        })
        .collect()
}

fn fill(staging: &Staging, files: &Files) {
    for (path, content) in files {
        let mut part = staging
            .file(path, Some(Sha256::of(content)), Some(content.len() as u64))
            .unwrap();
        let have = part.len_bytes() as usize;
        if !part.is_complete() {
            // In small pieces, flushed, so that a kill leaves partial files of every length.
            for chunk in content[have..].chunks(8_192) {
                part.append(chunk).unwrap();
                part.flush().unwrap();
            }
        }
        part.finish().unwrap();
    }
}

/// Works until it is killed, and says so line by line.
fn child(root: &Path) {
    let store = Store::open(root.join("store")).unwrap();
    let models = models();
    let mut random = Random::new(std::process::id().into());
    println!("\nready");
    loop {
        let (name, files) = &models[random.below(models.len())];
        let id = id(name);
        match random.below(6) {
            0..=2 => {
                if let Stage::New(staging) = store.stage(&id).unwrap() {
                    fill(&staging, files);
                    staging.commit(&manifest(name, files)).unwrap();
                }
            }
            3 => {
                let staging = store.stage_again(&id).unwrap();
                fill(&staging, files);
                staging.commit(&manifest(name, files)).unwrap();
            }
            4 => drop(
                store
                    .import_archive(&root.join(format!("{}.axon", id.to_percent())))
                    .unwrap(),
            ),
            _ => drop(store.remove(&id)),
        }
        println!("done");
    }
}

#[test]
fn a_kill_at_any_moment_leaves_the_store_whole() {
    if let Some(root) = env::var_os(CHILD) {
        child(Path::new(&root));
    }
    println!("seed {SEED:#x}");
    let dir = tempfile::tempdir().unwrap();
    prepare_archives(dir.path());
    let mut random = Random::new(SEED);
    let mut seen = BTreeSet::new();
    let mut interrupted = 0;
    for round in 0..ROUNDS {
        kill_one(
            dir.path(),
            random.below(6),
            Duration::from_micros(random.next() % 8_000),
        );
        let store = Store::open(dir.path().join("store")).unwrap();
        interrupted += usize::from(fs::read_dir(store.root().join("tmp")).unwrap().next().is_some());
        seen.insert(check(&store, round));
        if round % 5 == 4 {
            store.gc(Partials::Delete).unwrap();
            assert_eq!(check(&store, round).len(), store.list().unwrap().len());
            assert_no_garbage(&store);
        }
    }
    // Otherwise the kills came at moments that prove nothing.
    assert!(seen.len() > 3, "only {seen:?} were seen");
    assert!(
        interrupted > ROUNDS / 10,
        "only {interrupted} kills hit an installation"
    );
}

fn prepare_archives(root: &Path) {
    for (name, files) in models() {
        let source = root.join("source");
        write_files(&source, &files);
        let path = root.join(format!("{}.axon", id(name).to_percent()));
        archive::pack(&source, &manifest(name, &files), &path, Compression::Zstd).unwrap();
        fs::remove_dir_all(&source).unwrap();
    }
}

/// Kills the child a while after it has done `steps` things.
fn kill_one(root: &Path, steps: usize, after: Duration) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args([
            "a_kill_at_any_moment_leaves_the_store_whole",
            "--exact",
            "--nocapture",
        ])
        .env(CHILD, root)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(lines.any(|line| line == "ready"), "the child did not start");
    assert_eq!(
        lines.by_ref().take(steps).filter(|line| line == "done").count(),
        steps,
        "the child failed"
    );
    let from = Instant::now();
    while from.elapsed() < after {
        spin_loop();
    }
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(status.code().is_none(), "the child ended by itself: {status}");
}

/// Every model that is listed is whole, nothing is half there, and what is missing can be installed.
fn check(store: &Store, round: usize) -> Vec<String> {
    let scanned = scan(&store.models_dir()).unwrap();
    assert!(scanned.broken.is_empty(), "round {round}: {:?}", scanned.broken);
    for installed in &scanned.models {
        let report = installed.verify(&mut |_| {}).unwrap();
        assert!(report.is_intact(), "round {round}: {report:?}");
        let (_, files) = models()
            .into_iter()
            .find(|(name, _)| id(name) == installed.id)
            .unwrap();
        assert_eq!(installed.manifest.spec.format.files.len(), files.len());
        // The lock of the killed process is free.
        assert!(matches!(
            store.try_stage(&installed.id).unwrap(),
            Stage::Installed(_)
        ));
    }
    scanned.models.iter().map(|m| m.id.to_string()).collect()
}

fn assert_no_garbage(store: &Store) {
    assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
    let used: BTreeSet<String> = store
        .list()
        .unwrap()
        .iter()
        .flat_map(|m| {
            m.manifest
                .spec
                .format
                .files
                .iter()
                .map(|file| file.sha256.clone())
        })
        .collect();
    let mut blobs = BTreeSet::new();
    for fan in fs::read_dir(store.root().join("blobs/sha256")).unwrap() {
        for blob in fs::read_dir(fan.unwrap().path()).unwrap() {
            let blob = blob.unwrap();
            let name = blob.file_name().into_string().unwrap();
            assert_eq!(
                Sha256::of(&fs::read(blob.path()).unwrap()).to_string(),
                name,
                "a blob is not what it says"
            );
            blobs.insert(name);
        }
    }
    assert_eq!(blobs, used);
}
