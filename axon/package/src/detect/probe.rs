use super::{Detection, Format};
use std::io::{self, Read, Seek};
pub(super) fn probe<R: Read + Seek>(_reader: &mut R, _size_bytes: u64) -> io::Result<Detection> {
    Ok(Detection {
        format: Format::Unknown,
        evidence: String::new(),
    })
}
