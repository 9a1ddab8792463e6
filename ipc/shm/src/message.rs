//! The two messages that travel over rings.

use crate::slot::{Message, WORDS, Words};
use crate::{Fault, RingName, Status};

/// What a request asks for.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Run the model on the tensors of a binding.
    Infer = 1,
    /// Check a frame and keep it under a number, in place of what that number named.
    Bind = 2,
    /// Forget a binding.
    Unbind = 3,
    /// Cancel the inference of that id. The inference is answered, as cancelled or as done if that came first; the
    /// cancel itself is not.
    Cancel = 4,
}

impl Op {
    fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Infer),
            2 => Some(Self::Bind),
            3 => Some(Self::Unbind),
            4 => Some(Self::Cancel),
            _ => None,
        }
    }
}

/// A request. Every one but [`Op::Cancel`] is answered by exactly one [`Response`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked.
    pub op: Op,
    /// 0 for the model's default, 1 (realtime) to 4 (batch). Whoever serves it checks it.
    pub class: u8,
    /// What to do with a predicted deadline miss: 0 reject, 1 degrade. Whoever serves it checks it.
    pub on_miss: u8,
    /// The client's number for the request.
    pub id: u64,
    /// The client's number for the binding.
    pub binding: u32,
    /// The model, for `Bind`.
    pub handle: u32,
    /// Where the frame lies in the arena, for `Bind`.
    pub frame_offset: u64,
    /// Its length, for `Bind`.
    pub frame_bytes: u32,
    /// Deadline in microseconds from submission; 0 for none.
    pub deadline_us: u64,
}

impl Request {
    /// Run the model on a binding, in its default class and without a deadline.
    #[must_use]
    pub const fn infer(id: u64, binding: u32) -> Self {
        Self {
            op: Op::Infer,
            class: 0,
            on_miss: 0,
            id,
            binding,
            handle: 0,
            frame_offset: 0,
            frame_bytes: 0,
            deadline_us: 0,
        }
    }

    /// Check a frame and keep it.
    #[must_use]
    pub const fn bind(id: u64, binding: u32, handle: u32, frame_offset: u64, frame_bytes: u32) -> Self {
        Self {
            op: Op::Bind,
            handle,
            frame_offset,
            frame_bytes,
            ..Self::infer(id, binding)
        }
    }

    /// Forget a binding.
    #[must_use]
    pub const fn unbind(id: u64, binding: u32) -> Self {
        Self {
            op: Op::Unbind,
            ..Self::infer(id, binding)
        }
    }

    /// Cancel the inference of that id.
    #[must_use]
    pub const fn cancel(id: u64) -> Self {
        Self {
            op: Op::Cancel,
            ..Self::infer(id, 0)
        }
    }
}

impl Message for Request {
    const RING: RingName = RingName::Requests;

    fn encode(self) -> Words {
        let mut body = [0; WORDS];
        body[0] = self.id;
        body[1] = u64::from(self.binding) | u64::from(self.handle) << 32;
        body[2] = self.frame_offset;
        body[3] = u64::from(self.frame_bytes);
        body[4] = self.deadline_us;
        let head = u32::from_le_bytes([self.op as u8, self.class, self.on_miss, 0]);
        Words { head, body }
    }

    fn decode(Words { head, body }: Words) -> Result<Self, Fault> {
        let [op, class, on_miss, flags] = head.to_le_bytes();
        let id = body[0];
        let op = Op::from_u8(op).ok_or(Fault::UnknownOp { op, id })?;
        if u64::from(flags) | high(body[3]) | body[5] | body[6] != 0 {
            return Err(Fault::Reserved { what: "a request" });
        }
        Ok(Self {
            op,
            class,
            on_miss,
            id,
            binding: low(body[1]),
            handle: high(body[1]) as u32,
            frame_offset: body[2],
            frame_bytes: low(body[3]),
            deadline_us: body[4],
        })
    }
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// How it ended.
    pub status: Status,
    /// The class that it was served in, 1 to 4; 0 when it was not.
    pub class: u8,
    /// [`FLAG_SHAPES_WRITTEN`](crate::layout::FLAG_SHAPES_WRITTEN) or 0.
    pub flags: u8,
    /// The request's number.
    pub id: u64,
    /// Nanoseconds before the first computation.
    pub queue_ns: u64,
    /// Nanoseconds of computation.
    pub compute_ns: u64,
    /// How often it was suspended.
    pub preemptions: u32,
    /// In how many parts it ran.
    pub parts: u32,
    /// Bytes of text in the text area.
    pub text_bytes: u32,
}

impl Response {
    /// An answer with nothing to say but how it ended.
    #[must_use]
    pub const fn new(id: u64, status: Status) -> Self {
        Self {
            status,
            class: 0,
            flags: 0,
            id,
            queue_ns: 0,
            compute_ns: 0,
            preemptions: 0,
            parts: 0,
            text_bytes: 0,
        }
    }
}

impl Message for Response {
    const RING: RingName = RingName::Responses;

    fn encode(self) -> Words {
        let mut body = [0; WORDS];
        body[0] = self.id;
        body[1] = self.queue_ns;
        body[2] = self.compute_ns;
        body[3] = u64::from(self.preemptions) | u64::from(self.parts) << 32;
        body[4] = u64::from(self.text_bytes);
        let head = u32::from(self.status as u16) | u32::from(self.class) << 16 | u32::from(self.flags) << 24;
        Words { head, body }
    }

    fn decode(Words { head, body }: Words) -> Result<Self, Fault> {
        let [status_low, status_high, class, flags] = head.to_le_bytes();
        let (status, id) = (u16::from_le_bytes([status_low, status_high]), body[0]);
        let status = Status::from_u16(status).ok_or(Fault::UnknownStatus { status, id })?;
        Ok(Self {
            status,
            class,
            flags,
            id,
            queue_ns: body[1],
            compute_ns: body[2],
            preemptions: low(body[3]),
            parts: high(body[3]) as u32,
            // What else a later daemon says in reserved bytes is none of ours.
            text_bytes: low(body[4]),
        })
    }
}

const fn low(word: u64) -> u32 {
    word as u32
}

const fn high(word: u64) -> u64 {
    word >> 32
}
