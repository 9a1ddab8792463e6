//! One client's end on the core that serves it: its rings, and what it has bound.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mlos_api::{Asker, Binding, Class, Error, Kind, ModelRef, OnMiss, Outcome, StandingService, Terms};
use mlos_shm::layout::FLAG_SHAPES_WRITTEN;
use mlos_shm::{
    Consumer, DaemonBell, Fault, Frame, Op, Producer, Request, Response, Status, TensorPlace, limits,
};
use mlos_tensor_mem::{DType, Region, Segment, Tensor};

use crate::stats::ClientCounters;

/// A model that the client has opened.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    pub(crate) model: ModelRef,
    pub(crate) component: Option<String>,
}

/// What a port is made of.
pub(crate) struct Ends {
    pub(crate) requests: Consumer<Request>,
    pub(crate) responses: Producer<Response>,
    pub(crate) bell: DaemonBell,
    pub(crate) arena: Arc<Segment>,
    pub(crate) counters: Arc<ClientCounters>,
}

/// See the module.
pub(crate) struct Port<S: StandingService> {
    service: S,
    requests: RefCell<Consumer<Request>>,
    responses: RefCell<Producer<Response>>,
    pub(crate) bell: DaemonBell,
    arena: Arc<Segment>,
    pub(crate) counters: Arc<ClientCounters>,
    handles: RefCell<Vec<Option<Handle>>>,
    bindings: RefCell<Vec<Option<Bound<S>>>>,
    in_flight: Cell<u32>,
    stopping: Cell<bool>,
    /// Responses were pushed since the bell was last rung.
    unheard: Cell<bool>,
    /// Requests are being taken: the bell is rung when that is done.
    draining: Cell<bool>,
    fault: RefCell<Option<Reason>>,
    /// Closed when there is a reason to end.
    ended: (async_channel::Sender<()>, async_channel::Receiver<()>),
    me: Weak<Self>,
}

/// Why a client is let go of.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Reason {
    #[error("it broke the protocol: {0}")]
    Fault(#[from] Fault),
    #[error("it has more requests in flight than its ring has slots")]
    Flood,
    #[error("it went away")]
    Gone,
    #[error("its bell is broken: {0}")]
    Bell(Arc<std::io::Error>),
    #[error("the daemon stops")]
    Stopping,
}

/// A binding of the client.
struct Bound<S: StandingService> {
    bound: S::Bound,
    frame: Frame,
    /// The request that runs on it, by the client's number.
    asked: Cell<Option<u64>>,
}

impl<S: StandingService> Port<S> {
    pub(crate) fn new(service: S, ends: Ends) -> Rc<Self> {
        let Ends {
            requests,
            responses,
            bell,
            arena,
            counters,
        } = ends;
        Rc::new_cyclic(|me| Self {
            service,
            requests: RefCell::new(requests),
            responses: RefCell::new(responses),
            bell,
            arena,
            counters,
            handles: RefCell::default(),
            bindings: RefCell::default(),
            in_flight: Cell::new(0),
            stopping: Cell::new(false),
            unheard: Cell::new(false),
            draining: Cell::new(false),
            fault: RefCell::default(),
            ended: async_channel::bounded(1),
            me: me.clone(),
        })
    }

    /// Gives a model a number, for bindings to name.
    pub(crate) fn open(&self, handle: Handle) -> Result<u32, Error> {
        let mut handles = self.handles.borrow_mut();
        let free = handles.iter().position(Option::is_none).unwrap_or(handles.len());
        if free == limits::HANDLES_MAX as usize {
            return Err(Error::Overloaded {
                what: "the client's table of models".to_owned(),
                retry_after_ms: 0,
            });
        }
        if free == handles.len() {
            handles.push(None);
        }
        handles[free] = Some(handle);
        Ok(free as u32)
    }

    /// Forgets a model, and what was bound to it.
    pub(crate) fn close(&self, handle: u32) {
        if let Some(place) = self.handles.borrow_mut().get_mut(handle as usize) {
            *place = None;
        }
        let is_of = |bound: &mut Bound<S>| bound.frame.handle == handle && bound.asked.get().is_none();
        let mut bindings = self.bindings.borrow_mut();
        let gone: Vec<_> = bindings
            .iter_mut()
            .filter_map(|bound| bound.take_if(|bound| is_of(bound)))
            .collect();
        drop(bindings);
        drop(gone);
    }

    /// Whether a request lies there.
    pub(crate) fn has_request(&self) -> bool {
        !self.requests.borrow().is_empty()
    }

    /// Why the client is let go of, if it is.
    pub(crate) fn reason(&self) -> Option<Reason> {
        self.fault.borrow().clone()
    }

    /// The client is to be let go of; whoever [waits](Self::ended) for it does the rest.
    pub(crate) fn end(&self, reason: Reason) {
        self.fault.borrow_mut().get_or_insert(reason);
        self.ended.0.close();
    }

    /// From now on, refuses what is new.
    pub(crate) fn stop(&self) {
        self.stopping.set(true);
    }

    /// Resolves when the client is to be let go of.
    pub(crate) async fn ended(&self) {
        let _ = self.ended.1.recv().await;
    }

    /// Drops all that the client has bound, which cancels what it has asked.
    pub(crate) fn forget(&self) {
        // Outside the borrow: what is cancelled answers.
        let bindings = self.bindings.take();
        drop(bindings);
    }

    /// Whether nothing of it is being run.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.get() == 0
    }

    /// Takes up to `most` requests. True if there was one.
    pub(crate) fn drain(&self, most: usize) -> bool {
        if !self.has_request() || self.fault.borrow().is_some() {
            return false;
        }
        let Some(me) = self.me.upgrade() else { return false };
        let asker: Rc<dyn Asker> = me;
        self.draining.set(true);
        let mut taken = 0;
        while taken < most {
            let popped = self.requests.borrow_mut().pop();
            match popped {
                Ok(None) => break,
                Ok(Some(request)) => self.serve(request, &asker),
                Err(fault) => {
                    self.end(fault.into());
                    break;
                }
            }
            taken += 1;
        }
        self.draining.set(false);
        self.be_heard();
        self.service.asked_all();
        taken > 0
    }

    fn serve(&self, request: Request, asker: &Rc<dyn Asker>) {
        match request.op {
            Op::Infer => self.infer(&request, asker),
            Op::Bind => self.bind(&request),
            Op::Unbind => self.unbind(&request),
            Op::Cancel => self.cancel(&request),
        }
    }

    fn infer(&self, request: &Request, asker: &Rc<dyn Asker>) {
        self.counters.requests.fetch_add(1, Relaxed);
        if self.stopping.get() {
            let draining = Error::Unavailable("the daemon is stopping".to_owned());
            return self.refuse(request.id, request.binding, &draining);
        }
        let terms = match terms(request) {
            Ok(terms) => terms,
            Err(error) => return self.refuse(request.id, request.binding, &error),
        };
        let in_flight = self.in_flight.get();
        if in_flight >= self.responses.borrow().capacity() {
            return self.end(Reason::Flood);
        }
        let bindings = self.bindings.borrow();
        let Some(Some(bound)) = bindings.get(request.binding as usize) else {
            drop(bindings);
            return self.refuse(request.id, request.binding, &no_binding(request.binding));
        };
        if bound.asked.get().is_some() {
            let busy = Error::Conflict(format!(
                "binding {} is being asked already; wait for the answer, or bind other memory",
                request.binding
            ));
            drop(bindings);
            return self.refuse(request.id, u32::MAX, &busy);
        }
        bound.asked.set(Some(request.id));
        self.in_flight.set(in_flight + 1);
        let asked = self
            .service
            .ask(&bound.bound, terms, asker, u64::from(request.binding));
        if let Err(error) = asked {
            bound.asked.set(None);
            self.in_flight.set(in_flight);
            drop(bindings);
            self.refuse(request.id, request.binding, &error);
        }
    }

    fn bind(&self, request: &Request) {
        let mut text = None;
        let result = self.bound(request, &mut text);
        match result {
            Ok(bound) => {
                let mut bindings = self.bindings.borrow_mut();
                let at = request.binding as usize;
                if bindings.len() <= at {
                    bindings.resize_with(at + 1, || None);
                }
                let before = bindings[at].replace(bound);
                drop(bindings);
                drop(before);
                self.push(Response::new(request.id, Status::Ok));
            }
            Err(error) => {
                let text_bytes = text.map_or(0, |area: mlos_shm::TextArea| {
                    area.write(&self.arena, &error.to_string())
                });
                self.push(Response {
                    text_bytes,
                    ..Response::new(request.id, status(error.kind()))
                });
            }
        }
    }

    fn bound(&self, request: &Request, text: &mut Option<mlos_shm::TextArea>) -> Result<Bound<S>, Error> {
        if request.binding >= limits::BINDINGS_MAX {
            let most = limits::BINDINGS_MAX;
            return Err(Error::InvalidArgument(format!(
                "binding {} is not below {most}",
                request.binding
            )));
        }
        let read = Frame::read(
            &self.arena,
            request.frame_offset,
            request.frame_bytes,
            request.handle,
        );
        let frame = read.map_err(|bad| {
            *text = bad.text;
            Error::InvalidArgument(bad.problem.to_string())
        })?;
        *text = frame.text;
        let busy = self
            .bindings
            .borrow()
            .get(request.binding as usize)
            .is_some_and(|bound| bound.as_ref().is_some_and(|bound| bound.asked.get().is_some()));
        if busy {
            return Err(Error::Conflict(format!(
                "binding {} is being asked",
                request.binding
            )));
        }
        let handle = self
            .handles
            .borrow()
            .get(frame.handle as usize)
            .cloned()
            .flatten();
        let Handle { model, component } = handle.ok_or_else(|| {
            Error::InvalidArgument(format!("no model was opened under the number {}", frame.handle))
        })?;
        let inputs = frame.inputs.iter().map(|place| self.input(place.as_ref()));
        let outputs = frame.outputs.iter().map(|place| self.output(place.as_ref()));
        let binding = Binding {
            model,
            component,
            inputs: inputs.collect::<Result<_, _>>()?,
            outputs: outputs.collect::<Result<_, _>>()?,
        };
        Ok(Bound {
            bound: self.service.bind(binding)?,
            frame,
            asked: Cell::new(None),
        })
    }

    fn input(&self, place: Option<&TensorPlace>) -> Result<Option<Tensor>, Error> {
        let Some(place) = place else { return Ok(None) };
        let shape = place
            .shape
            .ok_or_else(|| Error::InvalidArgument("an input says no shape".to_owned()))?;
        let region = self.region(place)?;
        let tensor = Tensor::over(region, place.dtype, shape);
        tensor.map(Some).map_err(memory_error)
    }

    fn output(&self, place: Option<&TensorPlace>) -> Result<Option<Region>, Error> {
        let Some(place) = place else { return Ok(None) };
        if place.dtype == DType::String {
            return Err(Error::Unsupported(
                "text outputs are not offered to local clients".to_owned(),
            ));
        }
        self.region(place).map(Some)
    }

    fn region(&self, place: &TensorPlace) -> Result<Region, Error> {
        // The frame was checked against the arena, so both fit.
        Region::new(&self.arena, place.offset as usize, place.bytes as usize).map_err(memory_error)
    }

    fn unbind(&self, request: &Request) {
        let mut bindings = self.bindings.borrow_mut();
        let gone = bindings
            .get_mut(request.binding as usize)
            .and_then(|bound| bound.take_if(|bound| bound.asked.get().is_none()));
        let is_there = bindings
            .get(request.binding as usize)
            .is_some_and(Option::is_some);
        drop(bindings);
        let status = match (&gone, is_there) {
            (Some(_), _) => Status::Ok,
            (None, true) => Status::Conflict,
            (None, false) => Status::NotFound,
        };
        drop(gone);
        self.push(Response::new(request.id, status));
    }

    fn cancel(&self, request: &Request) {
        let bindings = self.bindings.borrow();
        let asked = bindings
            .iter()
            .flatten()
            .find(|bound| bound.asked.get() == Some(request.id));
        // What has been answered meanwhile needs no cancelling. An answer takes no borrow of the table for writing.
        if let Some(bound) = asked {
            self.service.cancel(&bound.bound);
        }
    }

    /// Answers a request that did not run, with the reason in the binding's text area if there is one.
    fn refuse(&self, id: u64, binding: u32, error: &Error) {
        self.counters.refused.fetch_add(1, Relaxed);
        let bindings = self.bindings.borrow();
        let bound = bindings.get(binding as usize).and_then(Option::as_ref);
        let text_bytes = bound.map_or(0, |bound| self.say(&bound.frame, error));
        self.push(Response {
            text_bytes,
            ..Response::new(id, status(error.kind()))
        });
    }

    fn say(&self, frame: &Frame, error: &Error) -> u32 {
        frame
            .text
            .map_or(0, |area| area.write(&self.arena, &error.to_string()))
    }

    fn push(&self, response: Response) {
        if self.responses.borrow_mut().push(response).is_err() {
            return self.end(Reason::Flood);
        }
        self.unheard.set(true);
        if !self.draining.get() {
            self.be_heard();
        }
    }

    fn be_heard(&self) {
        if self.unheard.replace(false) {
            self.bell.ring();
        }
    }

    /// Writes the shapes that are not what the frame says.
    fn write_shapes(&self, frame: &Frame, shapes: &[Option<mlos_tensor_mem::Shape>]) -> u8 {
        let mut flags = 0;
        let places = frame.outputs.iter().zip(shapes).enumerate();
        for (output, (place, shape)) in places {
            if let (Some(place), Some(shape)) = (place, shape)
                && place.shape.as_ref() != Some(shape)
            {
                frame.write_shape(&self.arena, output, shape);
                flags = FLAG_SHAPES_WRITTEN;
            }
        }
        flags
    }
}

impl<S: StandingService> Asker for Port<S> {
    fn answered(&self, number: u64, outcome: &Outcome<'_>) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        let bindings = self.bindings.borrow();
        let bound = bindings.get(number as usize).and_then(Option::as_ref);
        // None when the client was let go of: nobody listens.
        let Some((bound, id)) = bound.and_then(|bound| Some((bound, bound.asked.take()?))) else {
            return;
        };
        let (status, flags, text_bytes) = match outcome.result {
            Ok(shapes) => (Status::Ok, self.write_shapes(&bound.frame, shapes), 0),
            Err(error) => {
                self.counters.failed.fetch_add(1, Relaxed);
                (status(error.kind()), 0, self.say(&bound.frame, error))
            }
        };
        let timing = &outcome.timing;
        self.push(Response {
            status,
            class: outcome.class.index() as u8 + 1,
            flags,
            id,
            queue_ns: timing.queue_ns,
            compute_ns: timing.compute_ns,
            preemptions: timing.preemptions,
            parts: timing.parts,
            text_bytes,
        });
    }
}

fn terms(request: &Request) -> Result<Terms, Error> {
    let class = match request.class {
        0 => None,
        number => Some(*Class::ALL.get(usize::from(number) - 1).ok_or_else(|| {
            Error::InvalidArgument(format!(
                "class {number} is none of 0 (default), 1 (realtime) to 4 (batch)"
            ))
        })?),
    };
    let on_miss = match request.on_miss {
        0 => OnMiss::Reject,
        1 => OnMiss::Degrade,
        number => {
            return Err(Error::InvalidArgument(format!(
                "on_miss {number} is neither 0 (reject) nor 1 (degrade)"
            )));
        }
    };
    let deadline = (request.deadline_us > 0).then(|| Duration::from_micros(request.deadline_us));
    if deadline.is_some_and(|deadline| deadline.as_millis() > u128::from(mlos_api::limits::DEADLINE_MAX_MS)) {
        return Err(Error::InvalidArgument(format!(
            "a deadline of {} us is beyond an hour",
            request.deadline_us
        )));
    }
    Ok(Terms {
        class,
        deadline,
        on_miss,
    })
}

fn no_binding(number: u32) -> Error {
    Error::InvalidArgument(format!("nothing is bound under {number}"))
}

fn memory_error(error: mlos_tensor_mem::Error) -> Error {
    Error::InvalidArgument(error.to_string())
}

/// The engine's kinds and the protocol's numbers, in one place.
pub(crate) const fn status(kind: Kind) -> Status {
    match kind {
        Kind::InvalidArgument => Status::InvalidArgument,
        Kind::NotFound => Status::NotFound,
        Kind::Conflict => Status::Conflict,
        Kind::TooLarge => Status::TooLarge,
        Kind::Unsupported => Status::Unsupported,
        Kind::Overloaded => Status::Overloaded,
        Kind::DeadlineMiss => Status::DeadlineMiss,
        Kind::Unavailable => Status::Unavailable,
        Kind::Cancelled => Status::Cancelled,
        Kind::ModelFailed => Status::ModelFailed,
        Kind::Internal => Status::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_read_the_names_that_other_interfaces_use() {
        for kind in [
            Kind::InvalidArgument,
            Kind::NotFound,
            Kind::Conflict,
            Kind::TooLarge,
            Kind::Unsupported,
            Kind::Overloaded,
            Kind::DeadlineMiss,
            Kind::Unavailable,
            Kind::Cancelled,
            Kind::ModelFailed,
            Kind::Internal,
        ] {
            assert_eq!(status(kind).name(), kind.name());
        }
    }
}
