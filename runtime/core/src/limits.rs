//! Named bounds of the engine: every queue, pool, retry and loop has one.

/// Models that can be loaded at once, each graph of a package counted.
pub const GRAPHS_MAX: usize = 1024;
/// Versions of one model that the registry keeps.
pub const VERSIONS_MAX: usize = 64;
/// Jobs queued per class and shard before the answer is *overloaded*.
pub const QUEUE_JOBS_MAX: usize = 4096;
/// Messages that wait for one shard from other threads.
pub const INBOX_MAX: usize = 8192;
/// Reports of one lane that wait for its front: it has one run at a time, and those of a front that started anew.
pub const LANE_REPORTS_MAX: usize = 64;
/// Commands that wait for one lane: a job, a word about it, and a word for each time that its front starts anew while the
/// lane is in one call.
pub const LANE_COMMANDS_MAX: usize = 8 + 2 * RESTARTS_MAX;
/// Jobs that wait for the thread that decodes images.
pub const PREPROCESS_QUEUE_MAX: usize = 1024;
/// Commands that wait for the registry.
pub const CONTROL_QUEUE_MAX: usize = 256;
/// Orders that wait for the loader: each graph may wait to be loaded, and another to be unloaded in its place. The
/// registry never finds it full, so the two never wait for each other.
pub const LOAD_QUEUE_MAX: usize = 2 * GRAPHS_MAX;
/// How often an actor is restarted within [`RESTART_WINDOW_MS`] before the process gives up.
pub const RESTARTS_MAX: usize = 100;
/// See [`RESTARTS_MAX`].
pub const RESTART_WINDOW_MS: u64 = 10_000;
/// Rows of text or images that one request may carry.
pub const PREPROCESS_ROWS_MAX: usize = 1024;
/// Pixels of an image that is decoded: 64 million is a large photograph; more is a bomb.
pub const IMAGE_PIXELS_MAX: u64 = 64_000_000;
/// Tokens of a text when the tokenizer names no limit.
pub const TOKENS_MAX: usize = 8192;
/// Packages that one scan looks at.
pub const SCAN_PACKAGES_MAX: usize = 4096;
/// Folders below the models folder that a scan descends: namespace, name parts, version.
pub const SCAN_DEPTH_MAX: usize = 8;
