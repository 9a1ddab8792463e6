//! The store: what goes in comes out, shared once, resumable, and damage is found.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use axon_package::{
    Error, ErrorKind, FileState, Installed, Manifest, ModelId, Partials, Sha256, Stage, Staging, Store, scan,
};
use std::{
    fs,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    sync::mpsc,
    thread,
};
use support::{Files, Random, files, id, manifest, write_files};

struct Bench {
    dir: tempfile::TempDir,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        Self { dir, store }
    }

    fn install(&self, id: &str, files: &Files) -> Installed {
        let source = self.dir.path().join("source");
        let _ = fs::remove_dir_all(&source);
        write_files(&source, files);
        self.store.import_dir(&source, &manifest(id, files)).unwrap()
    }

    fn ids(&self) -> Vec<String> {
        self.store
            .list()
            .unwrap()
            .iter()
            .map(|m| m.id.to_string())
            .collect()
    }

    fn stage(&self, id: &str) -> Staging {
        match self.store.stage(&support::id(id)).unwrap() {
            Stage::New(staging) => staging,
            Stage::Installed(_) => panic!("{id} is installed"),
        }
    }

    fn damaged(&self, id: &str) -> Vec<(String, FileState)> {
        let report = self.store.verify(&support::id(id), &mut |_| {}).unwrap();
        report
            .damaged()
            .map(|file| (file.path.clone(), file.state.clone()))
            .collect()
    }
}

fn model() -> Files {
    files([
        ("model.onnx", b"graph"),
        ("onnx/weights.bin", &[7; 3000]),
        ("empty", b""),
    ])
}

#[test]
fn installs_lists_and_removes() {
    let bench = Bench::new();
    let installed = bench.install("hf/Org/bert@1.0", &model());
    assert_eq!(installed.dir, bench.store.models_dir().join("hf/Org/bert/1.0"));
    for (path, content) in model() {
        let path = installed.file_path(&path);
        assert_eq!(fs::read(&path).unwrap(), content);
        let meta = fs::metadata(&path).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o444);
        let blob = fs::metadata(bench.store.blob_path(&Sha256::of(&content))).unwrap();
        assert_eq!(meta.ino(), blob.ino(), "one copy on disk");
    }
    assert_eq!(
        installed.manifest,
        Manifest::read(&installed.manifest_path()).unwrap()
    );
    assert_eq!(bench.ids(), ["hf/Org/bert@1.0"]);
    // Again is no work, and the source is not looked at.
    let again = bench
        .store
        .import_dir(Path::new("/nowhere"), &installed.manifest)
        .unwrap();
    assert_eq!(again.id, installed.id);
    assert_eq!(
        bench.store.remove(&id("hf/Org/bert")).unwrap(),
        [id("hf/Org/bert@1.0")]
    );
    assert_eq!(bench.ids(), [""; 0]);
    assert_eq!(bench.store.disk_bytes().unwrap(), (0, 0));
    assert_eq!(
        fs::read_dir(bench.store.models_dir()).unwrap().count(),
        0,
        "no empty directories"
    );
}

#[test]
fn blobs_are_shared_and_kept_while_used() {
    let bench = Bench::new();
    bench.install("hf/a@1", &model());
    let mut second = model();
    second.insert("extra".into(), vec![1; 100]);
    bench.install("hf/a@2", &second);
    bench.install("local/copy@1", &files([("w", &[7; 3000]), ("same", &[7; 3000])]));
    assert_eq!(bench.store.disk_bytes().unwrap(), (5 + 3000 + 100, 0));
    bench.store.remove(&id("hf/a@2")).unwrap();
    assert_eq!(bench.store.disk_bytes().unwrap(), (5 + 3000, 0));
    bench.store.remove(&id("hf/a")).unwrap();
    assert_eq!(bench.store.disk_bytes().unwrap(), (3000, 0));
    assert_eq!(bench.damaged("local/copy@1"), []);
    let error = bench.store.remove(&id("hf/a")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn resolves_names() {
    let bench = Bench::new();
    for id in [
        "hf/Org/Bert@1.9.0",
        "hf/Org/Bert@1.10.0",
        "hf/Org/Bert@1.10.0-rc.1",
        "hf/gpt2@main",
        "hf/gpt2@abc",
        "x/m@1",
        "x/M@2",
    ] {
        bench.install(id, &files([("f", id.as_bytes())]));
    }
    let check = |text: &str, expect: &str| {
        let found = bench
            .store
            .resolve(&id(text))
            .map(|m| m.id.to_string())
            .unwrap_or_else(|e| e.to_string());
        assert_eq!(found, expect, "{text}");
    };
    check("hf/Org/Bert", "hf/Org/Bert@1.10.0");
    check("hf/Org/Bert@latest", "hf/Org/Bert@1.10.0");
    check("hf/org/bert", "hf/Org/Bert@1.10.0");
    check("hf/org/bert@1.9.0", "hf/Org/Bert@1.9.0");
    check("hf/gpt2", "hf/gpt2@abc");
    check("x/m", "x/m@1");
    check(
        "hf/Org/Bert@2",
        "model hf/Org/Bert@2 is not installed; did you mean hf/Org/Bert@1.9.0 or hf/Org/Bert@1.10.0 or hf/Org/Bert@1.10.0-rc.1?",
    );
    check(
        "hf/Org/Brt",
        "model hf/Org/Brt is not installed; did you mean hf/Org/Bert?",
    );
    check("hf/whisper", "model hf/whisper is not installed");
    assert_eq!(bench.store.versions(&id("hf/gpt2")).unwrap().len(), 2);
}

#[test]
fn nested_names_do_not_collide() {
    let bench = Bench::new();
    bench.install(
        "hf/a@b",
        &files([("c/manifest.yaml", b"apiVersion: v1"), ("f", b"")]),
    );
    let conflict = |id: &str| {
        let error = bench.store.stage(&support::id(id)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    };
    // hf/a/b@c would lie inside hf/a@b …
    assert!(bench.store.get(&id("hf/a/b@c")).unwrap().is_none());
    conflict("hf/a/b@c");
    // … and hf/x@y around hf/x/y@z.
    bench.install("hf/x/y@z", &files([("f", b"")]));
    conflict("hf/x@y");
    bench.install("hf/x@z", &files([("f", b"")]));
    assert_eq!(bench.ids(), ["hf/a@b", "hf/x@z", "hf/x/y@z"]);
    let scanned = scan(&bench.store.models_dir()).unwrap();
    assert!(scanned.broken.is_empty());
}

#[test]
fn broken_models_are_named_and_do_no_harm() {
    let bench = Bench::new();
    let good = bench.install("hf/a@1", &model());
    let bad = bench.install("hf/b@1", &model());
    fs::write(bad.manifest_path(), "nonsense").unwrap();
    let scanned = scan(&bench.store.models_dir()).unwrap();
    assert_eq!((scanned.models[0].id.clone(), scanned.models.len()), (good.id, 1));
    assert_eq!(scanned.broken[0].0, bad.dir);
    assert_eq!(bench.store.gc(Partials::Delete).unwrap().blobs, 0);
    assert!(bench.store.get(&bad.id).is_err());
    assert_eq!(scan(Path::new("/nowhere")).unwrap().models.len(), 0);
    // Installing it again repairs it.
    let staging = bench.store.stage_again(&bad.id).unwrap();
    for (path, content) in model() {
        let part = staging.file(&path, Some(Sha256::of(&content)), None).unwrap();
        assert!(part.is_complete(), "{path} comes from the store");
        part.finish().unwrap();
    }
    staging.commit(&bad.manifest).unwrap();
    assert_eq!(bench.ids(), ["hf/a@1", "hf/b@1"]);
}

#[test]
fn verify_names_what_is_damaged() {
    let bench = Bench::new();
    let installed = bench.install("hf/a@1", &model());
    let (mut last, mut ticks) = (0, 0);
    let mut progress = |p: axon_package::VerifyProgress<'_>| {
        assert!(p.done_bytes >= last && p.done_bytes <= p.total_bytes);
        (last, ticks) = (p.done_bytes, ticks + 1);
    };
    let report = bench.store.verify(&installed.id, &mut progress).unwrap();
    assert!(report.is_intact() && report.hint().is_none() && ticks > 0);
    assert_eq!(last, 3005);

    let weights = installed.file_path("onnx/weights.bin");
    flip(&weights, 1234);
    let altered = FileState::Altered {
        actual: Sha256::of(&fs::read(&weights).unwrap()).to_string(),
    };
    assert_eq!(bench.damaged("hf/a@1"), [("onnx/weights.bin".into(), altered)]);
    fs::remove_file(installed.file_path("empty")).unwrap();
    writable(&installed.file_path("model.onnx"));
    fs::write(installed.file_path("model.onnx"), "grap").unwrap();
    fs::write(installed.file_path("onnx/virus"), "x").unwrap();
    let report = bench.store.verify(&id("hf/a"), &mut |_| {}).unwrap();
    let states: Vec<_> = report.files.iter().map(|f| (f.path.as_str(), &f.state)).collect();
    assert_eq!(states[0], ("empty", &FileState::Missing));
    assert_eq!(states[1], ("model.onnx", &FileState::Resized { actual: 4 }));
    assert_eq!(states[3], ("onnx/virus", &FileState::Unlisted));
    assert!(report.hint().unwrap().contains("axon install --force hf/a@1"));

    // The hint works: damaged blobs are not trusted, the others are not fetched.
    let staging = bench.store.stage_again(&installed.id).unwrap();
    for (path, content) in model() {
        let mut part = staging
            .file(&path, Some(Sha256::of(&content)), Some(content.len() as u64))
            .unwrap();
        assert_eq!(part.is_complete(), path == "empty", "{path}");
        part.append(&content).unwrap();
        part.finish().unwrap();
    }
    staging.commit(&installed.manifest).unwrap();
    assert_eq!(bench.damaged("hf/a@1"), []);
}

/// A blob that was damaged behind the store's back is noticed by its length, and replaced.
#[test]
fn a_blob_of_the_wrong_length_is_not_used() {
    let bench = Bench::new();
    let content = files([("w", b"content")]);
    let installed = bench.install("hf/a@1", &content);
    let path = installed.file_path("w");
    writable(&path);
    fs::write(&path, "con").unwrap();
    bench.install("hf/b@1", &content);
    assert_eq!(bench.damaged("hf/b@1"), []);
    assert_eq!(
        bench.damaged("hf/a@1"),
        [("w".into(), FileState::Resized { actual: 3 })]
    );
    // A right blob and a wrong expectation is the expectation's fault.
    let staging = bench.stage("hf/c@1");
    let part = staging.file("w", Some(Sha256::of(b"content")), Some(8)).unwrap();
    assert!(matches!(
        part.finish().unwrap_err(),
        Error::SizeMismatch {
            expected: 8,
            actual: 7,
            ..
        }
    ));
    assert_eq!(bench.damaged("hf/b@1"), []);
}

#[test]
fn downloads_resume() {
    let bench = Bench::new();
    let content = Random::new(11).bytes(100_000);
    let files = files([("w.bin", &content)]);
    let (sha256, size) = (Sha256::of(&content), content.len() as u64);
    let staging = bench.stage("hf/a@1");
    let mut part = staging.file("w.bin", Some(sha256), Some(size)).unwrap();
    assert_eq!((part.len_bytes(), part.is_complete()), (0, false));
    part.write_all(&content[..60_000]).unwrap();
    drop(part);
    drop(staging);
    assert_eq!(bench.store.disk_bytes().unwrap(), (0, 60_000));

    // Too short is no reason to begin again.
    let staging = bench.stage("hf/a@1");
    let part = staging.file("w.bin", Some(sha256), Some(size)).unwrap();
    assert_eq!(part.len_bytes(), 60_000);
    let error = part.finish().unwrap_err();
    assert!(
        matches!(
            error,
            Error::SizeMismatch {
                expected: 100_000,
                actual: 60_000,
                ..
            }
        ),
        "{error}"
    );

    // Another process that downloads the same content meanwhile gets a file of its own.
    let mut part = staging.file("w.bin", Some(sha256), Some(size)).unwrap();
    let other_staging = bench.stage("hf/b@1");
    let mut other = other_staging.file("w.bin", Some(sha256), Some(size)).unwrap();
    assert_eq!((part.len_bytes(), other.len_bytes()), (60_000, 0));
    part.append(&content[60_000..]).unwrap();
    assert!(part.is_complete());
    let entry = part.finish().unwrap();
    assert_eq!(entry, manifest("hf/a@1", &files).spec.format.files[0]);
    other.append(&content).unwrap();
    other.finish().unwrap();
    staging.commit(&manifest("hf/a@1", &files)).unwrap();
    other_staging.commit(&manifest("hf/b@1", &files)).unwrap();
    assert_eq!(bench.store.disk_bytes().unwrap(), (size, 0));

    // What the store has is not downloaded.
    let part = bench
        .stage("hf/c@1")
        .file("w.bin", Some(sha256), Some(size))
        .unwrap();
    assert!(part.is_complete());
}

#[test]
fn wrong_bytes_do_not_enter() {
    let bench = Bench::new();
    let staging = bench.stage("hf/a@1");
    let (sha256, size) = (Sha256::of(b"right"), 5);
    let mut part = staging.file("f", Some(sha256), Some(size)).unwrap();
    let error = part.append(b"righter").unwrap_err();
    assert!(
        matches!(
            error,
            Error::SizeMismatch {
                expected: 5,
                actual: 7,
                ..
            }
        ),
        "{error}"
    );
    let error = Error::io(Path::new("f"), part.write_all(b"righter").unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    part.append(b"wrong").unwrap();
    let error = part.finish().unwrap_err();
    assert!(
        matches!(&error, Error::HashMismatch { path, .. } if path == "f"),
        "{error}"
    );
    // The wrong bytes are gone; the next try begins at zero.
    let mut part = staging.file("f", Some(sha256), Some(size)).unwrap();
    assert_eq!(part.len_bytes(), 0);
    part.append(b"wr").unwrap();
    part.restart().unwrap();
    part.append(b"right").unwrap();
    part.finish().unwrap();
    for bad in ["../f", "/f", "manifest.yaml", ""] {
        assert_eq!(
            staging.file(bad, None, None).unwrap_err().kind(),
            ErrorKind::Invalid
        );
    }
    assert_eq!(bench.store.disk_bytes().unwrap(), (5, 0));
}

#[test]
fn content_without_a_hash_resumes_by_key() {
    let bench = Bench::new();
    let staging = bench.stage("hf/a@1");
    let open = |key: &str| staging.file_keyed("f", key, None).unwrap();
    open("https://hub/f etag-1").append(b"hel").unwrap();
    assert_eq!(open("https://hub/f etag-2").len_bytes(), 0);
    let mut part = open("https://hub/f etag-1");
    assert_eq!((part.len_bytes(), part.is_complete()), (3, false));
    part.append(b"lo").unwrap();
    assert_eq!(part.finish().unwrap().sha256, Sha256::of(b"hello").to_string());
    assert_eq!(staging.files()[0].size, 5);
    // Without hash and key nothing is found again.
    staging.file("g", None, None).unwrap().append(b"x").unwrap();
    assert_eq!(staging.file("g", None, None).unwrap().len_bytes(), 0);
}

#[test]
fn commit_takes_exactly_what_arrived() {
    let bench = Bench::new();
    let listed = files([("a", b"aaa"), ("b", b"bbb")]);
    let staging = bench.stage("hf/a@1");
    let add = |path: &str, content: &[u8]| {
        let mut part = staging.file(path, None, None).unwrap();
        part.append(content).unwrap();
        part.finish().unwrap();
    };
    let check = |manifest: &Manifest, expect: &str| {
        let error = staging.commit(manifest).unwrap_err().to_string();
        assert!(error.contains(expect), "expected {expect:?} in {error}");
    };
    check(&manifest("hf/b@1", &listed), "the manifest is of hf/b@1");
    add("a", b"aaa");
    check(
        &manifest("hf/a@1", &listed),
        "`b` is in the manifest but did not arrive",
    );
    add("b", b"bbX");
    check(&manifest("hf/a@1", &listed), "b: sha256 is");
    add("b", b"bbbb");
    check(&manifest("hf/a@1", &listed), "b: 4 bytes, expected 3");
    add("b", b"bbb");
    add("c", b"");
    check(
        &manifest("hf/a@1", &listed),
        "`c` arrived but is not in the manifest",
    );
    check(
        &Manifest::new(&id("hf/a@1"), "onnx", "onnx"),
        "spec.format.files: is empty",
    );
    assert_eq!(bench.ids(), [""; 0]);
    let mut whole = listed.clone();
    whole.insert("c".into(), vec![]);
    staging.commit(&manifest("hf/a@1", &whole)).unwrap();
    assert_eq!(bench.ids(), ["hf/a@1"]);
    let error = bench.store.stage(&id("hf/a")).unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Invalid,
        "an id without a version: {error}"
    );
}

#[test]
fn the_second_install_waits_and_finds_it_done() {
    let bench = Bench::new();
    let first = bench.stage("hf/a@1");
    let error = bench.store.try_stage(&id("hf/a@1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    let (tell, told) = mpsc::channel();
    let store = bench.store.clone();
    let second = thread::spawn(move || {
        tell.send(()).unwrap();
        store.stage(&id("hf/a@1")).unwrap()
    });
    told.recv().unwrap();
    // Other models are not held up, but what looks unused is not collected meanwhile.
    bench.install("hf/b@1", &model());
    assert_eq!(
        bench.store.gc(Partials::Delete).unwrap_err().kind(),
        ErrorKind::Busy
    );
    let mut part = first.file("f", None, None).unwrap();
    part.append(b"x").unwrap();
    part.finish().unwrap();
    first.commit(&manifest("hf/a@1", &files([("f", b"x")]))).unwrap();
    assert!(!second.is_finished());
    drop(first);
    assert!(matches!(second.join().unwrap(), Stage::Installed(installed) if installed.id == id("hf/a@1")));
}

#[test]
fn many_threads_fill_one_model_and_many_models_at_once() {
    let bench = Bench::new();
    let mut random = Random::new(21);
    let contents: Files = (0..8)
        .map(|i| (format!("part-{i}"), random.bytes(200_000 + i)))
        .collect();
    let install = |id: &str| {
        let staging = bench.stage(id);
        thread::scope(|scope| {
            for (path, content) in &contents {
                let staging = staging.clone();
                scope.spawn(move || {
                    let mut part = staging.file(path, Some(Sha256::of(content)), None).unwrap();
                    if !part.is_complete() {
                        part.restart().unwrap();
                        content
                            .chunks(7_000)
                            .for_each(|chunk| part.append(chunk).unwrap());
                    }
                    part.finish().unwrap();
                });
            }
        });
        staging.commit(&manifest(id, &contents)).unwrap();
    };
    thread::scope(|scope| {
        for id in ["hf/a@1", "hf/a@2", "hf/b@1", "hf/c@1"] {
            scope.spawn(move || install(id));
        }
    });
    for id in ["hf/a@1", "hf/a@2", "hf/b@1", "hf/c@1"] {
        assert_eq!(bench.damaged(id), []);
    }
    let collected = bench.store.gc(Partials::Delete).unwrap();
    assert_eq!(collected.blobs, 0);
    let bytes: usize = contents.values().map(Vec::len).sum();
    assert_eq!(bench.store.disk_bytes().unwrap(), (bytes as u64, 0));
}

#[test]
fn gc_collects_leftovers() {
    let bench = Bench::new();
    bench.install("hf/a@1", &model());
    let staging = bench.stage("hf/b@1");
    staging
        .file("x", Some(Sha256::of(b"yes")), None)
        .unwrap()
        .append(b"ye")
        .unwrap();
    let mut part = staging.file("y", None, None).unwrap();
    part.append(b"unused").unwrap();
    part.finish().unwrap();
    staging
        .file("z", None, None)
        .unwrap()
        .append(b"nameless")
        .unwrap();
    drop(staging);
    fs::create_dir_all(bench.store.root().join("tmp/dead.model/onnx")).unwrap();
    let collected = bench.store.gc(Partials::Keep).unwrap();
    assert_eq!(
        (collected.blobs, collected.leftovers, collected.bytes),
        (1, 2, 6 + 8)
    );
    assert_eq!(bench.store.disk_bytes().unwrap(), (3005, 2));
    assert_eq!(bench.store.gc(Partials::Delete).unwrap().bytes, 2);
    assert_eq!(bench.damaged("hf/a@1"), []);
}

#[test]
fn a_directory_becomes_a_list_of_files() {
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path(), &model());
    fs::write(dir.path().join("manifest.yaml"), "old").unwrap();
    std::os::unix::fs::symlink("model.onnx", dir.path().join("link.onnx")).unwrap();
    let mut expect = model();
    expect.insert("link.onnx".into(), b"graph".to_vec());
    let listed = axon_package::list_files(dir.path()).unwrap();
    assert_eq!(listed, manifest("a/b@1", &expect).spec.format.files);
    std::os::unix::fs::symlink("/dev/null", dir.path().join("device")).unwrap();
    let error = axon_package::list_files(dir.path()).unwrap_err();
    assert!(
        error.to_string().contains("neither a file nor a directory"),
        "{error}"
    );
}

#[test]
fn archives_go_in_and_out() {
    let bench = Bench::new();
    let installed = bench.install("hf/a@1", &model());
    let path = bench.dir.path().join("a.axon");
    let compression = axon_package::archive::Compression::Zstd;
    axon_package::archive::pack(&installed.dir, &installed.manifest, &path, compression).unwrap();
    let other = Store::open(bench.dir.path().join("other")).unwrap();
    let imported = other.import_archive(&path).unwrap();
    assert_eq!(
        (imported.id, imported.manifest),
        (installed.id, installed.manifest)
    );
    assert!(
        other
            .verify(&ModelId::parse("hf/a").unwrap(), &mut |_| {})
            .unwrap()
            .is_intact()
    );
}

fn writable(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}

fn flip(path: &Path, at: u64) {
    writable(path);
    let mut file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte[0] ^ 1]).unwrap();
}
