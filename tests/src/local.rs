//! One connection over shared memory, on the protocol itself: what a client library does, and what it never would.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use mlos_shm::control::socket::Control;
use mlos_shm::control::{ClientMessage, ClientSide, Close, DaemonMessage, Hello, Open, Opened, Welcome};
use mlos_shm::{
    ArenaStats, DType, Error, Frame, Loan, Op, Request, Response, Shape, Sleep, Status, TensorPlace, Woken,
};
use mlos_zoo::Input;

use crate::limits;

/// A connection. It greets as `tests`, and waits as long as anything may take.
#[derive(Debug)]
pub struct Local {
    /// Its rings, its bell and its arena.
    pub side: ClientSide,
    /// Its socket.
    pub control: Control,
    /// What it was given.
    pub welcome: Welcome,
    request: u64,
    /// Answers that came before they were waited for.
    early: HashMap<u64, Response>,
}

/// A binding, with the memory that it names.
#[derive(Debug)]
pub struct Bound {
    /// Its number.
    pub number: u32,
    /// What was written for the daemon.
    pub frame: Frame,
    /// Inputs, in the order of the model.
    pub inputs: Vec<Loan>,
    /// Outputs, in the order of the model.
    pub outputs: Vec<Loan>,
    _frame_loan: Loan,
}

/// What is asked for besides the binding.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asking {
    /// 0 for the model's default, 1 (realtime) to 4 (batch).
    pub class: u8,
    /// 0 for none.
    pub deadline_us: u64,
    /// 0 reject, 1 degrade.
    pub on_miss: u8,
}

/// A tensor of floats to give as an input.
#[must_use]
pub fn given(shape: &[usize], elements: &[f32]) -> Input {
    Input::f32("x", shape, |index| elements[index % elements.len()])
}

/// Room for texts behind each frame.
const TEXT_BYTES: usize = 256;

impl Local {
    /// Connects with what the daemon gives to those who ask for nothing.
    ///
    /// # Panics
    /// When the daemon refuses.
    #[must_use]
    #[track_caller]
    pub fn join(path: &Path) -> Self {
        Self::try_join(path, 0, 0).unwrap()
    }

    /// Connects, with so many slots and so large an arena.
    ///
    /// # Errors
    /// What the daemon, or the way to it, has against it.
    pub fn try_join(path: &Path, slots: u32, arena_bytes: u64) -> Result<Self, Error> {
        let hello = Hello {
            features: 0,
            slots,
            arena_bytes,
            name: "tests".to_owned(),
        };
        let (side, control, welcome) = ClientSide::join(path, hello, limits::SOCKET)?;
        Ok(Self {
            side,
            control,
            welcome,
            request: 0,
            early: HashMap::new(),
        })
    }

    /// Opens a model.
    ///
    /// # Errors
    /// What the daemon says against it.
    ///
    /// # Panics
    /// When the connection fails.
    #[track_caller]
    pub fn try_open(&self, model: &str) -> Result<Opened, (Status, String)> {
        let open = Open {
            token: 7,
            model: model.to_owned(),
            component: None,
        };
        self.control
            .send(&ClientMessage::Open(open), limits::SOCKET)
            .unwrap();
        match self.control.receive(limits::SOCKET).unwrap().0 {
            DaemonMessage::Opened(opened) => {
                assert_eq!(opened.token, 7);
                Ok(opened)
            }
            DaemonMessage::Refused(refused) => Err((refused.status(), refused.text)),
            DaemonMessage::Welcome(_) => panic!("welcomed twice"),
        }
    }

    /// Opens a model that is there.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    #[track_caller]
    pub fn open(&self, model: &str) -> Opened {
        self.try_open(model).unwrap()
    }

    /// Gives a model back.
    ///
    /// # Panics
    /// When the connection fails.
    pub fn close(&self, opened: &Opened) {
        let close = Close {
            handle: opened.handle,
        };
        self.control
            .send(&ClientMessage::Close(close), limits::SOCKET)
            .unwrap();
    }

    /// Lays tensors out and binds them: inputs as given, and for each output so much room, of a shape that the daemon shall say.
    ///
    /// # Errors
    /// What the daemon, or the arena, has against it.
    ///
    /// # Panics
    /// When there are more inputs than the model has.
    pub fn try_bind(
        &mut self,
        number: u32,
        opened: &Opened,
        inputs: &[Input],
        room: &[usize],
    ) -> Result<Bound, (Status, String)> {
        let mut bound = self.lay_out(number, opened, inputs, room).map_err(refused)?;
        let request = Request::bind(
            0,
            number,
            opened.handle,
            bound.frame.offset(),
            bound.frame.bytes(),
        );
        let id = self.push(request);
        let response = self.wait(id).map_err(refused)?;
        match response.status {
            Status::Ok => Ok(bound),
            status => Err((status, self.text(&mut bound, &response))),
        }
    }

    /// The frame and the memory of a binding, which the daemon is not told of.
    ///
    /// # Errors
    /// What the arena has against it.
    ///
    /// # Panics
    /// When there are more inputs than the model has.
    pub fn lay_out(
        &mut self,
        number: u32,
        opened: &Opened,
        inputs: &[Input],
        room: &[usize],
    ) -> Result<Bound, Error> {
        let mut loans = Vec::new();
        let mut places = Vec::new();
        for (input, info) in inputs.iter().zip(&opened.inputs) {
            let mut loan = self.side.arena.loan(input.data.len())?;
            loan.bytes_mut().copy_from_slice(&input.data);
            places.push(Some(TensorPlace {
                offset: loan.offset(),
                bytes: input.data.len() as u64,
                dtype: dtype(info.dtype),
                shape: Some(Shape::new(&input.shape)?),
            }));
            loans.push(loan);
        }
        let (mut outputs, mut output_places) = (Vec::new(), Vec::new());
        for (bytes, info) in room.iter().zip(&opened.outputs) {
            let loan = self.side.arena.loan(*bytes)?;
            output_places.push(Some(TensorPlace {
                offset: loan.offset(),
                bytes: *bytes as u64,
                dtype: dtype(info.dtype),
                shape: None,
            }));
            outputs.push(loan);
        }
        let mut frame = Frame::new(opened.handle, places, output_places);
        let frame_loan = self.side.arena.loan(frame.bytes() as usize + TEXT_BYTES)?;
        frame.write(&frame_loan)?;
        Ok(Bound {
            number,
            frame,
            inputs: loans,
            outputs,
            _frame_loan: frame_loan,
        })
    }

    /// Binds what is right.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    #[track_caller]
    pub fn bind(&mut self, number: u32, opened: &Opened, inputs: &[Input], room: &[usize]) -> Bound {
        self.try_bind(number, opened, inputs, room).unwrap()
    }

    /// Sends a request under a new number, which it returns. A cancellation keeps the number that it names.
    ///
    /// # Panics
    /// When there is no slot for it for as long as anything may take.
    #[track_caller]
    pub fn push(&mut self, request: Request) -> u64 {
        let id = match request.op {
            Op::Cancel => request.id,
            _ => {
                self.request += 1;
                self.request
            }
        };
        let start = Instant::now();
        while self.side.requests.push(Request { id, ..request }).is_err() {
            assert!(start.elapsed() < limits::WAIT, "no slot is ever free");
            let _ = self.side.bell.ring();
            std::thread::yield_now();
        }
        self.side.bell.ring().unwrap();
        id
    }

    /// Asks for what is bound, and returns the request's number.
    pub fn ask(&mut self, binding: u32, asking: Asking) -> u64 {
        self.push(Request {
            class: asking.class,
            deadline_us: asking.deadline_us,
            on_miss: asking.on_miss,
            ..Request::infer(0, binding)
        })
    }

    /// Waits for an answer.
    ///
    /// # Errors
    /// When the daemon is gone, or says what none would.
    pub fn wait(&mut self, id: u64) -> Result<Response, Error> {
        loop {
            if let Some(response) = self.early.remove(&id) {
                return Ok(response);
            }
            let response = self.next(limits::WAIT)?;
            self.early.insert(response.id, response);
        }
    }

    /// The next answer, whichever it is.
    ///
    /// # Errors
    /// When the daemon is gone, says what none would, or nothing for so long.
    pub fn next(&mut self, within: Duration) -> Result<Response, Error> {
        let end = Instant::now() + within;
        loop {
            if let Some(response) = self.side.responses.pop()? {
                return Ok(response);
            }
            self.side.bell.arm(Sleep::OnWord);
            let woken = match self.side.responses.is_empty() {
                true => self
                    .side
                    .bell
                    .wait(Some(end.saturating_duration_since(Instant::now())))?,
                false => Woken::Maybe,
            };
            self.side.bell.disarm();
            match woken {
                Woken::Maybe => {}
                Woken::DaemonGone if self.side.responses.is_empty() => return Err(Error::PeerGone),
                Woken::TimedOut if self.side.responses.is_empty() => {
                    return Err(Error::TimedOut {
                        waited_ms: within.as_millis() as u64,
                    });
                }
                _ => {}
            }
        }
    }

    /// Runs what is bound.
    ///
    /// # Errors
    /// What the daemon says against it, or that it is gone.
    pub fn try_infer(&mut self, bound: &mut Bound, asking: Asking) -> Result<Response, (Status, String)> {
        let id = self.ask(bound.number, asking);
        let response = self.wait(id).map_err(refused)?;
        match response.status {
            Status::Ok => Ok(response),
            status => Err((status, self.text(bound, &response))),
        }
    }

    /// Runs what must succeed.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn infer(&mut self, bound: &mut Bound) -> Response {
        self.try_infer(bound, Asking::default()).unwrap()
    }

    /// What the daemon wrote about a failure.
    #[must_use]
    pub fn text(&self, bound: &mut Bound, response: &Response) -> String {
        let area = bound.frame.text.unwrap();
        area.read(self.side.arena.segment(), response.text_bytes)
    }

    /// The shape of an output, as the daemon has written it.
    ///
    /// # Panics
    /// When it has not.
    #[must_use]
    #[track_caller]
    pub fn shape(&self, bound: &Bound, output: usize) -> Vec<usize> {
        let shape = bound.frame.read_shape(self.side.arena.segment(), output);
        shape.unwrap().dims().to_vec()
    }

    /// The bytes of an output, as many as its shape has.
    ///
    /// # Panics
    /// When the daemon has written no shape.
    #[must_use]
    #[track_caller]
    pub fn output(&self, bound: &Bound, output: usize) -> Vec<u8> {
        let place = bound.frame.outputs[output].unwrap();
        let elements: usize = self.shape(bound, output).iter().product();
        let bytes = elements * place.dtype.size_bytes().unwrap();
        bound.outputs[output].bytes()[..bytes].to_vec()
    }

    /// How full its arena is.
    #[must_use]
    pub fn arena(&self) -> ArenaStats {
        self.side.arena.stats()
    }
}

fn refused(error: Error) -> (Status, String) {
    (error.kind(), error.to_string())
}

fn dtype(number: u8) -> DType {
    DType::ALL[usize::from(number)]
}
