//! The scheduling policy of MLOS: which job runs on which thread, when, with how many rows, beside whom.
//!
//! One [`Policy`] serves one shard, that is one core: its *front* and its *lanes* ([`Thread`]). The caller feeds it
//! [`Event`]s with the time at which they happened and carries out the [`Decision`]s that come back. That is the whole
//! interface, so the same code runs in the daemon, in the simulator (`examples/sim.rs`), in the benchmark and on bare
//! metal, and a C twin of it can be held against recorded traces (`traces/`).
//!
//! How the types meet: a [`Config`] makes a [`Policy`]; a [`Model`] and, at load time, its slice profile are added
//! under a [`ModelIndex`]; [`Event::Arrive`] brings a [`Job`], which is rejected, degraded or queued; a
//! [`Decision::Dispatch`] names the [`Member`]s of a run; [`Event::Complete`] ends the run. [`route()`] picks a shard
//! before a job reaches any policy.
//!
//! What it deliberately is not: it has no clock, thread, lock, I/O or float, it allocates in [`Policy::new`] only, and it
//! trusts its caller to report what happened. It moves no tensors and knows no plugin.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod admission;
mod batch;
mod config;
mod cost;
mod decision;
mod job;
pub mod limits;
mod models;
mod pick;
mod policy;
mod prefetch;
mod queue;
mod route;
mod shares;
mod slots;
mod stats;
mod thread;
pub mod trace;
mod utilisation;
mod waiting;

pub use config::{Config, Model, OnMiss, Preemption};
pub use decision::{Decision, Decisions, Dispatch, Member, Prediction, Why};
pub use job::{Class, Event, Job, JobId, ModelIndex, Thread};
pub use policy::Policy;
pub use route::{ShardLoad, route};
pub use stats::{ClassStats, PrefetchStats, Score, Stats};
