//! A request whose memory is laid out and checked: fill it in, run it, read it, as often as you like.

use std::future::poll_fn;
use std::ptr::NonNull;
use std::task::{Context, Poll};
use std::time::Duration;

use mlos_shm::{Element, Request, Shape, Status};

use crate::connection::{Connection, Core};
use crate::flights::Id;
use crate::model::Model;
use crate::outputs::Outputs;
use crate::pending::Pending;
use crate::tensors::{Part, Tensors};
use crate::terms::{Terms, Timing};
use crate::{Direction, Error, strings};

/// A request that the daemon has checked and knows by number. Its tensors lie in the arena, where the model reads and
/// writes them.
///
/// While no run is in flight the memory is the client's. [`infer`](Self::infer) borrows the request until the answer is
/// there; [`submit`](Self::submit) takes it and makes a [`Pending`] of it, which gives no access to memory; waiting gives it
/// back. So no safe code touches memory that the daemon is using. Dropping it frees its memory and number, once the
/// daemon is done.
#[derive(Debug)]
pub struct Bound {
    model: Model,
    memory: Memory,
    /// How the last run was served, if it succeeded.
    timing: Option<Timing>,
}

/// Whose the tensors are.
#[derive(Debug)]
enum Memory {
    Ours(Box<Tensors>),
    /// In flight, kept in the connection's table.
    Daemons(Id),
    /// Lost with a connection that ended.
    Nobodys,
}

impl Bound {
    pub(crate) fn new(model: Model, tensors: Box<Tensors>) -> Self {
        Self {
            model,
            memory: Memory::Ours(tensors),
            timing: None,
        }
    }

    /// The model that it asks.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    // --- inputs ---

    /// An input's elements, where they lie, to fill in.
    ///
    /// # Errors
    /// There is no such input, it has another type, or the daemon has the memory.
    pub fn input_mut<E: Element>(&mut self, name: &str) -> Result<&mut [E], Error> {
        let at = self.model.signature().position(Direction::Input, name)?;
        self.input_at_mut(at)
    }

    /// The same by position.
    ///
    /// # Errors
    /// As [`input_mut`](Self::input_mut).
    ///
    /// # Panics
    /// When the model has no so many inputs.
    pub fn input_at_mut<E: Element>(&mut self, at: usize) -> Result<&mut [E], Error> {
        let info = &self.model.signature().inputs[at];
        if info.dtype != E::DTYPE {
            return Err(Error::WrongType {
                direction: Direction::Input,
                name: info.name.clone(),
                expected: info.dtype,
                got: E::DTYPE,
            });
        }
        Ok(self.input_part(at)?.loan.elements_mut::<E>()?)
    }

    /// An input's bytes, whatever its type is but strings, whose layout [`set_strings`](Self::set_strings) writes.
    ///
    /// # Errors
    /// As [`input_mut`](Self::input_mut).
    pub fn input_bytes_mut(&mut self, name: &str) -> Result<&mut [u8], Error> {
        let at = self.model.signature().position(Direction::Input, name)?;
        Ok(self.input_part(at)?.loan.bytes_mut())
    }

    /// The elements of a string input, in the order of its shape. If their length together is another than before, the
    /// next run is bound anew.
    ///
    /// # Errors
    /// As [`input_mut`](Self::input_mut); another number of strings than elements; no room.
    pub fn set_strings<S: AsRef<[u8]>>(&mut self, name: &str, given: &[S]) -> Result<(), Error> {
        let at = self.model.signature().position(Direction::Input, name)?;
        let info = &self.model.signature().inputs[at];
        if info.dtype.size_bytes().is_some() {
            return Err(Error::WrongType {
                direction: Direction::Input,
                name: name.to_owned(),
                expected: info.dtype,
                got: mlos_shm::DType::String,
            });
        }
        let needed = strings::packed_len(given);
        let part = self.input_part(at)?;
        let expected = part.shape.and_then(|shape| shape.elements().ok()).unwrap_or(0);
        let (room, got) = (part.loan.len(), given.len());
        if got != expected {
            let name = name.to_owned();
            return Err(Error::WrongCount { name, expected, got });
        }
        if needed > room {
            let name = name.to_owned();
            return Err(Error::NoRoom { name, needed, room });
        }
        strings::pack(given, part.loan.bytes_mut());
        if part.used != needed {
            part.used = needed;
            self.restate_input(at, needed)?;
        }
        Ok(())
    }

    /// An input has another length from now on.
    fn restate_input(&mut self, at: usize, bytes: usize) -> Result<(), Error> {
        let tensors = self.memory.ours_mut(&self.model)?;
        if let Some(place) = &mut tensors.frame.inputs[at] {
            place.bytes = bytes as u64;
        }
        tensors.is_stale = true;
        Ok(())
    }

    /// Where an input lies and how many bytes it has, for bindings to other languages. Good until this is dropped; what
    /// is there is the daemon's while a run is in flight.
    ///
    /// # Errors
    /// It was left out, or the daemon has the memory.
    pub fn input_place(&self, at: usize) -> Result<(NonNull<u8>, usize, Shape), Error> {
        self.place(Direction::Input, at)
    }

    /// The same of an output, with the shape that it has now.
    ///
    /// # Errors
    /// As [`input_place`](Self::input_place), or the shape is not known before a run.
    pub fn output_place(&self, at: usize) -> Result<(NonNull<u8>, usize, Shape), Error> {
        self.place(Direction::Output, at)
    }

    fn place(&self, direction: Direction, at: usize) -> Result<(NonNull<u8>, usize, Shape), Error> {
        let tensors = self.memory.ours(&self.model)?;
        let parts = match direction {
            Direction::Input => &tensors.inputs,
            Direction::Output => &tensors.outputs,
        };
        let part = parts.get(at).and_then(Option::as_ref);
        let part = part.ok_or_else(|| left_out(&self.model, direction, at))?;
        let shape = part.shape.ok_or(Error::NoOutputs)?;
        let dtype = self.model.signature().tensors(direction)[at].dtype;
        let bytes = shape.byte_len(dtype).unwrap_or(part.used).min(part.loan.len());
        Ok((part.loan.as_ptr(), bytes, shape))
    }

    fn input_part(&mut self, at: usize) -> Result<&mut Part, Error> {
        let Self { model, memory, .. } = self;
        let tensors = memory.ours_mut(model)?;
        tensors.inputs[at]
            .as_mut()
            .ok_or_else(|| left_out(model, Direction::Input, at))
    }

    // --- runs ---

    /// Runs the model on what the inputs hold, and waits. The outputs are read where the model wrote them.
    ///
    /// # Errors
    /// The daemon's refusal, with its kind and text; [`Error::TimedOut`], after which the request stays busy until its
    /// answer comes; [`Error::Gone`].
    pub fn infer(&mut self, terms: &Terms) -> Result<Outputs<'_>, Error> {
        let Self {
            model,
            memory,
            timing,
        } = self;
        let connection = model.connection();
        *timing = None;
        let run = connection.with(|core| {
            let id = start(connection, core, memory, terms)?;
            finish(connection, core, memory, id, connection.timeout)
        });
        *timing = Some(run?);
        self.outputs()
    }

    /// Sends the request and goes on; others may be sent before its answer is waited for. That it could not be sent is
    /// said by the wait.
    pub fn submit(mut self, terms: &Terms) -> Pending {
        let Self {
            model,
            memory,
            timing,
        } = &mut self;
        let connection = model.connection();
        *timing = None;
        let started = connection.with(|core| start(connection, core, memory, terms));
        Pending::new(self, started)
    }

    /// Runs the model and awaits the answer, under any executor: somebody has to drive the client's
    /// [`Driver`](crate::Driver). Dropped before its end, the request stays busy until its answer comes.
    ///
    /// # Errors
    /// As [`infer`](Self::infer), but without a timeout.
    pub async fn infer_async(&mut self, terms: &Terms) -> Result<Outputs<'_>, Error> {
        let Self {
            model,
            memory,
            timing,
        } = &mut *self;
        let connection = model.connection();
        *timing = None;
        let id = connection.with(|core| start(connection, core, memory, terms))?;
        *timing = Some(poll_fn(|context| poll(connection, memory, id, context)).await?);
        self.outputs()
    }

    /// What the last run gave.
    ///
    /// # Errors
    /// [`Error::NoOutputs`] when it did not succeed.
    pub fn outputs(&self) -> Result<Outputs<'_>, Error> {
        let tensors = self.memory.ours(&self.model)?;
        let timing = self.timing.ok_or(Error::NoOutputs)?;
        Ok(Outputs::new(self.model.signature(), tensors, timing))
    }

    pub(crate) fn connection(&self) -> &Connection {
        self.model.connection()
    }

    pub(crate) fn wait(&mut self, id: Id, timeout: Duration) -> Result<Timing, Error> {
        let Self {
            model,
            memory,
            timing,
        } = self;
        let connection = model.connection();
        let run = connection.with(|core| finish(connection, core, memory, id, timeout))?;
        *timing = Some(run);
        Ok(run)
    }

    pub(crate) fn poll(&mut self, id: Id, context: &mut Context<'_>) -> Poll<Result<Timing, Error>> {
        let Self {
            model,
            memory,
            timing,
        } = self;
        let polled = poll(model.connection(), memory, id, context);
        if let Poll::Ready(Ok(run)) = &polled {
            *timing = Some(*run);
        }
        polled
    }
}

impl Memory {
    fn ours(&self, model: &Model) -> Result<&Tensors, Error> {
        match self {
            Self::Ours(tensors) => Ok(tensors),
            _ => Err(not_ours(model)),
        }
    }

    fn ours_mut(&mut self, model: &Model) -> Result<&mut Tensors, Error> {
        match self {
            Self::Ours(tensors) => Ok(tensors),
            _ => Err(not_ours(model)),
        }
    }
}

fn not_ours(model: &Model) -> Error {
    match model.connection().with(|core| core.check()) {
        Err(gone) => gone,
        Ok(()) => Error::Busy,
    }
}

fn left_out(model: &Model, direction: Direction, at: usize) -> Error {
    let infos = model.signature().tensors(direction);
    let name = infos
        .get(at)
        .map_or_else(|| at.to_string(), |info| info.name.clone());
    Error::LeftOut { direction, name }
}

/// Gives the memory to the daemon, with the request that says so.
fn start(connection: &Connection, core: &mut Core, memory: &mut Memory, terms: &Terms) -> Result<Id, Error> {
    if let Memory::Daemons(id) = *memory {
        reclaim(connection, core, memory, id)?;
    }
    core.check()?;
    let mut tensors = match std::mem::replace(memory, Memory::Nobodys) {
        Memory::Ours(tensors) => tensors,
        _ => return Err(Error::Busy),
    };
    if let Err(error) = tensors.prepare() {
        *memory = Memory::Ours(tensors);
        return Err(error);
    }
    if tensors.is_stale {
        tensors = rebind(connection, core, memory, tensors)?;
    }
    let request = Request {
        class: terms.class.map_or(0, |class| class as u8),
        on_miss: terms.on_miss as u8,
        deadline_us: terms.deadline_us(),
        ..Request::infer(0, tensors.binding)
    };
    match connection.submit(core, request, Some(tensors)) {
        Ok(id) => {
            *memory = Memory::Daemons(id);
            Ok(id)
        }
        Err((tensors, error)) => {
            *memory = tensors.map_or(Memory::Nobodys, Memory::Ours);
            Err(error)
        }
    }
}

fn rebind(
    connection: &Connection,
    core: &mut Core,
    memory: &mut Memory,
    mut tensors: Box<Tensors>,
) -> Result<Box<Tensors>, Error> {
    if let Err(error) = tensors.write_frame() {
        *memory = Memory::Ours(tensors);
        return Err(error);
    }
    connection.bind(core, tensors).map_err(|failed| {
        *memory = failed.tensors.map_or(Memory::Nobodys, Memory::Ours);
        failed.error
    })
}

/// Takes back the memory of a run whose answer nobody waits for any more, if it has come.
fn reclaim(connection: &Connection, core: &mut Core, memory: &mut Memory, id: Id) -> Result<(), Error> {
    connection.collect(core);
    core.check()?;
    let (tensors, _) = core.flights.take(id).ok_or(Error::Busy)?;
    *memory = Memory::Ours(tensors);
    Ok(())
}

/// Waits for the answer.
fn finish(
    connection: &Connection,
    core: &mut Core,
    memory: &mut Memory,
    id: Id,
    timeout: Duration,
) -> Result<Timing, Error> {
    let waited = connection.wait(core, timeout, |flights| flights.has_landed(id));
    if let Err(error) = waited {
        connection.cancel(core, id);
        return Err(error);
    }
    land(core, memory, id).unwrap_or(Err(Error::Busy))
}

/// Takes the answer, if it has come.
fn land(core: &mut Core, memory: &mut Memory, id: Id) -> Option<Result<Timing, Error>> {
    let (mut tensors, response) = core.flights.take(id)?;
    let result = match response.status {
        Status::Ok => tensors.read_shapes(&response).map(|()| Timing::of(&response)),
        _ => Err(tensors.refusal(&response)),
    };
    *memory = Memory::Ours(tensors);
    Some(result)
}

fn poll(
    connection: &Connection,
    memory: &mut Memory,
    id: Id,
    context: &mut Context<'_>,
) -> Poll<Result<Timing, Error>> {
    connection.with(|core| {
        connection.collect(core);
        if !core.flights.has_landed(id) {
            core.flights.watch(id, context.waker());
            // Whoever watches says that it sleeps, and that looks once more.
            connection.rest(core);
        }
        match land(core, memory, id) {
            Some(result) => Poll::Ready(result),
            None => match core.check() {
                Err(gone) => Poll::Ready(Err(gone)),
                Ok(()) => Poll::Pending,
            },
        }
    })
}

impl Drop for Bound {
    fn drop(&mut self) {
        let connection = self.model.connection();
        let memory = std::mem::replace(&mut self.memory, Memory::Nobodys);
        connection.with(|core| match memory {
            Memory::Ours(tensors) => connection.unbind(core, tensors.binding),
            Memory::Daemons(id) => match core.flights.abandon(id) {
                // Its answer had come.
                Some(tensors) => connection.unbind(core, tensors.binding),
                None => connection.cancel(core, id),
            },
            Memory::Nobodys => {}
        });
    }
}
