//! A connection: the rings, who waits for which answer, and how.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use mlos_shm::control::socket::Control;
use mlos_shm::control::{ClientMessage, ClientSide, Close, DaemonMessage, Open, Opened};
use mlos_shm::{Arena, ClientBell, Consumer, Fault, Producer, Request, Response, Sleep, Status, Woken};

use crate::flights::{Flights, Id, Landing};
use crate::numbers::Numbers;
use crate::tensors::Tensors;
use crate::{Error, Options, limits};

/// What a client, its models and its requests share. Its operations take turns.
#[derive(Debug)]
pub(crate) struct Connection {
    pub arena: Arena,
    pub bell: ClientBell,
    pub slots: u32,
    pub daemon: String,
    pub timeout: Duration,
    spin: Duration,
    core: Mutex<Core>,
    control: Mutex<Talk>,
}

/// What only one thread may have at a time.
#[derive(Debug)]
pub(crate) struct Core {
    requests: Producer<Request>,
    responses: Consumer<Response>,
    pub flights: Flights,
    numbers: Numbers,
    /// Numbers that could not be given back, as too much was in flight.
    unbind_due: Vec<u32>,
    /// Why there will be no more answers.
    ended: Option<String>,
    /// To be woken when the lock is free.
    wakers: Vec<Waker>,
}

#[derive(Debug)]
struct Talk {
    control: Control,
    token: u32,
}

impl Connection {
    pub(crate) fn join(path: &Path, options: &Options) -> Result<Self, Error> {
        let joined = ClientSide::join(path, options.hello(), options.timeout);
        let (side, control, welcome) = joined.map_err(|error| match error {
            mlos_shm::Error::Refused { status, text } => Error::Refused { status, text },
            source => Error::Connect {
                path: path.to_owned(),
                source,
            },
        })?;
        let core = Core {
            requests: side.requests,
            responses: side.responses,
            flights: Flights::new(welcome.slots),
            numbers: Numbers::new(welcome.bindings_max),
            unbind_due: Vec::new(),
            ended: None,
            wakers: Vec::new(),
        };
        Ok(Self {
            arena: side.arena,
            bell: side.bell,
            slots: welcome.slots,
            daemon: welcome.daemon,
            timeout: options.timeout,
            spin: options.spin,
            core: Mutex::new(core),
            control: Mutex::new(Talk { control, token: 0 }),
        })
    }

    /// Runs with the rings; wakes tasks after.
    pub(crate) fn with<R>(&self, run: impl FnOnce(&mut Core) -> R) -> R {
        // Each change is whole before anything can panic.
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let result = run(&mut core);
        if core.wakers.is_empty() {
            return result;
        }
        let wakers = std::mem::take(&mut core.wakers);
        drop(core);
        wakers.into_iter().for_each(Waker::wake);
        result
    }

    // --- the control socket ---

    /// Asks for a model.
    pub(crate) fn open(&self, model: &str, component: Option<&str>) -> Result<Opened, Error> {
        let mut talk = self.talk();
        talk.token = talk.token.wrapping_add(1).max(1);
        let token = talk.token;
        let open = Open {
            token,
            model: model.to_owned(),
            component: component.map(str::to_owned),
        };
        let answer = talk.ask(open, self.timeout);
        drop(talk);
        answer.map_err(|error| match error {
            mlos_shm::Error::Refused { status, text } => Error::Refused { status, text },
            mlos_shm::Error::TimedOut { .. } => Error::TimedOut { waited: self.timeout },
            mlos_shm::Error::PeerGone | mlos_shm::Error::Fault(_) => {
                self.with(|core| self.end(core, error.to_string()))
            }
            other => other.into(),
        })
    }

    /// Gives a model back. That it cannot be said to a daemon that is gone does not matter.
    pub(crate) fn close(&self, handle: u32) {
        let close = ClientMessage::Close(Close { handle });
        drop(self.talk().control.send(&close, Duration::ZERO));
    }

    fn talk(&self) -> MutexGuard<'_, Talk> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // --- the rings ---

    /// Sends a request whose id is yet to be given, with the memory that it is about. An error gives the memory back.
    pub(crate) fn submit(
        &self,
        core: &mut Core,
        request: Request,
        tensors: Option<Box<Tensors>>,
    ) -> Result<Id, (Option<Box<Tensors>>, Error)> {
        if let Err(error) = core.check() {
            return Err((tensors, error));
        }
        if core.flights.next().is_none()
            && let Err(error) = self.make_room(core)
        {
            return Err((tensors, error));
        }
        let Some(id) = core.flights.next() else {
            return Err((tensors, Error::TooManyInFlight { slots: self.slots }));
        };
        if let Err(error) = self.push(core, Request { id: id.0, ..request }, self.timeout) {
            return Err((tensors, error));
        }
        core.flights.launch(id, tensors);
        match self.bell.ring() {
            Ok(_) => Ok(id),
            Err(error) => Err((None, self.end(core, error.to_string()))),
        }
    }

    /// Everything that may be in flight is: takes what was answered, and waits for what nobody else waits for, as unbinds
    /// and dropped requests.
    fn make_room(&self, core: &mut Core) -> Result<(), Error> {
        self.collect(core);
        if core.flights.next().is_none() && core.flights.are_some_abandoned() {
            self.wait(core, self.timeout, |flights| flights.next().is_some())?;
        }
        Ok(())
    }

    /// There is room, but for a moment in which the daemon has not read what was sent before: cancels are no requests in
    /// flight, but take a slot each.
    fn push(&self, core: &mut Core, request: Request, patience: Duration) -> Result<(), Error> {
        if core.requests.push(request).is_ok() {
            return Ok(());
        }
        let start = Instant::now();
        while core.requests.push(request).is_err() {
            if start.elapsed() > patience {
                return Err(Error::TimedOut { waited: patience });
            }
            drop(self.bell.ring());
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Asks the daemon to stop working on a request, whose answer still comes. Given up where the daemon does not read
    /// what was sent before: nothing is lost by it but the daemon's time.
    pub(crate) fn cancel(&self, core: &mut Core, id: Id) {
        let cancel = Request::cancel(id.0);
        if core.ended.is_none() && self.push(core, cancel, limits::CANCEL_PATIENCE).is_ok() {
            drop(self.bell.ring());
        }
    }

    /// Takes all answers that are there.
    pub(crate) fn collect(&self, core: &mut Core) {
        while self.collect_one(core) {}
    }

    fn collect_one(&self, core: &mut Core) -> bool {
        match core.responses.pop() {
            Ok(None) => false,
            Ok(Some(response)) => {
                self.land(core, response);
                true
            }
            Err(fault) => {
                self.end(core, fault.to_string());
                false
            }
        }
    }

    fn land(&self, core: &mut Core, response: Response) {
        match core.flights.land(response) {
            Landing::Landed(None) => {}
            // The place of an unbind is free for the next.
            Landing::Unwanted(None) => self.unbind_due(core),
            Landing::Landed(Some(waker)) => core.wakers.push(waker),
            Landing::Unwanted(Some(tensors)) => self.unbind(core, tensors.binding),
            Landing::Unknown => {
                self.end(
                    core,
                    format!("it answered request {:#x}, which there is not", response.id),
                );
            }
        }
    }

    /// Waits until something holds of the flights: looks for a while, then sleeps.
    pub(crate) fn wait(
        &self,
        core: &mut Core,
        timeout: Duration,
        is_done: impl Fn(&Flights) -> bool,
    ) -> Result<(), Error> {
        let result = match self.look(core, timeout, &is_done) {
            Some(result) => result,
            None => self.sleep(core, timeout, &is_done),
        };
        // A sleep takes the word from tasks that wait for the descriptor.
        self.rest(core);
        result
    }

    /// Looks at the ring for as long as the budget says. `None`: not yet.
    fn look(
        &self,
        core: &mut Core,
        timeout: Duration,
        is_done: &impl Fn(&Flights) -> bool,
    ) -> Option<Result<(), Error>> {
        let budget = self.spin.min(timeout);
        let mut start = None;
        loop {
            for _ in 0..limits::LOOKS_PER_CLOCK {
                if is_done(&core.flights) {
                    return Some(Ok(()));
                }
                if !self.collect_one(core) {
                    if let Err(error) = core.check() {
                        return Some(Err(error));
                    }
                    if budget.is_zero() {
                        return None;
                    }
                    std::hint::spin_loop();
                }
            }
            // The clock is not read for an answer that comes at once.
            if start.get_or_insert_with(Instant::now).elapsed() >= budget {
                return None;
            }
        }
    }

    fn sleep(
        &self,
        core: &mut Core,
        timeout: Duration,
        is_done: &impl Fn(&Flights) -> bool,
    ) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            self.bell.arm(Sleep::OnWord);
            self.collect(core);
            if is_done(&core.flights) {
                self.bell.disarm();
                return Ok(());
            }
            core.check()?;
            let left = timeout.saturating_sub(start.elapsed());
            let woken = if left.is_zero() {
                Ok(Woken::TimedOut)
            } else {
                self.bell.wait(Some(left))
            };
            self.bell.disarm();
            match woken {
                Ok(Woken::Maybe) => {}
                Ok(Woken::TimedOut) => return Err(Error::TimedOut { waited: timeout }),
                Ok(Woken::DaemonGone) => return self.last_look(core, is_done),
                Err(error) => return Err(self.end(core, error.to_string())),
            }
        }
    }

    /// What a daemon has answered before it went is still in the ring.
    fn last_look(&self, core: &mut Core, is_done: &impl Fn(&Flights) -> bool) -> Result<(), Error> {
        self.collect(core);
        if is_done(&core.flights) {
            return Ok(());
        }
        let reason = self.farewell();
        Err(self.end(core, reason))
    }

    /// Why the daemon went, if it said so.
    fn farewell(&self) -> String {
        let said = self
            .control
            .try_lock()
            .ok()
            .map(|talk| talk.control.receive(Duration::ZERO));
        match said {
            Some(Ok((DaemonMessage::Refused(refused), _))) => refused.text,
            _ => "the daemon is gone".to_owned(),
        }
    }

    /// No answer will come any more. Memory that the daemon had stays its own: it may still be at work on it.
    pub(crate) fn end(&self, core: &mut Core, reason: String) -> Error {
        let reason = core.ended.get_or_insert(reason).clone();
        let Core { flights, wakers, .. } = core;
        wakers.extend(flights.wakers());
        Error::Gone { reason }
    }

    // --- tasks ---

    /// If tasks wait, says that the descriptor shall be rung, and looks once more.
    pub(crate) fn rest(&self, core: &mut Core) {
        while core.flights.are_awaited() && core.ended.is_none() {
            self.bell.arm(Sleep::OnDescriptor);
            if core.responses.is_empty() {
                return;
            }
            self.bell.disarm();
            self.collect(core);
        }
    }

    /// The descriptor is readable.
    pub(crate) fn on_readable(&self) -> Result<(), Error> {
        let is_there = self.bell.clear();
        self.with(|core| {
            self.collect(core);
            if !is_there && core.ended.is_none() {
                let reason = self.farewell();
                return Err(self.end(core, reason));
            }
            self.rest(core);
            core.check()
        })
    }

    // --- bindings ---

    /// A number for a binding.
    pub(crate) fn number(&self, core: &mut Core) -> Result<u32, Error> {
        core.check()?;
        self.collect(core);
        self.unbind_due(core);
        core.numbers.take()
    }

    /// Says as many of the unbinds that are due as there is room for.
    fn unbind_due(&self, core: &mut Core) {
        while core.flights.next().is_some()
            && let Some(number) = core.unbind_due.pop()
        {
            self.unbind(core, number);
        }
    }

    /// A number that the daemon does not know.
    pub(crate) fn give_back(&self, core: &mut Core, number: u32) {
        core.numbers.give_back(number);
    }

    /// Tells the daemon to forget a binding, now or when there is room to say it.
    pub(crate) fn unbind(&self, core: &mut Core, number: u32) {
        if core.ended.is_some() {
            return;
        }
        // Whatever is said of that number after it comes after it in the ring, so the number is free at once.
        if core.flights.next().is_some() && self.submit(core, Request::unbind(0, number), None).is_ok() {
            core.numbers.give_back(number);
        } else {
            core.unbind_due.push(number);
        }
    }

    /// Binds a frame, and waits for the answer.
    pub(crate) fn bind(&self, core: &mut Core, tensors: Box<Tensors>) -> Result<Box<Tensors>, BindError> {
        let frame = &tensors.frame;
        let request = Request::bind(0, tensors.binding, frame.handle, frame.offset(), frame.bytes());
        let id = self
            .submit(core, request, Some(tensors))
            .map_err(|(tensors, error)| BindError { tensors, error })?;
        if let Err(error) = self.wait(core, self.timeout, |flights| flights.has_landed(id)) {
            core.flights.abandon(id);
            return Err(BindError { tensors: None, error });
        }
        let Some((mut tensors, response)) = core.flights.take(id) else {
            unreachable!("it has landed, and had memory");
        };
        if response.status == Status::Ok {
            tensors.is_stale = false;
            return Ok(tensors);
        }
        let error = tensors.refusal(&response);
        Err(BindError {
            tensors: Some(tensors),
            error,
        })
    }
}

/// Why a frame was not bound; with the memory, if it came back.
#[derive(Debug)]
pub(crate) struct BindError {
    pub tensors: Option<Box<Tensors>>,
    pub error: Error,
}

impl Core {
    /// Whether answers will still come.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &self.ended {
            None => Ok(()),
            Some(reason) => Err(Error::Gone {
                reason: reason.clone(),
            }),
        }
    }
}

impl Talk {
    fn ask(&self, open: Open, timeout: Duration) -> Result<Opened, mlos_shm::Error> {
        let token = open.token;
        self.control.send(&ClientMessage::Open(open), timeout)?;
        loop {
            let (message, _) = self.control.receive(timeout)?;
            match message {
                DaemonMessage::Opened(opened) if opened.token == token => return Ok(opened),
                DaemonMessage::Refused(refused) if refused.token == token || refused.token == 0 => {
                    let status = refused.status();
                    let text = refused.text;
                    return Err(mlos_shm::Error::Refused { status, text });
                }
                // Answers to questions that timed out.
                DaemonMessage::Opened(_) | DaemonMessage::Refused(_) => {}
                other @ DaemonMessage::Welcome(_) => {
                    let (expected, got) = ("opened or refused", other.name());
                    return Err(Fault::OutOfTurn { expected, got }.into());
                }
            }
        }
    }
}
