//! Every bound of this crate. What a hub says decides no memory and no time without one of these.

use std::time::Duration;

/// Largest answer that is read as metadata (JSON, a manifest), bytes.
pub const METADATA_BYTES_MAX: usize = 64 << 20;
/// Most pages of a file listing that are followed.
pub const LISTING_PAGES_MAX: usize = 100;
/// Most redirects of one request.
pub const REDIRECTS_MAX: usize = 10;
/// Longest wait for a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest silence of a server in the middle of an answer.
pub const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest single wait between two tries, also when the server asks for more.
pub const RETRY_WAIT_MAX: Duration = Duration::from_secs(120);
/// First wait between two tries; it doubles with each.
pub const RETRY_WAIT_FIRST: Duration = Duration::from_millis(250);
/// Tries without a byte of progress before a file is given up, unless configured.
pub const RETRIES_DEFAULT: u32 = 5;
/// Tries of one file in all, so that a server that sends one byte per connection cannot hold us for ever.
pub const TRIES_PER_FILE_MAX: u32 = 1_000;
/// Times that a whole file is fetched again because its content was wrong.
pub const CONTENT_TRIES_MAX: u32 = 2;
/// Files that are downloaded at the same time, unless configured.
pub const PARALLEL_DEFAULT: usize = 4;
/// Most files at the same time, whatever is configured.
pub const PARALLEL_MAX: usize = 32;
/// Chunks that wait between the network and the disk, per file.
pub const CHUNKS_QUEUED: usize = 16;
/// Bytes that are gathered before they go to the disk together.
pub const WRITE_BYTES: usize = 1 << 20;
/// Longest text of a server's error message that is shown.
pub const MESSAGE_CHARS_MAX: usize = 200;
/// Largest `config.json`, `preprocessor_config.json` or tokenizer that is looked into, bytes.
pub const CONFIG_BYTES_MAX: u64 = 64 << 20;
/// Deepest directory that a local source is walked into.
pub const DIRECTORY_DEPTH_MAX: usize = 16;
