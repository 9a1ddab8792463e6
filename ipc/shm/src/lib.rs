//! The local protocol: what the daemon and a client on the same machine say to each other through shared memory.
//!
//! Over a Unix socket they agree once ([`control`]): the daemon creates two [`Rings`] and an arena in sealed memory
//! files and hands them out with two bells. From then on nothing passes through the kernel while both are awake. The
//! client puts a [`Request`] into a slot of one ring ([`Producer`]), the daemon polls that slot ([`Consumer`]) and puts
//! a [`Response`] into the other ring; each is one cache line going over. Who has nothing to do sleeps, and is woken by
//! its bell ([`DaemonBell`], [`ClientBell`]).
//!
//! Tensors stay where the client put them: it takes [`Loan`]s of its [`Arena`], writes a [`Frame`] that names them, and
//! *binds* it under a number. The daemon copies the frame out and checks it once; each inference then carries that
//! number and nothing else that would have to be checked.
//!
//! Nothing that the other side can write is trusted. It is copied out before it is looked at, positions and checked
//! numbers are kept in private, and a peer that does what no correct one does is a [`Fault`], which ends its
//! connection.
//!
//! ```
//! use mlos_shm::control::{ClientSide, DaemonSide, Welcome};
//! use mlos_shm::{DType, Frame, Request, Response, Shape, Status, TensorPlace};
//! # use std::os::fd::BorrowedFd;
//!
//! // The daemon's half, and what goes to the client with a `Welcome`.
//! let (mut daemon, handout) = DaemonSide::create(256, 1 << 20, &Default::default())?;
//! # let fds = handout.fds().map(|fd: BorrowedFd| fd.try_clone_to_owned().unwrap()).into();
//! # let arena_bytes = daemon.arena.len() as u64;
//! # let welcome = Welcome { features: 0, slots: 256, arena_bytes, bindings_max: 1, shard: 0, daemon: String::new() };
//! let mut client = ClientSide::accept(&welcome, fds)?;
//!
//! let mut input = client.arena.loan(4 * size_of::<f32>())?;
//! input.elements_mut::<f32>()?.copy_from_slice(&[1.0, 2.0, 3.0, 4.0]);
//! let place = TensorPlace { offset: input.offset(), bytes: 16, dtype: DType::F32, shape: Some(Shape::new(&[4])?) };
//! let mut frame = Frame::new(7, vec![Some(place)], vec![]);
//! let frame_loan = client.arena.loan(frame.bytes() as usize + 128)?;
//! frame.write(&frame_loan)?;
//! client.requests.push(Request::bind(1, 0, 7, frame.offset(), frame.bytes()))?;
//! client.bell.ring()?;
//!
//! let request = daemon.requests.pop()?.expect("it was pushed");
//! let bound = Frame::read(&daemon.arena, request.frame_offset, request.frame_bytes, request.handle)?;
//! assert_eq!(bound, frame);
//! daemon.responses.push(Response::new(request.id, Status::Ok))?;
//! daemon.bell.ring();
//!
//! assert_eq!(client.responses.pop()?.map(|response| response.status), Some(Status::Ok));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Deliberately not here: models, scheduling and statistics (`mlos-local` and the engine behind it), an executor (a
//! daemon waits for descriptors with its own), and a convenient client (`mlos-client`).

#![cfg_attr(
    loom,
    expect(
        dead_code,
        reason = "limits, layouts and errors of what is not built under loom"
    )
)]

// Under loom only the parts that two processes share are built: see `sync.rs` and `loom_tests.rs`.
#[cfg(not(loom))]
mod arena;
mod asleep;
#[cfg(not(loom))]
mod bell;
#[cfg(not(loom))]
pub mod control;
mod error;
#[cfg(not(loom))]
mod frame;
pub mod layout;
pub mod limits;
#[cfg(all(loom, test))]
mod loom_tests;
#[cfg(not(loom))]
mod message;
mod ring;
#[cfg(not(loom))]
mod rings;
mod slot;
mod slots;
mod status;
mod sync;
#[cfg(not(loom))]
mod words;

pub use asleep::Sleep;
pub use error::{Error, Fault, FrameProblem, Place, RingName};
pub use mlos_tensor_mem::{DType, Element, Shape};
pub use ring::{Consumer, Full, Producer};
pub use slot::{Message, Words};
pub use status::Status;
#[cfg(not(loom))]
pub use {
    arena::{Arena, ArenaStats, Loan},
    bell::{ClientBell, ClientBellFds, DaemonBell, Woken, own},
    frame::{BadFrame, Frame, TensorPlace, TextArea},
    message::{Op, Request, Response},
    mlos_tensor_mem::{Segment, SegmentOptions},
    rings::Rings,
};
