//! Whether a zip is a PyTorch checkpoint: its directory is read, its content is not.

use super::{
    Detection, Format,
    probe::{u16_at, u32_at, u64_at},
};
use crate::limits::{ZIP_ENTRIES_MAX, ZIP_TAIL_BYTES};
use std::io::{self, BufReader, Read, Seek, SeekFrom};

const LOCAL_MAGIC: &[u8] = b"PK\x03\x04";
const ENTRY_MAGIC: &[u8] = b"PK\x01\x02";
const END_MAGIC: &[u8] = b"PK\x05\x06";
const END64_MAGIC: &[u8] = b"PK\x06\x06";
const LOCATOR64_MAGIC: &[u8] = b"PK\x06\x07";
const ENTRY_BYTES: usize = 46;
const END_BYTES: usize = 22;
const LOCATOR64_BYTES: usize = 20;

/// Looks only at what begins like a zip.
pub(super) fn probe<R: Read + Seek>(
    reader: &mut R,
    head: &[u8],
    size_bytes: u64,
) -> io::Result<Option<Detection>> {
    if !head.starts_with(LOCAL_MAGIC) && !head.starts_with(END_MAGIC) {
        return Ok(None);
    }
    let Some(directory) = find_directory(reader, size_bytes)? else {
        // PyTorch writes `…/data.pkl` first, so its name is there even when the end is not.
        let first = u16_at(head, 26).and_then(|len| head.get(30..30 + usize::from(len)));
        let format = if first.is_some_and(is_data_pkl) {
            Format::PyTorchZip
        } else {
            Format::Zip
        };
        return Ok(Some(Detection::damaged(
            format,
            "zip magic",
            "its directory is missing: it is cut short",
        )));
    };
    Ok(Some(match find_data_pkl(reader, directory, size_bytes)? {
        Listed::Found(name) => Detection::sound(Format::PyTorchZip, format!("zip with {name}")),
        Listed::Absent => Detection::sound(Format::Zip, "zip without data.pkl"),
        Listed::Broken => Detection::damaged(Format::Zip, "zip magic", "its directory is unreadable"),
    }))
}

enum Listed {
    Found(String),
    Absent,
    Broken,
}

/// Where the central directory begins and how many entries it has.
#[derive(Clone, Copy)]
struct Directory {
    offset: u64,
    entries: u64,
}

fn find_directory<R: Read + Seek>(reader: &mut R, size_bytes: u64) -> io::Result<Option<Directory>> {
    let tail_bytes = size_bytes.min(ZIP_TAIL_BYTES + LOCATOR64_BYTES as u64);
    reader.seek(SeekFrom::Start(size_bytes - tail_bytes))?;
    let mut tail = Vec::new();
    reader.take(tail_bytes).read_to_end(&mut tail)?;
    let Some(at) = (0..=tail.len().saturating_sub(END_BYTES))
        .rev()
        .find(|&at| tail[at..].starts_with(END_MAGIC))
    else {
        return Ok(None);
    };
    let (Some(entries), Some(offset)) = (u16_at(&tail, at + 10), u32_at(&tail, at + 16)) else {
        return Ok(None);
    };
    if entries != u16::MAX && offset != u32::MAX {
        return Ok(Some(Directory {
            offset: offset.into(),
            entries: entries.into(),
        }));
    }
    let locator = at
        .checked_sub(LOCATOR64_BYTES)
        .filter(|&at| tail[at..].starts_with(LOCATOR64_MAGIC));
    match locator.and_then(|at| u64_at(&tail, at + 8)) {
        Some(end64) => read_end64(reader, end64, size_bytes),
        None => Ok(None),
    }
}

fn read_end64<R: Read + Seek>(reader: &mut R, at: u64, size_bytes: u64) -> io::Result<Option<Directory>> {
    let mut record = [0; 56];
    if at
        .checked_add(record.len() as u64)
        .is_none_or(|end| end > size_bytes)
    {
        return Ok(None);
    }
    reader.seek(SeekFrom::Start(at))?;
    reader.read_exact(&mut record)?;
    let directory = (u64_at(&record, 32), u64_at(&record, 48));
    Ok(match directory {
        (Some(entries), Some(offset)) if record.starts_with(END64_MAGIC) => {
            Some(Directory { offset, entries })
        }
        _ => None,
    })
}

fn find_data_pkl<R: Read + Seek>(
    reader: &mut R,
    directory: Directory,
    size_bytes: u64,
) -> io::Result<Listed> {
    if directory.offset > size_bytes {
        return Ok(Listed::Broken);
    }
    reader.seek(SeekFrom::Start(directory.offset))?;
    let mut reader = BufReader::with_capacity(64 << 10, reader.take(size_bytes - directory.offset));
    let mut entry = [0; ENTRY_BYTES];
    for _ in 0..directory.entries.min(ZIP_ENTRIES_MAX as u64) {
        if !read_whole(&mut reader, &mut entry)? || !entry.starts_with(ENTRY_MAGIC) {
            return Ok(Listed::Broken);
        }
        let len = |at| usize::from(u16_at(&entry, at).unwrap_or(0));
        let mut rest = vec![0; len(28) + len(30) + len(32)];
        if !read_whole(&mut reader, &mut rest)? {
            return Ok(Listed::Broken);
        }
        let name = &rest[..len(28)];
        if is_data_pkl(name) {
            return Ok(Listed::Found(String::from_utf8_lossy(name).into_owned()));
        }
    }
    Ok(Listed::Absent)
}

fn is_data_pkl(name: &[u8]) -> bool {
    name == b"data.pkl" || name.ends_with(b"/data.pkl")
}

/// Whether there was enough to fill `buffer`.
fn read_whole(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}
