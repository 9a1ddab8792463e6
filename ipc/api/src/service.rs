//! The trait between the edges and the engine.

use std::sync::Arc;

use mlos_tensor_mem::Pool;

use crate::{
    Error, Health, InferRequest, InferResponse, ModelDetail, ModelRef, ModelSummary, PluginStatus,
    RegisterRequest, Registered, ScanReport, Stats,
};

/// The engine, as one core's edges see it. A handle: cloning is cheap.
///
/// Futures are local to the core. **Dropping the future of [`Service::infer`] cancels the request**: it leaves the
/// queue, or stops at its next checkpoint.
#[expect(async_fn_in_trait, reason = "one core's futures are never sent to another")]
pub trait Service: Clone + 'static {
    /// The active version of a model, or the one named; a cheap look-up in this core's snapshot.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`] with the nearest names.
    fn model(&self, model: &ModelRef) -> Result<Arc<ModelDetail>, Error>;

    /// Tensor memory of this core: an edge parses into loans of it.
    fn pool(&self) -> &Pool;

    /// Lets what waits on this core run before the caller goes on; free when nothing waits.
    ///
    /// An edge that decodes or encodes a large body calls it every [`crate::limits::BREATHE_BYTES`] or so, since an
    /// urgent request that arrives meanwhile would otherwise wait for the whole body.
    async fn breathe(&self);

    /// Runs one inference.
    async fn infer(&self, request: InferRequest) -> Result<InferResponse, Error>;

    /// Makes a model known and hands it to a loader.
    async fn register(&self, request: RegisterRequest) -> Result<Registered, Error>;

    /// Registers what is new in the models folder.
    async fn scan(&self) -> Result<ScanReport, Error>;

    /// Drains and forgets a version, or all versions when none is named. Resolves when the memory is given back.
    async fn unregister(&self, model: &ModelRef) -> Result<(), Error>;

    /// Makes a ready version the active one; without a version, the one that was active before (rollback).
    async fn activate(&self, model: &ModelRef) -> Result<ModelRef, Error>;

    /// All models, by id and version.
    fn models(&self) -> Vec<ModelSummary>;

    /// All plugins.
    fn plugins(&self) -> Vec<PluginStatus>;

    /// Whether it wants traffic; never waits.
    fn health(&self) -> Health;

    /// Numbers of all shards; never waits for a shard.
    fn stats(&self) -> Stats;
}
