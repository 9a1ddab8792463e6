//! A full disk: the error says so, what was installed is untouched, and the install works once there is space.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use axon_package::{ErrorKind, Partials, Sha256, Stage, Store};
use std::{
    path::{Path, PathBuf},
    process::Command,
};
use support::{Files, Random, files, id, manifest, write_files};

/// A small file system in memory, gone with the value.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(path: PathBuf) -> Result<Self, String> {
        std::fs::create_dir(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(&path)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Ok(Self(path)),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(e) => Err(e.to_string()),
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        assert!(Command::new("umount").arg(&self.0).status().unwrap().success());
    }
}

#[test]
fn a_full_disk_is_survived() {
    let dir = tempfile::tempdir().unwrap();
    let tmpfs = match Tmpfs::mount(dir.path().join("small")) {
        Ok(tmpfs) => tmpfs,
        Err(why) => {
            return println!("skipped: a small file system cannot be mounted here (needs root): {why}");
        }
    };
    let store = Store::open(tmpfs.0.join("store")).unwrap();
    let mut random = Random::new(5);
    let small = files([("w", &random.bytes(400_000))]);
    let large = files([("a", &random.bytes(300_000)), ("b", &random.bytes(500_000))]);
    let import = |name: &str, files: &Files| {
        let source = dir.path().join("source");
        let _ = std::fs::remove_dir_all(&source);
        write_files(&source, files);
        store
            .import_dir(&source, &manifest(name, files))
            .map(|installed| installed.id)
    };
    import("hf/small@1", &small).unwrap();

    let error = import("hf/large@1", &large).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
    assert!(
        error.to_string().starts_with("no space left on the device"),
        "{error}"
    );
    assert_whole(&store, "hf/small@1");

    // The archive reader, too.
    let archive = dir.path().join("large.axon");
    let compression = axon_package::archive::Compression::Zstd;
    axon_package::archive::pack(
        &dir.path().join("source"),
        &manifest("hf/large@1", &large),
        &archive,
        compression,
    )
    .unwrap();
    assert_eq!(
        store.import_archive(&archive).unwrap_err().kind(),
        ErrorKind::NoSpace
    );
    let error = axon_package::archive::unpack(&archive, &tmpfs.0.join("unpacked")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert_eq!(
        std::fs::read_dir(&tmpfs.0).unwrap().count(),
        1,
        "nothing is left beside the store"
    );

    // A download that writes on without looking.
    let Stage::New(staging) = store.stage(&id("hf/large@1")).unwrap() else {
        panic!("installed without space")
    };
    let mut part = staging.file("b", Some(Sha256::of(&large["b"])), None).unwrap();
    let written = large["b"][part.len_bytes() as usize..]
        .chunks(10_000)
        .try_for_each(|chunk| part.append(chunk));
    let error = written.and_then(|()| part.finish().map(drop)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    drop(staging);
    assert_whole(&store, "hf/small@1");

    // With the other model gone, it fits.
    store.remove(&id("hf/small")).unwrap();
    store.gc(Partials::Delete).unwrap();
    import("hf/large@1", &large).unwrap();
    assert_whole(&store, "hf/large@1");
}

fn assert_whole(store: &Store, name: &str) {
    let ids: Vec<String> = store.list().unwrap().iter().map(|m| m.id.to_string()).collect();
    assert_eq!(ids, [name]);
    assert!(store.verify(&id(name), &mut |_| {}).unwrap().is_intact());
    assert!(Path::new(&store.root()).join("tmp").is_dir());
}
