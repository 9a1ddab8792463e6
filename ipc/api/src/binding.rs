//! Requests that are checked once and asked often, for edges whose clients lay their tensors out in advance.

use std::rc::Rc;
use std::time::Duration;

use mlos_tensor_mem::{Region, Shape, Tensor};

use crate::{Class, Error, ModelRef, OnMiss, Service, Timing};

/// Tensors for one graph, where they lie.
#[derive(Debug, Clone)]
pub struct Binding {
    /// Which model, and which version; none is the one that is active when it is asked.
    pub model: ModelRef,
    /// Which graph of a package of several; none is the first.
    pub component: Option<String>,
    /// In the order of the graph's signature; none where one is left out.
    pub inputs: Vec<Option<Tensor>>,
    /// Memory for the outputs, in the order of the signature; none where one is not wanted.
    pub outputs: Vec<Option<Region>>,
}

/// How a bound request is to be run this time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms {
    /// Urgency; none is the model's default.
    pub class: Option<Class>,
    /// Time from arrival by which it must be done.
    pub deadline: Option<Duration>,
    /// What to do when it would be late.
    pub on_miss: OnMiss,
}

/// How a bound request ended.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// The shapes of the outputs, in the order of the signature; none where one was not wanted.
    pub result: Result<&'a [Option<Shape>], &'a Error>,
    /// Where the time went.
    pub timing: Timing,
    /// The class it ran in.
    pub class: Class,
}

/// Who is told of the end of bound requests: on the core that it was asked on, perhaps before
/// [`StandingService::ask`] returns. So it should be quick, and ask nothing itself.
pub trait Asker {
    /// The request of this number has ended: its tensors are the client's again.
    fn answered(&self, number: u64, outcome: &Outcome<'_>);
}

/// An engine that takes bindings.
pub trait StandingService: Service {
    /// What [`bind`](Self::bind) has checked.
    type Bound: 'static;

    /// Checks tensors against their model once, to be asked often.
    ///
    /// What is bound keeps no model from being unloaded or replaced: it is looked up and checked anew whenever the models
    /// have changed. Dropping it lets go of the tensors, after the request that may be running.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`], [`Error::InvalidInput`], and what else [`Service::infer`] refuses before it queues.
    fn bind(&self, binding: Binding) -> Result<Self::Bound, Error>;

    /// Asks for what is bound, without a future and without an allocation. `asker` is told of the end under `number`, but
    /// not of an error that is returned here.
    ///
    /// # Errors
    /// [`Error::Conflict`] while it is being asked already, since its memory is in use; what [`bind`](Self::bind) refuses, when
    /// the models have changed.
    fn ask(&self, bound: &Self::Bound, terms: Terms, asker: &Rc<dyn Asker>, number: u64)
    -> Result<(), Error>;

    /// Ends a burst of [`ask`](Self::ask)s. Those of one burst came together, and may share a look at the clock.
    fn asked_all(&self);

    /// Cancels what is being asked, if it is. `asker` is told when it has ended.
    fn cancel(&self, bound: &Self::Bound);
}
