//! What the engine is told at start. The daemon fills it from its file, environment and flags.

use std::path::PathBuf;

use mlos_scheduler::Preemption;
use serde::{Deserialize, Serialize};

use crate::Error;

/// How urgent work gets a core from bulk work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PreemptionMode {
    /// Long work runs on weaker threads of the same core, and the kernel hands the core over.
    #[default]
    Lanes,
    /// One thread per core; work is suspended at checkpoints between layers.
    Layer,
    /// Not at all; the contrast.
    None,
}

impl PreemptionMode {
    /// Lower-case name, as in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lanes => "lanes",
            Self::Layer => "layer",
            Self::None => "none",
        }
    }
}

impl From<PreemptionMode> for Preemption {
    fn from(mode: PreemptionMode) -> Self {
        match mode {
            PreemptionMode::Lanes => Self::Lanes,
            PreemptionMode::Layer => Self::Layer,
            PreemptionMode::None => Self::None,
        }
    }
}

/// Settings of the engine. Every field has a default that serves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    /// Logical processors to serve on, one shard each; none for all that the process may use.
    pub cores: Option<Vec<usize>>,
    /// How urgent work gets a core from bulk work.
    pub preemption: PreemptionMode,
    /// Longest time that bulk work should hold a thread between checkpoints, in us.
    pub slice_target_us: u64,
    /// Work predicted to fit this runs on the front, whatever its class, in us.
    pub front_budget_us: u64,
    /// Jobs queued per class and core before the answer is *overloaded*.
    pub queue_jobs_max: usize,
    /// Tensor memory of each core at most, in MiB.
    pub pool_mib_max: usize,
    /// Use huge pages for tensor memory where there are any.
    pub huge_pages: bool,
    /// Threads that one inference may keep busy: more than one takes cores from the other shards.
    pub threads_per_model: u32,
    /// Check every file of a package against its manifest before it is loaded.
    pub verify_on_load: bool,
    /// State that outlives the process: the registry and the cache of prepared graphs.
    pub state_dir: PathBuf,
    /// Where `scan` looks for packages.
    pub models_dir: PathBuf,
    /// Longest time to wait for work in flight after SIGTERM, in ms.
    pub drain_ms_max: u64,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            cores: None,
            preemption: PreemptionMode::default(),
            slice_target_us: 500,
            front_budget_us: 300,
            queue_jobs_max: 1024,
            pool_mib_max: 4096,
            huge_pages: false,
            threads_per_model: 1,
            verify_on_load: true,
            state_dir: PathBuf::from("/var/lib/mlos"),
            models_dir: PathBuf::from("/var/lib/mlos/models"),
            drain_ms_max: 30_000,
        }
    }
}

impl EngineConfig {
    /// Says all that contradicts itself or exceeds a limit.
    ///
    /// # Errors
    /// [`Error::Config`] with every problem found.
    pub fn check(&self) -> Result<(), Error> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, problem: &str| {
            if !holds {
                problems.push(problem.to_owned());
            }
        };
        let repeated = self.cores.as_ref().is_some_and(|cores| {
            let mut sorted = cores.clone();
            sorted.sort_unstable();
            sorted.dedup();
            sorted.len() != cores.len()
        });
        require(
            self.cores.as_ref().is_none_or(|cores| !cores.is_empty()),
            "cores names no processor",
        );
        require(!repeated, "cores names a processor twice");
        require(
            (50..=100_000).contains(&self.slice_target_us),
            "slice_target_us must be from 50 to 100000",
        );
        require(
            self.front_budget_us <= 10_000,
            "front_budget_us must be at most 10000",
        );
        require(
            (1..=crate::limits::QUEUE_JOBS_MAX).contains(&self.queue_jobs_max),
            "queue_jobs_max must be from 1 to 4096",
        );
        require(self.pool_mib_max >= 64, "pool_mib_max must be at least 64");
        require(
            self.threads_per_model >= 1,
            "threads_per_model must be at least 1",
        );
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Error::Config(problems.join("; ")))
        }
    }

    /// The policy's own settings.
    #[must_use]
    pub fn policy(&self) -> mlos_scheduler::Config {
        mlos_scheduler::Config {
            preemption: self.preemption.into(),
            slice_target_ns: self.slice_target_us * 1_000,
            front_budget_ns: self.front_budget_us * 1_000,
            queue_jobs_max: self.queue_jobs_max,
            models_max: crate::limits::GRAPHS_MAX,
            ..mlos_scheduler::Config::default()
        }
    }
}
