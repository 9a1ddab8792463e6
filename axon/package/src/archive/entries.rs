//! The entries of a tar stream, read block by block.
//!
//! Written here rather than taken from a library because what a package may contain is a small and strict part of
//! what tar libraries accept, and each thing that they accept is one to refuse. Headers are still theirs.

use crate::{
    Error, FileEntry, MANIFEST_NAME, Manifest, Result, Sha256,
    error::At,
    limits::{MANIFEST_BYTES_MAX, PATH_BYTES_MAX},
};
use sha2::Digest as _;
use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

const BLOCK_BYTES: u64 = 512;
/// What tar itself adds: header and padding for each entry and its long name, and the end with its blocking.
const BYTES_PER_ENTRY: u64 = 4 * BLOCK_BYTES + PATH_BYTES_MAX as u64;
const BYTES_END: u64 = 64 << 10;

/// A tar stream, and how much of it may still be read.
pub(super) struct Entries<R> {
    content: R,
    path: PathBuf,
    /// How many more decompressed bytes may be read.
    left_bytes: u64,
}

impl<R: Read> Entries<R> {
    pub(super) fn new(content: R, path: &Path) -> Self {
        // Enough for the manifest; `allow` adds the rest.
        Self {
            content,
            path: path.to_owned(),
            left_bytes: MANIFEST_BYTES_MAX + BYTES_PER_ENTRY,
        }
    }

    pub(super) fn allow(&mut self, manifest: &Manifest) {
        let entries = manifest.spec.format.files.len() as u64;
        self.left_bytes = manifest
            .size_bytes()
            .saturating_add(entries * BYTES_PER_ENTRY + BYTES_END);
    }

    pub(super) fn manifest(&mut self) -> Result<Manifest> {
        let origin = format!("{}: {MANIFEST_NAME}", self.path.display());
        let first = self.next_file()?;
        match first {
            Some((name, size)) if name == MANIFEST_NAME => {
                if size > MANIFEST_BYTES_MAX {
                    return Err(Error::Limit {
                        what: format!("{origin}: length in bytes"),
                        max: MANIFEST_BYTES_MAX,
                    });
                }
                let bytes = self.read_vec(size)?;
                self.skip_padding(size)?;
                Manifest::parse_valid(&bytes, &origin)
            }
            Some((entry, _)) => Err(Error::ArchiveEntry {
                entry,
                reason: format!("the first entry is not {MANIFEST_NAME}"),
            }),
            None => Err(self.broken("it is empty")),
        }
    }

    /// Name and size of the next regular file; none at the end.
    pub(super) fn next_file(&mut self) -> Result<Option<(String, u64)>> {
        let mut long_name = None;
        loop {
            let Some(header) = self.header()? else {
                return match long_name {
                    Some(entry) => Err(Error::ArchiveEntry {
                        entry,
                        reason: "a long name without a file".into(),
                    }),
                    None => self.end().map(|()| None),
                };
            };
            let name = match long_name.take() {
                Some(name) => name,
                None => header_name(&header)?,
            };
            let refuse = |reason: String| {
                Err(Error::ArchiveEntry {
                    entry: name.clone(),
                    reason,
                })
            };
            let size = match header.entry_size() {
                Ok(size) => size,
                Err(e) => return refuse(format!("its size is unreadable: {e}")),
            };
            match header.entry_type() {
                tar::EntryType::Regular => return Ok(Some((name, size))),
                tar::EntryType::GNULongName => long_name = Some(self.long_name(size)?),
                other => {
                    return refuse(format!(
                        "it is {}; only regular files are allowed",
                        kind_name(other)
                    ));
                }
            }
        }
    }

    fn header(&mut self) -> Result<Option<tar::Header>> {
        let mut block = [0; BLOCK_BYTES as usize];
        self.read_exact(&mut block)?;
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let header = tar::Header::from_byte_slice(&block).clone();
        // The checksum field itself counts as spaces.
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(i, &byte)| u32::from(if (148..156).contains(&i) { b' ' } else { byte }))
            .sum();
        match header.cksum() {
            Ok(stated) if stated == sum => Ok(Some(header)),
            _ => Err(self.broken("a header's checksum is wrong")),
        }
    }

    fn long_name(&mut self, size: u64) -> Result<String> {
        if size > PATH_BYTES_MAX as u64 + 1 {
            return Err(Error::Limit {
                what: "length of an archive entry's name in bytes".into(),
                max: PATH_BYTES_MAX as u64,
            });
        }
        let mut bytes = self.read_vec(size)?;
        self.skip_padding(size)?;
        if bytes.last() == Some(&0) {
            bytes.pop();
        }
        text(bytes)
    }

    pub(super) fn content(
        &mut self,
        file: &FileEntry,
        take: &mut impl FnMut(&FileEntry, &mut dyn Read) -> Result<()>,
    ) -> Result<()> {
        let mut content = Content {
            entries: self,
            hasher: sha2::Sha256::new(),
            left_bytes: file.size,
        };
        take(file, &mut content)?;
        io::copy(&mut content, &mut io::sink()).at(Path::new(&file.path))?;
        let actual = Sha256(content.hasher.finalize().into());
        if actual != file.digest()? {
            let (expected, actual) = (file.sha256.clone(), actual.to_string());
            return Err(Error::HashMismatch {
                path: file.path.clone(),
                expected,
                actual,
            });
        }
        self.skip_padding(file.size)
    }

    /// After the first empty block: a second one, then nothing but zeros.
    fn end(&mut self) -> Result<()> {
        let mut block = [0; BLOCK_BYTES as usize];
        loop {
            let got = {
                let mut limited = Limited {
                    content: &mut self.content,
                    left_bytes: &mut self.left_bytes,
                };
                read_up_to(&mut limited, &mut block)
            }
            .map_err(|e| self.unreadable(e))?;
            if got == 0 {
                return Ok(());
            }
            if block[..got].iter().any(|&byte| byte != 0) {
                return Err(self.broken("there is something behind its end"));
            }
        }
    }

    fn skip_padding(&mut self, size: u64) -> Result<()> {
        let padding = (BLOCK_BYTES - size % BLOCK_BYTES) % BLOCK_BYTES;
        self.read_vec(padding).map(drop)
    }

    fn read_vec(&mut self, len: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| self.broken("an entry is too long"))?];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn read_exact(&mut self, bytes: &mut [u8]) -> Result<()> {
        let mut limited = Limited {
            content: &mut self.content,
            left_bytes: &mut self.left_bytes,
        };
        let read = limited.read_exact(bytes);
        read.map_err(|e| self.unreadable(e))
    }

    fn unreadable(&self, e: io::Error) -> Error {
        match e.downcast::<Error>() {
            Ok(inner) => inner,
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => self.broken("it is cut short"),
            Err(e) => self.broken(&e.to_string()),
        }
    }

    fn broken(&self, reason: &str) -> Error {
        Error::Archive {
            path: self.path.clone(),
            reason: reason.into(),
        }
    }
}

/// Stops decompression where the manifest's sizes end.
struct Limited<'a, R> {
    content: &'a mut R,
    left_bytes: &'a mut u64,
}

impl<R: Read> Read for Limited<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        *self.left_bytes = self
            .left_bytes
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::other("it unpacks to more than its manifest lists"))?;
        Ok(read)
    }
}

/// The content of one entry, hashed while it is read.
struct Content<'a, R> {
    entries: &'a mut Entries<R>,
    hasher: sha2::Sha256,
    left_bytes: u64,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer
            .len()
            .min(usize::try_from(self.left_bytes).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let mut limited = Limited {
            content: &mut self.entries.content,
            left_bytes: &mut self.entries.left_bytes,
        };
        let read = limited
            .read(&mut buffer[..most])
            .map_err(|e| self.entries.unreadable(e))?;
        if read == 0 {
            return Err(self.entries.broken("it is cut short").into());
        }
        self.hasher.update(&buffer[..read]);
        self.left_bytes -= read as u64;
        Ok(read)
    }
}

fn header_name(header: &tar::Header) -> Result<String> {
    text(header.path_bytes().into_owned())
}

fn text(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|e| Error::ArchiveEntry {
        entry: e.utf8_error().to_string(),
        reason: "its name is not UTF-8".into(),
    })
}

fn kind_name(kind: tar::EntryType) -> String {
    match kind {
        tar::EntryType::Link => "a hard link".into(),
        tar::EntryType::Symlink => "a symbolic link".into(),
        tar::EntryType::Char | tar::EntryType::Block => "a device".into(),
        tar::EntryType::Fifo => "a fifo".into(),
        tar::EntryType::Directory => "a directory".into(),
        tar::EntryType::XHeader | tar::EntryType::XGlobalHeader => {
            "a pax header (write the archive with `axon`, or tar --format=gnu)".into()
        }
        other => format!("of type {:#04x}", other.as_byte()),
    }
}

pub(super) fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match reader.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}
