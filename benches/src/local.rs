//! A client over shared memory that adds as little to a latency as a client can: it drives the rings itself, and has
//! one request after the other, or several, in flight on memory that it has bound before the clock starts.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mlos_shm::control::socket::Control;
use mlos_shm::control::{ClientMessage, ClientSide, DaemonMessage, Hello, Open, Opened, TensorInfo};
use mlos_shm::{DType, Frame, Loan, Request, Response, Shape, Sleep, Status, TensorPlace, Woken};

/// How long to wait for an answer that never comes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Empty looks between two looks at the clock.
const LOOKS: u32 = 64;
/// Room for the text of an error, beside a frame.
const TEXT_BYTES: usize = 512;

/// How a client joins.
#[derive(Debug, Clone, Copy)]
pub struct Join<'a> {
    /// The daemon's socket.
    pub path: &'a Path,
    /// Bytes of its arena.
    pub arena_bytes: u64,
    /// How long it looks for an answer before it sleeps.
    pub spin: Duration,
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    side: ClientSide,
    control: Control,
    spin: Duration,
    /// The number of the last question and of the last binding.
    asked: u32,
    bound: u32,
}

/// Memory that is bound to a model: every input and output, in the model's order.
#[derive(Debug)]
pub struct Bound {
    /// Its number.
    pub number: u32,
    /// The inputs.
    pub inputs: Vec<Loan>,
    /// The outputs.
    pub outputs: Vec<Loan>,
    frame: Frame,
    _frame_loan: Loan,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Where nobody listens, or the daemon says no.
    pub fn join(join: &Join<'_>) -> Result<Self> {
        let hello = Hello {
            features: 0,
            slots: 0,
            arena_bytes: join.arena_bytes,
            name: "mlos-benches".to_owned(),
        };
        let (side, control, _) = ClientSide::join(join.path, hello, PATIENCE)
            .with_context(|| format!("cannot join {}", join.path.display()))?;
        Ok(Self {
            side,
            control,
            spin: join.spin,
            asked: 0,
            bound: 0,
        })
    }

    /// Asks for a model.
    ///
    /// # Errors
    /// Where there is none, or the daemon has gone.
    pub fn open(&mut self, model: &str) -> Result<Opened> {
        self.asked += 1;
        let open = Open {
            token: self.asked,
            model: model.to_owned(),
            component: None,
        };
        self.control.send(&ClientMessage::Open(open), PATIENCE)?;
        match self.control.receive(PATIENCE)? {
            (DaemonMessage::Opened(opened), _) => Ok(opened),
            (DaemonMessage::Refused(refused), _) => bail!("cannot open {model}: {}", refused.text),
            (other, _) => bail!("an answer out of turn: {}", other.name()),
        }
    }

    /// Binds memory for a request of so many rows: what a dynamic dimension is taken to be.
    ///
    /// # Errors
    /// Where the arena is too small, or the daemon says no.
    pub fn bind(&mut self, model: &Opened, rows: u64) -> Result<Bound> {
        let (inputs, input_places) = self.tensors(&model.inputs, rows)?;
        let (outputs, output_places) = self.tensors(&model.outputs, rows)?;
        let mut frame = Frame::new(model.handle, input_places, output_places);
        let loan = self.side.arena.loan(frame.bytes() as usize + TEXT_BYTES)?;
        frame.write(&loan)?;
        let number = self.bound;
        self.bound += 1;
        let bound = Bound {
            number,
            inputs,
            outputs,
            frame,
            _frame_loan: loan,
        };
        let frame = &bound.frame;
        self.send(Request::bind(
            0,
            number,
            model.handle,
            frame.offset(),
            frame.bytes(),
        ))?;
        let answer = self.answer()?;
        self.check(&bound, &answer)?;
        Ok(bound)
    }

    fn tensors(&self, infos: &[TensorInfo], rows: u64) -> Result<(Vec<Loan>, Vec<Option<TensorPlace>>)> {
        let pairs = infos.iter().map(|info| self.tensor(info, rows));
        Ok(pairs.collect::<Result<Vec<_>>>()?.into_iter().unzip())
    }

    fn tensor(&self, info: &TensorInfo, rows: u64) -> Result<(Loan, Option<TensorPlace>)> {
        let dtype = DType::ALL.into_iter().find(|dtype| *dtype as u8 == info.dtype);
        let dtype = dtype.with_context(|| format!("element type {} is unknown", info.dtype))?;
        let dims: Vec<usize> = info.dims.iter().map(|dim| dim.unwrap_or(rows) as usize).collect();
        let element = dtype.size_bytes().context("texts are not bound here")?;
        let bytes = dims.iter().product::<usize>() * element;
        let loan = self.side.arena.loan(bytes)?;
        let place = TensorPlace {
            offset: loan.offset(),
            bytes: bytes as u64,
            dtype,
            shape: Some(Shape::new(&dims)?),
        };
        Ok((loan, Some(place)))
    }

    /// Sends a request.
    ///
    /// # Errors
    /// Where the ring is full, or the daemon's bell is broken.
    #[inline]
    pub fn send(&mut self, request: Request) -> Result<()> {
        self.push(request)?;
        self.ring()
    }

    /// Puts a request into the ring. Who does that [rings](Self::ring) after the last.
    ///
    /// # Errors
    /// Where the ring is full.
    #[inline]
    pub fn push(&mut self, request: Request) -> Result<()> {
        Ok(self.side.requests.push(request)?)
    }

    /// Wakes the daemon if it sleeps.
    ///
    /// # Errors
    /// Where its bell is broken.
    #[inline]
    pub fn ring(&mut self) -> Result<()> {
        self.side.bell.ring()?;
        Ok(())
    }

    /// The next answer, if it is there.
    ///
    /// # Errors
    /// Where the daemon breaks the protocol.
    #[inline]
    pub fn look(&mut self) -> Result<Option<Response>> {
        Ok(self.side.responses.pop()?)
    }

    /// The next answer. Looks for it as long as the client shall, and then sleeps.
    ///
    /// # Errors
    /// Where it does not come.
    #[inline]
    pub fn answer(&mut self) -> Result<Response> {
        let mut begun = None;
        loop {
            for _ in 0..LOOKS {
                if let Some(response) = self.look()? {
                    return Ok(response);
                }
                if self.spin.is_zero() {
                    return self.sleep();
                }
                std::hint::spin_loop();
            }
            if begun.get_or_insert_with(Instant::now).elapsed() > self.spin {
                return self.sleep();
            }
        }
    }

    fn sleep(&mut self) -> Result<Response> {
        loop {
            self.side.bell.arm(Sleep::OnWord);
            let found = self.look()?;
            if let Some(response) = found {
                self.side.bell.disarm();
                return Ok(response);
            }
            let woken = self.side.bell.wait(Some(PATIENCE))?;
            self.side.bell.disarm();
            match woken {
                Woken::Maybe => {}
                Woken::TimedOut => bail!("no answer for {PATIENCE:?}"),
                Woken::DaemonGone => bail!("the daemon is gone"),
            }
        }
    }

    /// An answer must be a success.
    ///
    /// # Errors
    /// With what the daemon says.
    #[inline]
    pub fn check(&self, bound: &Bound, answer: &Response) -> Result<()> {
        if answer.status == Status::Ok {
            return Ok(());
        }
        let segment = self.side.arena.segment();
        let text = bound.frame.text.map(|area| area.read(segment, answer.text_bytes));
        bail!("{:?}: {}", answer.status, text.unwrap_or_default())
    }

    /// Asks, waits for the answer, and touches the first and the last byte of input and output.
    ///
    /// # Errors
    /// Where it is no success.
    #[inline]
    pub fn call(&mut self, bound: &mut Bound, request: Request) -> Result<u8> {
        bound.write_ends(request.id as u8);
        self.send(request)?;
        let answer = self.answer()?;
        self.check(bound, &answer)?;
        Ok(bound.read_ends())
    }
}

impl Bound {
    /// Writes the first and the last byte of the first input.
    #[inline]
    pub fn write_ends(&mut self, byte: u8) {
        if let [first, .., last] = self.inputs[0].bytes_mut() {
            (*first, *last) = (byte, byte);
        }
    }

    /// Reads the first and the last byte of the first output.
    #[inline]
    #[must_use]
    pub fn read_ends(&self) -> u8 {
        match self.outputs[0].bytes() {
            [first, .., last] => std::hint::black_box(*first) ^ std::hint::black_box(*last),
            _ => 0,
        }
    }

    /// A request for it.
    #[inline]
    #[must_use]
    pub fn request(&self, id: u64, class: u8) -> Request {
        Request {
            class,
            ..Request::infer(id, self.number)
        }
    }
}
