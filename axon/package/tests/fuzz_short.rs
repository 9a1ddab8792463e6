//! A short seeded run of every fuzz target, on mutations of true inputs; `fuzz/` runs the same functions for long.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use axon_package::{
    archive::{self, Compression},
    fuzzing::{fuzz_archive, fuzz_detect, fuzz_manifest},
};
use support::{
    Random, Tar, files, gzip, manifest,
    proto::{external_tensor, graph, message, model},
    write_files, zstd,
};

const SEED: u64 = 0x0a70;
const ROUNDS: usize = 3_000;

/// Changes, removes, repeats or inserts a few bytes.
fn mutated(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len().max(1));
        match random.below(5) {
            _ if bytes.is_empty() => bytes.push(random.next() as u8),
            0 => bytes[at] = random.next() as u8,
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes.truncate(at),
            3 => drop(bytes.splice(at..at, [0xff; 8][..random.below(8)].iter().copied())),
            _ => {
                let piece = bytes[at..bytes.len().min(at + random.below(64))].to_vec();
                bytes.extend(piece);
            }
        }
    }
    bytes
}

fn run(target: fn(&[u8]), seeds: &[Vec<u8>]) {
    println!("seed {SEED:#x}");
    let mut random = Random::new(SEED);
    for round in 0..ROUNDS {
        target(&mutated(&seeds[round % seeds.len()], &mut random));
    }
}

#[test]
fn manifests() {
    let yaml = manifest("local/m@1", &files([("a", b"aaa"), ("b/c", b"")]))
        .to_yaml()
        .unwrap();
    let spoken = "apiVersion: v1\nkind: Model\nmetadata: {name: a, namespace: b, version: 1}\nspec: {framework: {name: x}, format: {type: y, files: &f [{path: p, size: 1, sha256: ''}], execution_files: *f}}\nx: !t [1e9, ~, .nan, 0x1f]\n";
    run(fuzz_manifest, &[yaml.into_bytes(), spoken.into()]);
}

#[test]
fn archives() {
    let listed = files([("a", b"aaa"), ("b/c", &[7; 2000])]);
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path(), &listed);
    let manifest = manifest("local/m@1", &listed);
    let packed = |compression| archive::write(dir.path(), &manifest, Vec::new(), compression).unwrap();
    run(
        fuzz_archive,
        &[packed(Compression::Zstd), packed(Compression::Gzip)],
    );
    // Inside the compression, where its checksum would stop nearly every change.
    let tar = Tar::default()
        .file("manifest.yaml", manifest.to_yaml().unwrap().as_bytes())
        .entry(b"././@LongLink", b'L', "", 2, b"a\0")
        .file("ignored", b"aaa")
        .file("b/c", &[7; 2000])
        .end();
    run(|bytes| fuzz_archive(&zstd(bytes)), std::slice::from_ref(&tar));
    run(|bytes| fuzz_archive(&gzip(bytes)), &[tar]);
}

#[test]
fn formats() {
    let external = message(
        5,
        &external_tensor("w", &[3], &[("location", "w.bin"), ("offset", "4096")]),
    );
    let safetensors = [
        &[34, 0, 0, 0, 0, 0, 0, 0],
        br#"{"w":{"data_offsets":[0,8],"x":1}}"#.as_slice(),
        &[0; 8],
    ]
    .concat();
    let seeds = [
        model(&graph()),
        model(&[graph(), external].concat()),
        safetensors,
        b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
        b"\x18\0\0\0TFL3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
        b"\x80\x04\x95\x01\0\0\0\0\0\0\0N.".to_vec(),
        b"PK\x03\x04PK\x01\x02PK\x05\x06\0\0\0\0\x01\0\x01\0\x04\0\0\0\x04\0\0\0\0\0".to_vec(),
    ];
    run(fuzz_detect, &seeds);
}
