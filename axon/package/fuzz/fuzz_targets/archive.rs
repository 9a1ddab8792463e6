#![no_main]

use axon_package::fuzzing::fuzz_archive;

/// What zstd and gzip files begin with.
const MAGICS: [&[u8]; 2] = [&[0x28, 0xb5, 0x2f, 0xfd], &[0x1f, 0x8b]];

// What is not compressed is taken for the archive inside: there, no checksum stops nearly every change.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if MAGICS.iter().any(|magic| bytes.starts_with(magic)) {
        return fuzz_archive(bytes);
    }
    let compressed = zstd::encode_all(bytes, 1).expect("compressing in memory does not fail");
    fuzz_archive(&compressed);
});
