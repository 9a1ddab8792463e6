//! Reading archives that strangers made.

use crate::{
    Error, FileEntry, MANIFEST_NAME, Manifest, Result, Sha256,
    error::At,
    limits::{
        ARCHIVE_RATIO_FLOOR_BYTES, ARCHIVE_RATIO_MAX, BUFFER_BYTES, MANIFEST_BYTES_MAX, PATH_BYTES_MAX,
        ZSTD_WINDOW_LOG_MAX,
    },
    store::{parent, sync_dir},
};
use sha2::Digest as _;
use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, BufReader, Read, SeekFrom},
    path::{Path, PathBuf},
};

const BLOCK_BYTES: u64 = 512;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// What tar itself adds: header and padding for each entry and its long name, and the end with its blocking.
const TAR_BYTES_PER_ENTRY: u64 = 4 * BLOCK_BYTES + PATH_BYTES_MAX as u64;
const TAR_BYTES_END: u64 = 64 << 10;

/// An archive whose manifest has been read and validated.
pub struct Reader {
    path: PathBuf,
    tar: Tar<Box<dyn Read + Send>>,
    manifest: Manifest,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Reads only the manifest of an archive.
///
/// # Errors
/// Those of [`Reader::open`].
pub fn read_manifest(path: &Path) -> Result<Manifest> {
    Reader::open(path).map(|reader| reader.manifest)
}

/// Unpacks an archive into the new directory `target`, manifest included. Everything is checked while it is written
/// into a temporary directory beside it; an error leaves nothing behind.
///
/// # Errors
/// [`Error::Conflict`] when `target` exists; [`Error::ArchiveEntry`], [`Error::HashMismatch`] and others when the
/// archive is not what it says.
pub fn unpack(path: &Path, target: &Path) -> Result<Manifest> {
    if fs::symlink_metadata(target).is_ok() {
        return Err(Error::Conflict {
            what: format!("{} exists; remove it first", target.display()),
        });
    }
    let mut reader = Reader::open(path)?;
    let temporary = parent(target).join(format!(".{}.axon.tmp", crate::unique()));
    fs::create_dir(&temporary).at(&temporary)?;
    let unpacked = reader.unpack_into(&temporary).and_then(|()| {
        fs::rename(&temporary, target).at(target)?;
        sync_dir(parent(target))
    });
    if unpacked.is_err() {
        // Best effort: the error that counts is the one that is returned.
        let _ = fs::remove_dir_all(&temporary);
    }
    unpacked.map(|()| reader.manifest)
}

impl Reader {
    /// Opens an archive and reads its manifest.
    ///
    /// # Errors
    /// [`Error::Archive`] when it is none; [`Error::ManifestInvalid`]; [`Error::Limit`] for a bomb.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).at(path)?;
        let size_bytes = file.metadata().at(path)?.len();
        Self::new(file, size_bytes, path)
    }

    /// The same over any seekable source of `size_bytes`; `path` names it in errors.
    ///
    /// # Errors
    /// Those of [`Reader::open`].
    pub fn new<R: Read + io::Seek + Send + 'static>(
        mut source: R,
        size_bytes: u64,
        path: &Path,
    ) -> Result<Self> {
        let mut magic = [0; 4];
        let got = read_up_to(&mut source, &mut magic).at(path)?;
        source.seek(SeekFrom::Start(0)).at(path)?;
        let source = BufReader::with_capacity(BUFFER_BYTES, source);
        let content: Box<dyn Read + Send> = match &magic[..got] {
            magic if *magic == ZSTD_MAGIC => {
                let mut decoder = zstd::Decoder::with_buffer(source).at(path)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).at(path)?;
                Box::new(decoder)
            }
            magic if magic.starts_with(&GZIP_MAGIC) => Box::new(flate2::bufread::MultiGzDecoder::new(source)),
            _ => {
                let reason = "it starts with neither the zstd nor the gzip magic number".into();
                return Err(Error::Archive {
                    path: path.into(),
                    reason,
                });
            }
        };
        let mut tar = Tar::new(content, path);
        let manifest = tar.manifest()?;
        check_ratio(&manifest, size_bytes, path)?;
        tar.allow(&manifest);
        Ok(Self {
            path: path.to_owned(),
            tar,
            manifest,
        })
    }

    /// The manifest; it is valid.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Calls `take` for every file, in the archive's order. What `take` leaves unread is read for it, so that every
    /// hash is checked.
    ///
    /// # Errors
    /// What `take` returns, and everything that is wrong with the archive.
    pub fn for_each_file(
        &mut self,
        mut take: impl FnMut(&FileEntry, &mut dyn Read) -> Result<()>,
    ) -> Result<()> {
        let mut missing: HashMap<String, FileEntry> = self
            .manifest
            .spec
            .format
            .files
            .iter()
            .map(|file| (file.path.clone(), file.clone()))
            .collect();
        while let Some((name, size)) = self.tar.next_file()? {
            let Some(file) = missing.remove(&name) else {
                let reason = match self.manifest.file(&name) {
                    Some(_) => "it is there twice",
                    None => "it is not in the manifest",
                };
                return Err(Error::ArchiveEntry {
                    entry: name,
                    reason: reason.into(),
                });
            };
            if size != file.size {
                return Err(Error::SizeMismatch {
                    path: file.path,
                    expected: file.size,
                    actual: size,
                });
            }
            self.tar.content(&file, &mut take)?;
        }
        match missing.into_keys().min() {
            Some(path) => {
                let reason = format!("`{path}` is in the manifest but not in the archive");
                Err(Error::Archive {
                    path: self.path.clone(),
                    reason,
                })
            }
            None => Ok(()),
        }
    }

    fn unpack_into(&mut self, dir: &Path) -> Result<()> {
        let root = dir.to_owned();
        self.for_each_file(|file, content| {
            let target = root.join(&file.path);
            fs::create_dir_all(parent(&target)).at(&target)?;
            let mut out = File::create_new(&target).at(&target)?;
            io::copy(content, &mut out).at(&target)?;
            out.sync_all().at(&target)
        })?;
        self.manifest.write(&dir.join(MANIFEST_NAME))
    }
}

/// An archive that says it unpacks to very many times its size is made to fill the disk.
fn check_ratio(manifest: &Manifest, archive_bytes: u64, path: &Path) -> Result<()> {
    let total_bytes = manifest.size_bytes();
    if total_bytes > ARCHIVE_RATIO_FLOOR_BYTES && total_bytes / archive_bytes.max(1) > ARCHIVE_RATIO_MAX {
        let what = format!(
            "{}: {total_bytes} bytes out of {archive_bytes}: ratio",
            path.display()
        );
        return Err(Error::Limit {
            what,
            max: ARCHIVE_RATIO_MAX,
        });
    }
    Ok(())
}

/// A tar stream, read block by block. Written here rather than taken from a library because what a package may
/// contain is a small and strict part of what tar libraries accept, and each thing they accept is one to refuse.
struct Tar<R> {
    content: R,
    path: PathBuf,
    /// How many more decompressed bytes may be read.
    left_bytes: u64,
}

impl<R: Read> Tar<R> {
    fn new(content: R, path: &Path) -> Self {
        // Enough for the manifest; `allow` adds the rest.
        Self {
            content,
            path: path.to_owned(),
            left_bytes: MANIFEST_BYTES_MAX + TAR_BYTES_PER_ENTRY,
        }
    }

    fn allow(&mut self, manifest: &Manifest) {
        let entries = manifest.spec.format.files.len() as u64;
        self.left_bytes = manifest
            .size_bytes()
            .saturating_add(entries * TAR_BYTES_PER_ENTRY + TAR_BYTES_END);
    }

    fn manifest(&mut self) -> Result<Manifest> {
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
    fn next_file(&mut self) -> Result<Option<(String, u64)>> {
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

    fn content(
        &mut self,
        file: &FileEntry,
        take: &mut impl FnMut(&FileEntry, &mut dyn Read) -> Result<()>,
    ) -> Result<()> {
        let mut content = Content {
            tar: self,
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
    tar: &'a mut Tar<R>,
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
            content: &mut self.tar.content,
            left_bytes: &mut self.tar.left_bytes,
        };
        let read = limited
            .read(&mut buffer[..most])
            .map_err(|e| self.tar.unreadable(e))?;
        if read == 0 {
            return Err(self.tar.broken("it is cut short").into());
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

fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
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
