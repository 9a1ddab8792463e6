//! Entry points of the fuzz targets in `fuzz/`. The test `tests/fuzz_short.rs` calls the same functions with a short
//! seeded run. Each must return, whatever the bytes are, and what it asserts must hold.

use crate::{Manifest, archive, detect};
use std::{io::Cursor, path::Path};

/// A manifest: what is read and is valid can be written, and reads back the same.
pub fn fuzz_manifest(bytes: &[u8]) {
    let Ok(manifest) = Manifest::parse(bytes, "fuzz") else {
        return;
    };
    if !manifest.validate().0.is_empty() {
        assert!(manifest.to_yaml().is_err(), "an invalid manifest was written");
        return;
    }
    // The one reason not to write a valid manifest is its length.
    let Ok(yaml) = manifest.to_yaml() else { return };
    match Manifest::parse_valid(yaml.as_bytes(), "rewritten") {
        Ok(again) => assert_eq!(
            again.to_yaml().ok(),
            Some(yaml),
            "it reads back as another manifest"
        ),
        Err(e) => panic!("what was written does not read: {e}\n{yaml}"),
    }
}

/// An archive: every file that is handed out is listed, and is read to its listed length.
pub fn fuzz_archive(bytes: &[u8]) {
    let source = Cursor::new(bytes.to_vec());
    let Ok(mut reader) = archive::Reader::new(source, bytes.len() as u64, Path::new("fuzz")) else {
        return;
    };
    let listed = reader.manifest().clone();
    // The error, if any, is as good an end as any.
    let _ = reader.for_each_file(|file, content| {
        assert_eq!(listed.file(&file.path), Some(file));
        let copied = std::io::copy(content, &mut std::io::sink());
        assert!(copied.is_err() || copied.is_ok_and(|bytes| bytes == file.size));
        Ok(())
    });
}

/// Format detection, and the walk for external data.
pub fn fuzz_detect(bytes: &[u8]) {
    let path = Path::new("fuzz");
    let detection = detect::detect_reader(&mut Cursor::new(bytes), bytes.len() as u64, path);
    let detection = detection.expect("reading from memory does not fail");
    assert!(!detection.evidence.is_empty());
    // Damaged graphs are errors; that is all right.
    let _ = detect::onnx::read_from(Cursor::new(bytes), bytes.len() as u64, path);
}
