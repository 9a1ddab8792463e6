//! Every bound of the fixture.

use std::time::Duration;

/// Longest request head (request line and headers) that is read.
pub(crate) const REQUEST_HEAD_BYTES_MAX: u64 = 64 * 1024;
/// A body goes out in pieces of this size, so that [`crate::Hub::wait_for_bytes_sent`] sees it move.
pub(crate) const PIECE_BYTES: u64 = 1024 * 1024;
/// Files of this size or more are held as LFS objects whatever their name (the real hub's limit).
pub(crate) const LFS_BYTES_MIN: u64 = 10 * 1024 * 1024;
/// Entries in one page of a file listing (the real hub's limit).
pub(crate) const TREE_PAGE_ENTRIES: usize = 1000;
/// An idle connection is dropped after this time, so that threads end.
pub(crate) const CONNECTION_IDLE: Duration = Duration::from_secs(60);
/// Deepest directory inside a repository.
pub(crate) const DIRECTORY_DEPTH_MAX: usize = 16;
