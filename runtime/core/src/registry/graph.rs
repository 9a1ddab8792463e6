//! A loaded graph, and the versions it belongs to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mlos_api::{Error, ModelDetail, NamedTensor};
use mlos_plugin_host::{Dim, Model, ModelInfo, Outputs, TensorSpec, Work};
use mlos_scheduler::ModelIndex;
use mlos_tensor_mem::Tensor;
use smallvec::SmallVec;

use super::control::Request;
use crate::actor::Mailbox;
use crate::metrics::ModelCounters;
use crate::preprocess::Preprocessor;

/// One graph of a package, loaded, and shared by all shards.
#[derive(Debug)]
pub(crate) struct Graph {
    /// What the policies call it.
    pub index: ModelIndex,
    pub model: Model,
    /// What the policies know of it.
    pub policy: mlos_scheduler::Model,
    /// By shard: each writes its own.
    counters: Box<[ModelCounters]>,
    /// Requests that hold it.
    in_flight: AtomicUsize,
    /// It is to be unloaded as soon as nothing holds it.
    retiring: AtomicBool,
    registry: Mailbox<Request>,
}

impl Graph {
    pub fn new(
        index: ModelIndex,
        model: Model,
        policy: mlos_scheduler::Model,
        registry: Mailbox<Request>,
        shards: usize,
    ) -> Self {
        Self {
            index,
            model,
            policy,
            counters: (0..shards).map(|_| ModelCounters::default()).collect(),
            in_flight: AtomicUsize::new(0),
            retiring: AtomicBool::new(false),
            registry,
        }
    }

    /// What the requests on one shard have come to.
    pub fn counters(&self, shard: usize) -> &ModelCounters {
        &self.counters[shard]
    }

    /// What the requests on all shards have come to.
    pub fn all_counters(&self) -> &[ModelCounters] {
        &self.counters
    }

    /// Asks for word when nothing holds it any more; ask [`Graph::is_idle`] afterwards, once.
    ///
    /// Sequentially consistent, as in [`Ticket`]'s drop: of "retiring, then none in flight?" here and "none in
    /// flight, then retiring?" there, at least one must see the other.
    pub fn retire(&self) {
        self.retiring.store(true, Ordering::SeqCst);
    }

    /// Whether nothing holds it.
    pub fn is_idle(&self) -> bool {
        self.in_flight.load(Ordering::SeqCst) == 0
    }

    /// Checks a request's tensors against the graph and puts them in its order.
    pub fn bind(&self, tensors: Vec<NamedTensor>, outputs: &[String]) -> Result<Bound, Error> {
        let info = self.model.info();
        let inputs = in_order(info, tensors)?;
        let wanted = outputs
            .iter()
            .map(|name| output_index(info, name))
            .collect::<Result<SmallVec<[usize; 4]>, _>>()?;
        self.fit(
            inputs,
            if wanted.is_empty() {
                Outputs::All
            } else {
                Outputs::Only(&wanted)
            },
        )
    }

    /// Checks tensors in the graph's order, and makes a work of them.
    pub fn fit(&self, inputs: Vec<Option<Tensor>>, outputs: Outputs<'_>) -> Result<Bound, Error> {
        check_symbols(&self.model.info().inputs, &inputs)?;
        let shape_key = shape_key(&inputs);
        let work =
            Work::new(&self.model, inputs, outputs).map_err(|error| crate::shard::plugin_error(&error))?;
        let rows = u32::try_from(work.rows().unwrap_or(1))
            .map_err(|_| Error::InvalidArgument("a request carries too many rows".to_owned()))?;
        Ok(Bound {
            work,
            rows,
            shape_key,
        })
    }
}

/// A request that fits its graph.
#[derive(Debug)]
pub(crate) struct Bound {
    pub work: Work,
    /// Rows of dimension 0; 1 where the graph's rows are not independent.
    pub rows: u32,
    /// Equal for requests that may run in one batch.
    pub shape_key: u64,
}

/// Keeps a graph from being unloaded.
#[derive(Debug)]
pub(crate) struct Ticket(Arc<Graph>);

impl Ticket {
    pub fn new(graph: &Arc<Graph>) -> Self {
        graph.in_flight.fetch_add(1, Ordering::SeqCst);
        Self(graph.clone())
    }

    pub fn graph(&self) -> &Arc<Graph> {
        &self.0
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let last = self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && self.0.retiring.load(Ordering::SeqCst) {
            // A full mailbox is no loss: the registry looks for idle graphs after every message.
            let _ = self.0.registry.try_send(Request::Idle);
        }
    }
}

/// One version of a model, as the shards see it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub detail: Arc<ModelDetail>,
    /// Loaded, in the order of the detail's signatures; empty until it is ready.
    pub graphs: Vec<Arc<Graph>>,
    pub preprocessor: Option<Arc<Preprocessor>>,
    /// Of the content that serves; empty until it is ready.
    pub fingerprint: String,
}

impl Entry {
    /// With nothing that could serve.
    pub fn unloaded(detail: ModelDetail) -> Self {
        Self {
            detail: Arc::new(detail),
            graphs: Vec::new(),
            preprocessor: None,
            fingerprint: String::new(),
        }
    }

    /// The same content, described otherwise.
    pub fn described(&self, detail: ModelDetail) -> Self {
        Self {
            detail: Arc::new(detail),
            graphs: self.graphs.clone(),
            preprocessor: self.preprocessor.clone(),
            fingerprint: self.fingerprint.clone(),
        }
    }

    /// The graph of that component, or the first.
    pub fn graph(&self, component: Option<&str>) -> Result<&Arc<Graph>, Error> {
        let wanted: *const _ = self.detail.signature(component)?;
        let at = self
            .detail
            .signatures
            .iter()
            .position(|signature| std::ptr::eq(signature, wanted));
        at.and_then(|at| self.graphs.get(at))
            .ok_or_else(|| Error::Internal("a ready model has a graph for each signature".to_owned()))
    }
}

fn in_order(info: &ModelInfo, tensors: Vec<NamedTensor>) -> Result<Vec<Option<Tensor>>, Error> {
    let mut inputs: Vec<Option<Tensor>> = info.inputs.iter().map(|_| None).collect();
    for named in tensors {
        let Some(at) = info.inputs.iter().position(|spec| spec.name == named.name) else {
            let known: Vec<&str> = info.inputs.iter().map(|spec| spec.name.as_str()).collect();
            return Err(Error::InvalidInput {
                name: named.name,
                reason: format!("the model has no such input; it has: {}", known.join(", ")),
            });
        };
        if inputs[at].is_some() {
            return Err(Error::InvalidInput {
                name: named.name,
                reason: "is given twice".to_owned(),
            });
        }
        inputs[at] = Some(named.tensor);
    }
    Ok(inputs)
}

fn output_index(info: &ModelInfo, name: &str) -> Result<usize, Error> {
    info.outputs
        .iter()
        .position(|spec| spec.name == name)
        .ok_or_else(|| {
            let known: Vec<&str> = info.outputs.iter().map(|spec| spec.name.as_str()).collect();
            Error::InvalidArgument(format!(
                "the model has no output '{name}'; it has: {}",
                known.join(", ")
            ))
        })
}

/// Dimensions of one name must have one size within a request.
fn check_symbols(specs: &[TensorSpec], inputs: &[Option<Tensor>]) -> Result<(), Error> {
    let mut seen: SmallVec<[(&str, usize, &str); 8]> = SmallVec::new();
    for (spec, input) in specs.iter().zip(inputs) {
        let Some(input) = input else { continue };
        for (dim, size) in spec.dims.iter().zip(input.shape().dims()) {
            let Dim::Dynamic(Some(symbol)) = dim else { continue };
            match seen.iter().find(|(known, ..)| known == symbol) {
                Some((_, first, other)) if first != size => {
                    let reason = format!("dimension '{symbol}' is {size}, but {first} in input '{other}'");
                    return Err(Error::InvalidInput {
                        name: spec.name.clone(),
                        reason,
                    });
                }
                Some(_) => {}
                None => seen.push((symbol, *size, &spec.name)),
            }
        }
    }
    Ok(())
}

/// FNV-1a over everything but dimension 0.
fn shape_key(inputs: &[Option<Tensor>]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let mut key = OFFSET;
    let mut mix = |value: u64| key = (key ^ value).wrapping_mul(PRIME);
    for input in inputs {
        let Some(input) = input else {
            // No rank is as high, so one that is left out is not taken for a scalar.
            mix(u64::MAX);
            continue;
        };
        let dims = input.shape().dims();
        mix(dims.len() as u64);
        dims.iter().skip(1).for_each(|size| mix(*size as u64));
    }
    key
}
