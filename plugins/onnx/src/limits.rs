//! The bounds of this plugin, each with its reason.

use std::time::Duration;

/// A 64-bit varint takes ten bytes at most.
pub(crate) const VARINT_BYTES_MAX: usize = 10;

/// Messages nest this deep at most in a model file (graphs in attributes of nodes of graphs).
pub(crate) const MESSAGE_DEPTH_MAX: u32 = 64;

/// External data files that one model may name.
pub(crate) const EXTERNAL_FILES_MAX: usize = 4096;

/// Models above this many bytes keep their weights beside the prepared graph, mapped, and not inside it: protobuf
/// ends at 2 GiB, and below that a mapped file saves a second copy of the weights while loading.
pub(crate) const INLINE_WEIGHTS_BYTES_MAX: u64 = 64 << 20;

/// Weights smaller than this stay inside the graph.
pub(crate) const EXTERNAL_TENSOR_BYTES_MIN: u64 = 1024;

/// A prepared graph without its weights is small; more than this is not one of ours.
pub(crate) const PREPARED_GRAPH_BYTES_MAX: u64 = 2 << 30;

/// How long the thread may run between two checkpoints before a yield is put there.
pub(crate) const SLICE_TARGET_US_DEFAULT: u64 = 500;

/// Runs that warm a session up before it is timed: arenas, packed weights and branch predictors settle.
pub(crate) const WARM_RUNS: usize = 1;

/// Timed runs; the shortest time of each node counts, so that disturbed runs do no harm.
pub(crate) const PROFILE_RUNS: usize = 5;

/// Timed runs end when they have taken this long altogether.
pub(crate) const PROFILE_BUDGET_MS: u64 = 3_000;

/// Nodes that one graph may have to be profiled; beyond it the profile itself would take too long to read.
pub(crate) const NODES_MAX: usize = 200_000;

/// Threads inside operators, all models of the process together, when the configuration does not say.
pub(crate) const THREADS_MAX_DEFAULT: u32 = 64;

/// Inputs and outputs that a call keeps on the stack.
pub(crate) const PORTS_INLINE: usize = 8;

/// Blocks of `malloc` from this size on have a mapping of their own: packed weights mostly do, and what every run takes
/// anew rarely does.
pub(crate) const OWN_MAPPING_BYTES_MIN: i32 = 1 << 20;

/// Bytes hashed at a time.
pub(crate) const HASH_BUFFER_BYTES: usize = 1 << 20;

/// An entry of `external_data` is a short key and a path, an output's declaration a name and some dimensions.
pub(crate) const DECLARATION_BYTES_MAX: u64 = 64 << 10;

/// Rows at which a model is measured, as far as the time allows.
pub(crate) const PROFILE_ROWS: [i64; 4] = [1, 2, 4, 8];

/// A draft of the cache that is older was left by a process that is gone: no preparation takes this long.
pub(crate) const DRAFT_AGE_MAX: Duration = Duration::from_secs(3600);

/// Nodes that the facts about a prepared model name as its longest.
pub(crate) const LONGEST_NODES_KEPT: usize = 8;

/// Slices are filled up to this part of the longest node,
pub(crate) const LONGEST_SHARE_PERCENT: u64 = 90;

/// but never to more than this many times the target.
pub(crate) const STRETCH_MAX: u64 = 3;

/// The same for models that take inputs of other lengths, say of fewer tokens: the sample is a long one, at most
/// others a slice is shorter, and the cost of a yield, which stays, counts for more.
pub(crate) const ELASTIC_SHARE_PERCENT: u64 = 120;

/// As [`STRETCH_MAX`], for these models.
pub(crate) const ELASTIC_STRETCH_MAX: u64 = 4;

/// A slice that has not reached the target ends early when the next node would take it beyond this many targets.
pub(crate) const OVERFILL_MAX: u64 = 2;

/// A product is split when it takes more slices than this: below, the copy of its result costs more than it is worth.
pub(crate) const SPLIT_SLICES_MIN: u64 = 5;

/// Parts of a split product.
pub(crate) const SPLIT_PARTS_MAX: u64 = 32;

/// Parts have a multiple of this many columns, so that they fill the kernels' tiles as the whole did.
pub(crate) const SPLIT_COLUMNS: usize = 64;
