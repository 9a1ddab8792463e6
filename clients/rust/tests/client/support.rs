//! A daemon in a thread: real socket, rings, bells and checked frames; only its models are a test's.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use mlos_client::{Bound, Client, DType, Options, Shape, Status};
use mlos_shm::control::socket::{self, Received};
use mlos_shm::control::{
    ClientMessage, ControlMessage, DaemonMessage, DaemonSide, Opened, Refused, TensorInfo, Welcome,
};
use mlos_shm::{Frame, Op, Request, Response, TensorPlace, layout};
use mlos_tensor_mem::Region;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const ARENA_BYTES: u64 = 1 << 20;
/// The daemon looks at its flag that often when nothing else wakes it.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// What the test's models do; their handles are positions in this list.
const MODELS: [&str; 8] = [
    // y = 2 x
    "t/double",
    // Is answered when `release` runs, the last first.
    "t/hold",
    // Releases what is held, then is answered itself.
    "t/release",
    // Fails.
    "t/fail",
    // y has x[0] elements, each x[1].
    "t/shape",
    // y is x, its elements in reverse.
    "t/text",
    // Ends the connection, saying why.
    "t/farewell",
    // Ends it without a word.
    "t/die",
];

/// A running daemon.
pub struct Daemon {
    pub path: PathBuf,
    /// Bindings that it knows, of all connections.
    pub bindings: Arc<AtomicUsize>,
    /// Cancels that it was sent.
    pub cancels: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Daemon {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mlosd.sock");
        let listener = socket::listen(&path).unwrap();
        let (bindings, cancels) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let stop = Arc::new(AtomicBool::new(false));
        let shared = (Arc::clone(&bindings), Arc::clone(&cancels), Arc::clone(&stop));
        let thread = std::thread::spawn(move || serve(&listener, &shared));
        Self {
            path,
            bindings,
            cancels,
            stop,
            thread: Some(thread),
            _folder: folder,
        }
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.path).unwrap()
    }

    /// A client that sleeps at once, so that every wait goes through the bells.
    pub fn sleeper(&self) -> Client {
        Options::default()
            .spin(Duration::ZERO)
            .connect(&self.path)
            .unwrap()
    }

    pub fn bound(&self, client: &Client, model: &str) -> Bound {
        client.open(model).unwrap().request().bind().unwrap()
    }

    /// Ends as a process that is killed: everything is closed.
    pub fn kill(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

type Shared = (Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicBool>);

fn serve(listener: &OwnedFd, shared: &Shared) {
    let mut connections = Vec::new();
    while !shared.2.load(Ordering::SeqCst) {
        let mut fds = [PollFd::new(listener, PollFlags::IN)];
        poll(&mut fds, Some(&TICK)).unwrap();
        if let Some(socket) = socket::accept(listener).unwrap() {
            let shared = (
                Arc::clone(&shared.0),
                Arc::clone(&shared.1),
                Arc::clone(&shared.2),
            );
            connections.push(std::thread::spawn(move || Peer::serve(socket, shared)));
        }
    }
    for connection in connections {
        connection.join().unwrap();
    }
}

/// One connection.
struct Peer {
    socket: OwnedFd,
    side: DaemonSide,
    shared: Shared,
    bindings: BTreeMap<u32, Frame>,
    held: Vec<Request>,
    is_over: bool,
}

impl Peer {
    fn serve(socket: OwnedFd, shared: Shared) {
        let Some(ClientMessage::Hello(hello)) = wait_for_message(&socket, &shared) else {
            return;
        };
        if hello.name == "unwanted" {
            let text = "clients of that name are not served".to_owned();
            return say(&socket, &refused(0, Status::Unsupported, text), &[]);
        }
        let slots = if hello.slots == 0 { 8 } else { hello.slots };
        let (side, handout) = DaemonSide::create(slots, ARENA_BYTES, &Default::default()).unwrap();
        let welcome = DaemonMessage::Welcome(Welcome {
            features: 0,
            slots,
            arena_bytes: side.arena.len() as u64,
            bindings_max: 32,
            shard: 0,
            daemon: "a test's".to_owned(),
        });
        say(&socket, &welcome, &handout.fds());
        drop(handout);
        let mut peer = Self {
            socket,
            side,
            shared,
            bindings: BTreeMap::new(),
            held: Vec::new(),
            is_over: false,
        };
        while !peer.is_over && !peer.shared.2.load(Ordering::SeqCst) {
            peer.turn();
        }
        peer.shared.0.fetch_sub(peer.bindings.len(), Ordering::SeqCst);
    }

    fn turn(&mut self) {
        while let Some(request) = self.side.requests.pop().unwrap() {
            self.answer(request);
        }
        match socket::receive(&self.socket).unwrap() {
            Received::Closed => self.is_over = true,
            Received::Nothing => {}
            Received::Packet(packet) => {
                let message = ClientMessage::decode(&packet.bytes, packet.fds.len()).unwrap();
                self.control(message);
            }
        }
        if self.is_over {
            return;
        }
        self.side.bell.arm();
        if self.side.requests.is_empty() {
            let mut fds = [
                PollFd::new(&self.side.bell, PollFlags::IN),
                PollFd::new(&self.socket, PollFlags::IN),
            ];
            poll(&mut fds, Some(&TICK)).unwrap();
        }
        self.side.bell.disarm();
    }

    fn control(&mut self, message: ClientMessage) {
        let ClientMessage::Open(open) = message else {
            return;
        };
        let answer = match MODELS.iter().position(|model| *model == open.model) {
            Some(handle) => opened(open.token, handle as u32),
            None => refused(
                open.token,
                Status::NotFound,
                format!("there is no model {}", open.model),
            ),
        };
        say(&self.socket, &answer, &[]);
    }

    fn answer(&mut self, request: Request) {
        match request.op {
            Op::Bind => self.bind(request),
            Op::Unbind => {
                let known = self.bindings.remove(&request.binding);
                assert!(known.is_some(), "unbind of what is not bound");
                self.shared.0.fetch_sub(1, Ordering::SeqCst);
                self.respond(Response::new(request.id, Status::Ok));
            }
            Op::Cancel => {
                self.shared.1.fetch_add(1, Ordering::SeqCst);
                if let Some(at) = self.held.iter().position(|held| held.id == request.id) {
                    let held = self.held.remove(at);
                    self.fail(held, Status::Cancelled, "cancelled, as you asked");
                }
            }
            Op::Infer => self.infer(request),
        }
    }

    fn bind(&mut self, request: Request) {
        let frame = Frame::read(
            &self.side.arena,
            request.frame_offset,
            request.frame_bytes,
            request.handle,
        );
        let frame = frame.expect("the client builds frames that pass");
        let is_long = frame.inputs[0].is_some_and(|place| place.bytes > 4096);
        if is_long {
            let text = "inputs of more than 4096 bytes are refused here";
            let mut response = Response::new(request.id, Status::TooLarge);
            response.text_bytes = frame.text.unwrap().write(&self.side.arena, text);
            return self.respond(response);
        }
        if self.bindings.insert(request.binding, frame).is_none() {
            self.shared.0.fetch_add(1, Ordering::SeqCst);
        }
        self.respond(Response::new(request.id, Status::Ok));
    }

    fn infer(&mut self, request: Request) {
        let frame = self.bindings[&request.binding].clone();
        match MODELS[frame.handle as usize] {
            "t/double" => self.double(request, &frame),
            "t/hold" => self.held.push(request),
            "t/release" => {
                while let Some(held) = self.held.pop() {
                    let frame = self.bindings[&held.binding].clone();
                    self.double(held, &frame);
                }
                self.double(request, &frame);
            }
            "t/fail" => self.fail(request, Status::ModelFailed, "the model is on strike"),
            "t/shape" => self.shape(request, &frame),
            "t/text" => self.text(request, &frame),
            "t/farewell" => {
                let text = "you asked for it".to_owned();
                say(&self.socket, &refused(0, Status::Unavailable, text), &[]);
                self.is_over = true;
            }
            _ => self.is_over = true,
        }
    }

    fn double(&mut self, request: Request, frame: &Frame) {
        if let Some(output) = frame.outputs[0] {
            let doubled: Vec<f32> = self.floats(frame).iter().map(|x| 2.0 * x).collect();
            self.write(output, &doubled);
        }
        let mut response = Response::new(request.id, Status::Ok);
        response.class = if request.class == 0 { 3 } else { request.class };
        response.queue_ns = request.deadline_us;
        response.compute_ns = 1_500;
        response.parts = 1;
        response.preemptions = request.on_miss.into();
        self.respond(response);
    }

    fn shape(&mut self, request: Request, frame: &Frame) {
        let inputs = self.floats(frame);
        let elements = vec![inputs[1]; inputs[0] as usize];
        self.write(frame.outputs[0].unwrap(), &elements);
        let mut response = Response::new(request.id, Status::Ok);
        let shape = Shape::new(&[elements.len()]).unwrap();
        if frame.outputs[0].unwrap().shape != Some(shape) {
            frame.write_shape(&self.side.arena, 0, &shape);
            response.flags = layout::FLAG_SHAPES_WRITTEN;
        }
        self.respond(response);
    }

    fn text(&mut self, request: Request, frame: &Frame) {
        let mut packed = self.bytes(frame.inputs[0].unwrap());
        let mut elements = Vec::new();
        while !packed.is_empty() {
            let len = u32::from_le_bytes(packed[..4].try_into().unwrap()) as usize;
            elements.push(packed.drain(..4 + len).collect::<Vec<u8>>());
        }
        elements.reverse();
        let output = frame.outputs[0].unwrap();
        let region = Region::new(&self.side.arena, output.offset as usize, output.bytes as usize).unwrap();
        region.copy_from(&elements.concat()).unwrap();
        self.respond(Response::new(request.id, Status::Ok));
    }

    fn fail(&mut self, request: Request, status: Status, text: &str) {
        let area = self.bindings[&request.binding].text.unwrap();
        let mut response = Response::new(request.id, status);
        response.text_bytes = area.write(&self.side.arena, text);
        self.respond(response);
    }

    fn respond(&mut self, response: Response) {
        self.side
            .responses
            .push(response)
            .expect("a client has no more in flight than slots");
        self.side.bell.ring();
    }

    fn bytes(&self, place: TensorPlace) -> Vec<u8> {
        let mut bytes = vec![0; place.bytes as usize];
        let region = Region::new(&self.side.arena, place.offset as usize, bytes.len()).unwrap();
        region.copy_to(&mut bytes).unwrap();
        bytes
    }

    fn floats(&self, frame: &Frame) -> Vec<f32> {
        let bytes = self.bytes(frame.inputs[0].unwrap());
        let (chunks, _) = bytes.as_chunks::<4>();
        chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    fn write(&self, place: TensorPlace, elements: &[f32]) {
        let bytes: Vec<u8> = elements.iter().flat_map(|x| x.to_le_bytes()).collect();
        let region = Region::new(&self.side.arena, place.offset as usize, place.bytes as usize).unwrap();
        region.copy_from(&bytes).unwrap();
    }
}

fn wait_for_message(socket: &OwnedFd, shared: &Shared) -> Option<ClientMessage> {
    while !shared.2.load(Ordering::SeqCst) {
        match socket::receive(socket).unwrap() {
            Received::Packet(packet) => return Some(ClientMessage::decode(&packet.bytes, 0).unwrap()),
            Received::Closed => return None,
            Received::Nothing => {
                poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&TICK)).unwrap();
            }
        }
    }
    None
}

fn say(socket: &OwnedFd, message: &DaemonMessage, fds: &[std::os::fd::BorrowedFd<'_>]) {
    let packet = message.encode().unwrap();
    // A client that has gone meanwhile is met at the next receive.
    drop(socket::send(socket.as_fd(), &packet, fds));
}

fn refused(token: u32, status: Status, text: String) -> DaemonMessage {
    let status = status as u16;
    DaemonMessage::Refused(Refused { token, status, text })
}

fn opened(token: u32, handle: u32) -> DaemonMessage {
    let tensor = |name: &str, dtype, dims: &[Option<u64>]| TensorInfo {
        name: name.to_owned(),
        dtype: dtype as u8,
        dims: dims.to_vec(),
    };
    let (inputs, outputs) = match MODELS[handle as usize] {
        "t/shape" => (
            tensor("x", DType::F32, &[Some(2)]),
            tensor("y", DType::F32, &[None]),
        ),
        "t/text" => (
            tensor("x", DType::String, &[None]),
            tensor("y", DType::String, &[None]),
        ),
        _ => (
            tensor("x", DType::F32, &[None, Some(4)]),
            tensor("y", DType::F32, &[None, Some(4)]),
        ),
    };
    DaemonMessage::Opened(Opened {
        token,
        handle,
        model: MODELS[handle as usize].to_owned(),
        version: Some("1".to_owned()),
        class_default: 3,
        inputs: vec![inputs],
        outputs: vec![outputs],
    })
}
