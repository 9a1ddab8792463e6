//! Archives: deterministic when written, and hostile ones refused without a trace.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use axon_package::{
    Error, ErrorKind, MANIFEST_NAME, Manifest, Store,
    archive::{self, Compression},
};
use std::{fs, path::Path};
use support::{Files, Random, Tar, files, gzip, manifest, write_files, zstd};

fn model() -> Files {
    let long = format!("{}/weights.bin", "d".repeat(150));
    let mut files = files([
        ("model.onnx", b"graph"),
        ("onnx/empty", b""),
        ("tokenizer.json", b"{}"),
    ]);
    files.insert(long, Random::new(7).bytes(100_000));
    files
}

#[test]
fn packs_and_unpacks() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    write_files(&source, &model());
    let manifest = manifest("local/m@1", &model());
    for compression in [Compression::Zstd, Compression::Gzip] {
        let path = dir.path().join(format!("{compression:?}.axon"));
        let packed = archive::pack(&source, &manifest, &path, compression).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(
            (packed.size_bytes, packed.sha256),
            (bytes.len() as u64, axon_package::Sha256::of(&bytes))
        );
        // Same input, same bytes; the order of the manifest's list does not count.
        let again = archive::write(&source, &manifest, Vec::new(), compression).unwrap();
        assert_eq!(again, bytes);
        assert_eq!(archive::read_manifest(&path).unwrap(), manifest);
        assert_eq!(archive::unpack(&path, &target).unwrap(), manifest);
        for (path, content) in model() {
            assert_eq!(fs::read(target.join(path)).unwrap(), content);
        }
        assert_eq!(Manifest::read(&target.join(MANIFEST_NAME)).unwrap(), manifest);
        assert_eq!(
            archive::unpack(&path, &target).unwrap_err().kind(),
            ErrorKind::Conflict
        );
        fs::remove_dir_all(&target).unwrap();
    }
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        3,
        "the source and two archives"
    );
}

#[test]
fn other_tools_read_it() {
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path(), &model());
    let bytes = archive::write(
        dir.path(),
        &manifest("local/m@1", &model()),
        Vec::new(),
        Compression::Gzip,
    )
    .unwrap();
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(&bytes[..]));
    let entries: Vec<(String, u64, u32)> = tar
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            (
                entry.path().unwrap().display().to_string(),
                header.mtime().unwrap(),
                header.mode().unwrap(),
            )
        })
        .collect();
    let mut names: Vec<&str> = entries.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names.remove(0), MANIFEST_NAME);
    assert_eq!(names, model().keys().map(String::as_str).collect::<Vec<_>>());
    assert!(
        entries
            .iter()
            .all(|&(_, mtime, mode)| mtime == 0 && mode == 0o644)
    );
}

#[test]
fn packing_checks_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    let out = dir.path().join("out.axon");
    let check = |content: Option<&[u8]>, expect: ErrorKind| {
        write_files(&source, &model());
        match content {
            Some(content) => fs::write(source.join("model.onnx"), content).unwrap(),
            None => fs::remove_file(source.join("model.onnx")).unwrap(),
        }
        let packed = archive::pack(&source, &manifest("local/m@1", &model()), &out, Compression::Zstd);
        assert_eq!(packed.unwrap_err().kind(), expect);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "only the source");
    };
    check(None, ErrorKind::NotFound);
    check(Some(b"grap"), ErrorKind::Corrupt);
    check(Some(b"grapH"), ErrorKind::Corrupt);
}

/// A tar whose manifest lists `a` and `b`; `change` adds the entries behind it.
fn tar_of(listed: &Files, entries: impl FnOnce(Tar) -> Tar) -> Vec<u8> {
    let yaml = manifest("local/m@1", listed).to_yaml().unwrap();
    entries(Tar::default().file(MANIFEST_NAME, yaml.as_bytes())).end()
}

/// Unpacks and imports `archive`, expects both to fail with `expect` in the message, and looks for traces.
fn refused(name: &str, archive: &[u8], expect: &str) {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    fs::write(&outside, "untouched").unwrap();
    let inside = dir.path().join("inside");
    fs::create_dir(&inside).unwrap();
    let path = inside.join("a.axon");
    fs::write(&path, archive).unwrap();
    let error = archive::unpack(&path, &inside.join("target")).unwrap_err();
    assert!(
        error.to_string().contains(expect),
        "{name}: expected {expect:?} in {error}"
    );
    assert!(
        !matches!(error.kind(), ErrorKind::Io | ErrorKind::NotFound),
        "{name}: {error:?}"
    );
    let store = Store::open(inside.join("store")).unwrap();
    let error = store.import_archive(&path).unwrap_err();
    assert!(
        error.to_string().contains(expect),
        "{name}: expected {expect:?} in {error}"
    );
    assert!(store.list().unwrap().is_empty(), "{name}");
    assert!(
        fs::read_dir(store.models_dir()).unwrap().next().is_none(),
        "{name}: something in models/"
    );
    store.gc(axon_package::Partials::Delete).unwrap();
    assert_eq!(store.disk_bytes().unwrap(), (0, 0), "{name}");
    let left: Vec<_> = fs::read_dir(&inside)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "{name}: left behind {left:?}");
    assert_eq!(fs::read(&outside).unwrap(), b"untouched", "{name}");
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        2,
        "{name}: something outside"
    );
}

#[test]
fn hostile_entries_are_refused() {
    let listed = files([("a", b"aaa"), ("b", b"bbb")]);
    let check = |name: &str, entries: fn(Tar) -> Tar, expect: &str| {
        let tar = tar_of(&listed, entries);
        refused(name, &zstd(&tar), expect);
        refused(name, &gzip(&tar), expect);
    };
    check(
        "parent",
        |t| t.file("a", b"aaa").file("../outside", b"bbb"),
        "not in the manifest",
    );
    check(
        "inner parent",
        |t| t.file("a/../../outside", b"aaa"),
        "not in the manifest",
    );
    check("dot", |t| t.file("./a", b"aaa"), "not in the manifest");
    check("absolute", |t| t.file("/tmp/a", b"aaa"), "not in the manifest");
    check(
        "symlink",
        |t| t.kind("a", b'2', "../outside").file("b", b"bbb"),
        "a symbolic link",
    );
    check("hard link", |t| t.kind("a", b'1', "../outside"), "a hard link");
    check("char device", |t| t.kind("a", b'3', ""), "a device");
    check("block device", |t| t.kind("a", b'4', ""), "a device");
    check("directory", |t| t.kind("a/", b'5', ""), "a directory");
    check("fifo", |t| t.kind("a", b'6', ""), "a fifo");
    check("sparse", |t| t.kind("a", b'S', ""), "of type 0x53");
    check(
        "long link",
        |t| t.entry(b"././@LongLink", b'K', "", 4, b"abc\0"),
        "of type 0x4b",
    );
    check(
        "pax",
        |t| t.entry(b"PaxHeaders/a", b'x', "", 12, b"12 path=../x"),
        "a pax header",
    );
    check("global pax", |t| t.entry(b"g", b'g', "", 0, b""), "a pax header");
    check(
        "twice",
        |t| t.file("a", b"aaa").file("a", b"aaa"),
        "it is there twice",
    );
    check(
        "second manifest",
        |t| t.file(MANIFEST_NAME, b"x"),
        "not in the manifest",
    );
    check("unlisted", |t| t.file("c", b"ccc"), "not in the manifest");
    check("longer", |t| t.file("a", b"aaaa"), "4 bytes, expected 3");
    check("shorter", |t| t.file("a", b"aa"), "2 bytes, expected 3");
    check("altered", |t| t.file("a", b"aab"), "sha256 is");
    check(
        "missing",
        |t| t.file("a", b"aaa"),
        "`b` is in the manifest but not in the archive",
    );
    check(
        "not UTF-8",
        |t| t.entry(b"\xff\xfe", b'0', "", 0, b""),
        "not UTF-8",
    );
    check(
        "long name",
        |t| t.entry(b"././@LongLink", b'L', "", 1 << 30, b""),
        "length of an archive entry's name",
    );
    check(
        "long parent",
        |t| {
            t.entry(b"././@LongLink", b'L', "", 11, b"../outside\0")
                .file("a", b"aaa")
        },
        "not in the manifest",
    );
    check(
        "name without file",
        |t| t.entry(b"././@LongLink", b'L', "", 2, b"a\0"),
        "a long name without a file",
    );
    check(
        "lying size",
        |t| t.entry(b"a", b'0', "", 1 << 32, b"aaa"),
        "4294967296 bytes, expected 3",
    );
}

#[test]
fn broken_archives_are_refused() {
    let listed = files([("a", b"aaa")]);
    let good = tar_of(&listed, |t| t.file("a", b"aaa"));
    let whole = zstd(&good);
    refused("empty", b"", "neither the zstd nor the gzip magic");
    refused("html", b"<html>404</html>", "neither the zstd nor the gzip magic");
    refused("plain tar", &good, "neither the zstd nor the gzip magic");
    refused("no entries", &zstd(&Tar::default().end()), "it is empty");
    refused("no end", &zstd(&good[..good.len() - 1024]), "it is cut short");
    refused(
        "cut in content",
        &zstd(&good[..good.len() - 1024 - 510]),
        "it is cut short",
    );
    refused("cut stream", &whole[..whole.len() - 9], "not a readable package");
    refused("flipped bit", &flipped(&whole, whole.len() / 2), "");
    refused(
        "manifest second",
        &zstd(&Tar::default().file("a", b"aaa").end()),
        "the first entry is not manifest.yaml",
    );
    refused(
        "bad manifest",
        &zstd(&Tar::default().file(MANIFEST_NAME, b"x: [").end()),
        "is not a manifest",
    );
    let huge = Tar::default().entry(MANIFEST_NAME.as_bytes(), b'0', "", 1 << 32, b"x");
    refused(
        "huge manifest",
        &zstd(&huge.end()),
        "exceeds the limit of 4194304",
    );
    let mut bad_sum = good.clone();
    bad_sum[0] ^= 1;
    refused("header checksum", &zstd(&bad_sum), "checksum");
    let mut behind = good.clone();
    behind.extend(b"more");
    refused("behind the end", &zstd(&behind), "behind its end");
}

#[test]
fn bombs_are_refused_early() {
    // Honest: the manifest lists what is in it, which is 300 MB of zeros.
    let mut honest = manifest("local/m@1", &files([("a", b"")]));
    honest.spec.format.files[0].size = 300 << 20;
    let yaml = honest.to_yaml().unwrap();
    let tar = Tar::default().file(MANIFEST_NAME, yaml.as_bytes());
    refused(
        "honest bomb",
        &zstd(&tar.entry(b"a", b'0', "", 300 << 20, &vec![0; 1 << 20]).end()),
        "ratio",
    );
    // Dishonest: zeros behind a small package, after its end and inside a name.
    let mut tail = tar_of(&files([("a", b"aaa")]), |t| t.file("a", b"aaa"));
    tail.resize(64 << 20, 0);
    refused(
        "zeros behind the end",
        &zstd(&tail),
        "more than its manifest lists",
    );
    // A window that would take 2 GiB of memory: frame header with window descriptor, no content.
    let window = [
        &[0x28, 0xb5, 0x2f, 0xfd, 0x00, (31 - 10) << 3][..],
        &[0x01, 0x00, 0x00],
    ]
    .concat();
    refused("huge window", &window, "not a readable package");
}

/// Whatever one changed byte does, the result is an error or exactly the model.
#[test]
fn one_changed_byte_never_installs_something_else() {
    let listed = files([("a", b"aaa"), ("dir/b", b"bbb")]);
    let tar = tar_of(&listed, |t| t.file("a", b"aaa").file("dir/b", b"bbb"));
    let dir = tempfile::tempdir().unwrap();
    let (path, target) = (dir.path().join("a.axon"), dir.path().join("target"));
    let seed = 0x5eed;
    println!("seed {seed:#x}");
    let mut random = Random::new(seed);
    for _ in 0..150 {
        // Compressed weakly, so that the change reaches the tar and not only the checksum of the compression.
        let changed = flipped(&tar, random.below(tar.len()));
        fs::write(&path, zstd(&changed)).unwrap();
        if archive::unpack(&path, &target).is_ok() {
            assert_intact(&target, &listed);
            fs::remove_dir_all(&target).unwrap();
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

fn assert_intact(target: &Path, listed: &Files) {
    for (path, content) in listed {
        assert_eq!(&fs::read(target.join(path)).unwrap(), content);
    }
    let unpacked = axon_package::list_files(target).unwrap();
    assert_eq!(unpacked.len(), listed.len());
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 0x10;
    bytes
}

#[test]
fn errors_keep_their_kind_through_io() {
    let error = Error::io(
        Path::new("x"),
        Error::Limit {
            what: "x".into(),
            max: 1,
        }
        .into(),
    );
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}
