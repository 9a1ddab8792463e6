//! Writing archives.

use super::Compression;
use crate::{
    Error, FileEntry, MANIFEST_NAME, Manifest, Result, Sha256,
    error::At,
    limits::BUFFER_BYTES,
    store::{parent, sync_dir},
};
use sha2::Digest as _;
use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::Path,
};

/// zstd's own default: on weights, higher levels cost much and save little.
const ZSTD_LEVEL: i32 = 3;

/// An archive that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed {
    /// SHA-256 of the archive.
    pub sha256: Sha256,
    /// Its length, bytes.
    pub size_bytes: u64,
}

/// Writes the files of `manifest` from `dir` to the archive `target`, which appears when it is whole.
///
/// # Errors
/// When a file is missing or is not the one that the manifest lists; when writing fails.
pub fn pack(dir: &Path, manifest: &Manifest, target: &Path, compression: Compression) -> Result<Packed> {
    let directory = parent(target);
    let temporary = directory.join(format!(".{}.axon.tmp", crate::unique()));
    let written = pack_to(dir, manifest, &temporary, compression).and_then(|packed| {
        fs::rename(&temporary, target).at(target)?;
        sync_dir(directory)?;
        Ok(packed)
    });
    if written.is_err() {
        // Best effort: the error that counts is the one that is returned.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn pack_to(dir: &Path, manifest: &Manifest, temporary: &Path, compression: Compression) -> Result<Packed> {
    let file = File::create_new(temporary).at(temporary)?;
    let out = Hashing {
        out: BufWriter::with_capacity(BUFFER_BYTES, file),
        hasher: sha2::Sha256::new(),
        size_bytes: 0,
    };
    let mut out = write(dir, manifest, out, compression)?;
    out.flush().at(temporary)?;
    out.out.get_ref().sync_all().at(temporary)?;
    Ok(Packed {
        sha256: Sha256(out.hasher.finalize().into()),
        size_bytes: out.size_bytes,
    })
}

/// Writes the files of `manifest` from `dir` as an archive into `out`, and returns it.
///
/// # Errors
/// Those of [`pack`].
pub fn write<W: Write>(dir: &Path, manifest: &Manifest, out: W, compression: Compression) -> Result<W> {
    match compression {
        Compression::Zstd => {
            let mut encoder = zstd::Encoder::new(out, ZSTD_LEVEL).at(dir)?;
            encoder.include_checksum(true).at(dir)?;
            write_tar(dir, manifest, encoder)?.finish().at(dir)
        }
        Compression::Gzip => {
            // Its header would carry the time; `GzBuilder` leaves it zero.
            let encoder = flate2::GzBuilder::new().write(out, flate2::Compression::default());
            write_tar(dir, manifest, encoder)?.finish().at(dir)
        }
    }
}

fn write_tar<W: Write>(dir: &Path, manifest: &Manifest, out: W) -> Result<W> {
    let mut tar = tar::Builder::new(out);
    let yaml = manifest.to_yaml()?;
    append(&mut tar, MANIFEST_NAME, yaml.len() as u64, yaml.as_bytes()).at(dir)?;
    let mut files: Vec<&FileEntry> = manifest.spec.format.files.iter().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    for file in files {
        append_file(&mut tar, dir, file)?;
    }
    tar.into_inner().at(dir)
}

fn append_file<W: Write>(tar: &mut tar::Builder<W>, dir: &Path, file: &FileEntry) -> Result<()> {
    let path = dir.join(&file.path);
    let source = File::open(&path).at(&path)?;
    let actual = source.metadata().at(&path)?.len();
    if actual != file.size {
        return Err(Error::SizeMismatch {
            path: file.path.clone(),
            expected: file.size,
            actual,
        });
    }
    let source = BufReader::with_capacity(BUFFER_BYTES, source);
    let mut source = Checked {
        source,
        hasher: sha2::Sha256::new(),
        left_bytes: file.size,
    };
    append(tar, &file.path, file.size, &mut source).at(&path)?;
    let actual = Sha256(source.hasher.finalize().into());
    if actual != file.digest()? || source.left_bytes > 0 {
        let expected = file.sha256.clone();
        return Err(Error::HashMismatch {
            path: file.path.clone(),
            expected,
            actual: actual.to_string(),
        });
    }
    Ok(())
}

fn append<W: Write>(tar: &mut tar::Builder<W>, name: &str, size: u64, content: impl Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    tar.append_data(&mut header, name, content)
}

/// Hashes and counts what goes by.
struct Hashing<W> {
    out: W,
    hasher: sha2::Sha256,
    size_bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size_bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads exactly as many bytes as the header says, also when the file grows or shrinks meanwhile, and hashes them.
struct Checked<R> {
    source: R,
    hasher: sha2::Sha256,
    left_bytes: u64,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer
            .len()
            .min(usize::try_from(self.left_bytes).unwrap_or(usize::MAX));
        let read = self.source.read(&mut buffer[..most])?;
        if read == 0 && most > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file became shorter while it was packed",
            ));
        }
        self.hasher.update(&buffer[..read]);
        self.left_bytes -= read as u64;
        Ok(read)
    }
}
