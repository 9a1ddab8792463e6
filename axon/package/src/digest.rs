//! SHA-256 as a value, and the one loop that computes it from a stream.

use crate::{Result, error::At, limits::BUFFER_BYTES};
use sha2::Digest as _;
use std::{fmt, io::Read, path::Path, str::FromStr};

/// A SHA-256 digest. Its text form is 64 lower-case hexadecimal digits; upper case is read too.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The digest of a few bytes that are in memory.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The digest and length of everything that `reader` yields; `path` names it in errors.
    ///
    /// # Errors
    /// What the reader returns.
    pub fn of_reader(reader: &mut impl Read, path: &Path) -> Result<(Self, u64)> {
        let mut hasher = sha2::Sha256::new();
        let mut len_bytes = 0;
        copy_chunks(reader, path, |chunk| {
            hasher.update(chunk);
            len_bytes += chunk.len() as u64;
            Ok(())
        })?;
        Ok((Self(hasher.finalize().into()), len_bytes))
    }
}

/// Feeds `sink` with the bytes of `reader`, in chunks of at most [`BUFFER_BYTES`].
pub(crate) fn copy_chunks(
    reader: &mut impl Read,
    path: &Path,
    mut sink: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => sink(&buffer[..n])?,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e).at(path),
        }
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text was not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sha256 is 64 hexadecimal digits")]
pub struct NotSha256;

impl FromStr for Sha256 {
    type Err = NotSha256;

    fn from_str(text: &str) -> Result<Self, NotSha256> {
        let text = text.as_bytes();
        if text.len() != 64 {
            return Err(NotSha256);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

fn nibble(digit: u8) -> Result<u8, NotSha256> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(NotSha256),
    }
}
