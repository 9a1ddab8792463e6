//! A client on the protocol itself, so that it can do what a library never would.

use std::path::Path;
use std::time::{Duration, Instant};

use mlos_shm::control::socket::{self, Control};
use mlos_shm::control::{
    ClientMessage, ClientSide, ControlMessage, DaemonMessage, Hello, Open, Opened, Welcome,
};
use mlos_shm::{DType, Frame, Loan, Request, Response, Shape, Status, TensorPlace};

/// Longer than anything takes.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Client {
    pub side: ClientSide,
    pub control: Control,
    pub welcome: Welcome,
    next: u64,
    /// What is bound lies there.
    loans: Vec<Loan>,
}

pub fn hello(slots: u32) -> Hello {
    Hello {
        features: 0,
        slots,
        arena_bytes: 1 << 20,
        name: "test".to_owned(),
    }
}

/// Tries until it is so.
#[track_caller]
pub fn until<T>(what: &str, mut is_so: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(so) = is_so() {
            return so;
        }
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::yield_now();
    }
}

/// What is said to these packets before the connection ends.
pub fn last_words(path: &Path, packets: &[ClientMessage]) -> DaemonMessage {
    let socket = socket::connect(path).unwrap();
    for packet in packets {
        socket::send(&socket, &packet.encode().unwrap(), &[]).unwrap();
    }
    let mut last = None;
    until("the end", || match socket::receive(&socket) {
        Ok(socket::Received::Packet(packet)) => {
            last = DaemonMessage::decode(&packet.bytes, packet.fds.len()).ok();
            None
        }
        Ok(socket::Received::Nothing) => None,
        Ok(socket::Received::Closed) | Err(_) => Some(()),
    });
    last.expect("something was said")
}

impl Client {
    pub fn join(path: &Path) -> Self {
        Self::with_slots(path, 0)
    }

    pub fn with_slots(path: &Path, slots: u32) -> Self {
        let (side, control, welcome) = ClientSide::join(path, hello(slots), PATIENCE).unwrap();
        Self {
            side,
            control,
            welcome,
            next: 0,
            loans: Vec::new(),
        }
    }

    pub fn open(&self, model: &str) -> Result<Opened, (Status, String)> {
        let open = Open {
            token: 1,
            model: model.to_owned(),
            component: None,
        };
        self.control.send(&ClientMessage::Open(open), PATIENCE).unwrap();
        match self.control.receive(PATIENCE).unwrap().0 {
            DaemonMessage::Opened(opened) => Ok(opened),
            DaemonMessage::Refused(refused) => Err((refused.status(), refused.text)),
            DaemonMessage::Welcome(_) => panic!("welcomed twice"),
        }
    }

    /// A frame for a model: 4 floats in, 4 out.
    pub fn frame(&mut self, handle: u32) -> Frame {
        let arena = self.side.arena.clone();
        let mut place = || {
            let loan = arena.loan(16).unwrap();
            let offset = loan.offset();
            self.loans.push(loan);
            Some(TensorPlace {
                offset,
                bytes: 16,
                dtype: DType::F32,
                shape: Some(Shape::new(&[4]).unwrap()),
            })
        };
        let mut frame = Frame::new(handle, vec![place()], vec![place()]);
        let loan = arena.loan(frame.bytes() as usize + 256).unwrap();
        frame.write(&loan).unwrap();
        self.loans.push(loan);
        frame
    }

    pub fn bind(&mut self, number: u32, handle: u32) -> Status {
        let frame = self.frame(handle);
        let request = Request::bind(0, number, handle, frame.offset(), frame.bytes());
        let id = self.push(request);
        self.answer(id).status
    }

    /// Opens and binds.
    pub fn bound(&mut self, number: u32, model: &str) -> u32 {
        let handle = self.open(model).unwrap().handle;
        assert_eq!(self.bind(number, handle), Status::Ok);
        handle
    }

    /// Sends a request under a new number.
    pub fn push(&mut self, request: Request) -> u64 {
        self.next += 1;
        let request = Request {
            id: self.next,
            ..request
        };
        self.push_as_it_is(request);
        self.next
    }

    pub fn push_as_it_is(&mut self, request: Request) {
        until("a slot is free", || self.side.requests.push(request).ok());
        self.side.bell.ring().unwrap();
    }

    pub fn next(&mut self) -> Response {
        until("an answer", || self.side.responses.pop().unwrap())
    }

    /// The next answer, which is to this request.
    #[track_caller]
    pub fn answer(&mut self, id: u64) -> Response {
        let response = self.next();
        assert_eq!(response.id, id);
        response
    }

    #[track_caller]
    pub fn ask(&mut self, number: u32) -> Status {
        let id = self.push(Request::infer(0, number));
        self.answer(id).status
    }
}
