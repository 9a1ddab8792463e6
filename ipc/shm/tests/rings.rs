//! Rings: order, room, and what a peer that lies comes to.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::os::fd::{AsFd, OwnedFd};

use mlos_shm::layout::{self, REQUESTS_OFFSET};
use mlos_shm::{Error, Fault, Full, Op, Request, Response, RingName, Rings, Segment, Status};
use rustix::fs::{MemfdFlags, SealFlags};
use support::{Pair, pair};

const SLOT: usize = layout::LINE_BYTES;

#[test]
fn messages_arrive_as_they_were_sent_over_many_rounds() {
    for slots in [2, 4, 256, 1024] {
        let Pair {
            mut daemon,
            mut client,
            ..
        } = pair(slots);
        let mut sent = 0;
        for round in 0..3 * u64::from(slots) {
            let burst = round % u64::from(slots) + 1;
            for _ in 0..burst {
                let request = Request {
                    class: (sent % 5) as u8,
                    on_miss: (sent % 2) as u8,
                    deadline_us: sent * 3,
                    ..Request::bind(sent, sent as u32, !sent as u32, sent << 6, 96)
                };
                client.requests.push(request).unwrap();
                sent += 1;
            }
            for id in sent - burst..sent {
                let request = daemon.requests.pop().unwrap().unwrap();
                let expected = (Op::Bind, id, id as u32, !id as u32, id << 6, 96, id * 3);
                let Request {
                    op,
                    id,
                    binding,
                    handle,
                    frame_offset,
                    frame_bytes,
                    deadline_us,
                    ..
                } = request;
                assert_eq!(
                    (op, id, binding, handle, frame_offset, frame_bytes, deadline_us),
                    expected
                );
                assert_eq!(
                    (u64::from(request.class), u64::from(request.on_miss)),
                    (id % 5, id % 2)
                );
            }
            assert!(daemon.requests.is_empty());
            assert_eq!(daemon.requests.pop(), Ok(None));
        }
    }
}

#[test]
fn responses_carry_every_field() {
    let Pair {
        mut daemon,
        mut client,
        ..
    } = pair(2);
    for (at, status) in Status::ALL.into_iter().enumerate() {
        let response = Response {
            status,
            class: 4,
            flags: layout::FLAG_SHAPES_WRITTEN,
            id: u64::MAX - at as u64,
            queue_ns: 1 << 40,
            compute_ns: 1 << 41,
            preemptions: u32::MAX,
            parts: 7,
            text_bytes: 4096,
        };
        daemon.responses.push(response).unwrap();
        assert_eq!(client.responses.pop(), Ok(Some(response)));
    }
}

#[test]
fn a_full_ring_takes_no_more_until_one_is_read() {
    for slots in [2_u32, 8, 64] {
        let Pair {
            mut daemon,
            mut client,
            ..
        } = pair(slots);
        for round in 0..5 {
            for id in 0..slots.into() {
                assert_eq!(
                    client.requests.push(Request::infer(id, 0)),
                    Ok(()),
                    "round {round}"
                );
            }
            assert_eq!(client.requests.push(Request::infer(0, 0)), Err(Full));
            assert_eq!(daemon.requests.pop().unwrap().unwrap().id, 0);
            assert_eq!(client.requests.push(Request::infer(slots.into(), 0)), Ok(()));
            assert_eq!(client.requests.push(Request::infer(0, 0)), Err(Full));
            for id in 1..=slots.into() {
                assert_eq!(daemon.requests.pop().unwrap().unwrap().id, id);
            }
        }
        assert_eq!(client.requests.capacity(), slots);
        assert_eq!(daemon.requests.capacity(), slots);
        assert_eq!(daemon.responses.capacity(), slots);
        assert_eq!(client.responses.capacity(), slots);
    }
}

/// The bytes in memory are those that the layout says, for whoever writes a client without this crate.
#[test]
fn slots_have_the_layout_that_is_written_down() {
    let Pair {
        mut client, rings, ..
    } = pair(2);
    let request = Request {
        class: 2,
        on_miss: 1,
        deadline_us: 9,
        ..Request::bind(0x0102_0304_0506_0708, 3, 4, 0x40, 96)
    };
    client.requests.push(request).unwrap();
    let at = |field| REQUESTS_OFFSET + field;
    use std::mem::offset_of;
    use std::sync::atomic::Ordering::Relaxed;
    let words = [
        (offset_of!(layout::RequestSlot, turn), 1),
        (
            offset_of!(layout::RequestSlot, op),
            u32::from_le_bytes([2, 2, 1, 0]),
        ),
        (offset_of!(layout::RequestSlot, id), 0x0506_0708),
        (offset_of!(layout::RequestSlot, id) + 4, 0x0102_0304),
        (offset_of!(layout::RequestSlot, binding), 3),
        (offset_of!(layout::RequestSlot, handle), 4),
        (offset_of!(layout::RequestSlot, frame_offset), 0x40),
        (offset_of!(layout::RequestSlot, frame_bytes), 96),
        (offset_of!(layout::RequestSlot, deadline_us), 9),
    ];
    for (field, expected) in words {
        assert_eq!(rings.u32(at(field)).load(Relaxed), expected, "at {field}");
    }
}

#[test]
fn a_turn_that_cannot_be_is_a_fault() {
    for (turn, is_fault) in [
        (0, false),
        (2, true),
        (3, true),
        (u32::MAX, true),
        (1 << 31, true),
    ] {
        let Pair {
            mut daemon, rings, ..
        } = pair(4);
        rings.write(REQUESTS_OFFSET, turn);
        let expected = Fault::Turn {
            ring: RingName::Requests,
            slot: 0,
            expected: 1,
            found: turn,
        };
        assert_eq!(daemon.requests.is_empty(), !is_fault);
        let got = daemon.requests.pop();
        assert_eq!(got, if is_fault { Err(expected) } else { Ok(None) }, "{turn}");
    }
}

/// A client that goes once around without waiting finds no slot free; one that writes all the same is found.
#[test]
fn a_ring_that_wraps_over_unread_slots_is_a_fault() {
    let Pair {
        mut daemon, rings, ..
    } = pair(4);
    for slot in 0..4 {
        rings.write(REQUESTS_OFFSET + slot * SLOT + 4, 1);
        rings.write(REQUESTS_OFFSET + slot * SLOT, 1);
    }
    // The second time around, before anything was read.
    rings.write(REQUESTS_OFFSET, 3);
    let error = daemon.requests.pop().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the requests ring is broken: slot 0 has turn 3, expected 1"
    );
}

#[test]
fn a_message_that_cannot_be_is_a_fault() {
    let slot = REQUESTS_OFFSET;
    let unknown = |op| Err(Fault::UnknownOp { op, id: 0 });
    let reserved = || Err(Fault::Reserved { what: "a request" });
    for (offset, value, expected) in [
        (4, 0, unknown(0)),
        (4, 5, unknown(5)),
        (4, 255, unknown(255)),
        (4, 1 | 1 << 24, reserved()),
        (36, 1, reserved()),
        (48, 1, reserved()),
        (60, 1 << 31, reserved()),
    ] {
        let Pair {
            mut daemon, rings, ..
        } = pair(4);
        rings.write(slot + 4, 1);
        rings.write(slot + offset, value);
        rings.write(slot, 1);
        assert_eq!(daemon.requests.pop(), expected, "{offset}: {value}");
    }
    let Pair {
        mut client, rings, ..
    } = pair(4);
    let slot = layout::responses_offset(4);
    rings.write(slot + 4, 12);
    rings.write(slot, 1);
    assert_eq!(
        client.responses.pop(),
        Err(Fault::UnknownStatus { status: 12, id: 0 })
    );
}

/// A client that gives slots back which it has not read loses responses, and nobody else anything.
#[test]
fn a_client_that_lies_about_reading_is_overwritten_and_no_more() {
    let Pair {
        mut daemon, rings, ..
    } = pair(4);
    let responses = layout::responses_offset(4);
    for round in 0..3_u32 {
        for id in 0..4 {
            daemon.responses.push(Response::new(id, Status::Ok)).unwrap();
        }
        assert_eq!(daemon.responses.push(Response::new(4, Status::Ok)), Err(Full));
        for slot in 0..4 {
            rings.write(responses + slot * SLOT, 2 * round + 2);
        }
    }
    // And one that writes nonsense there gets no more.
    rings.write(responses, 77);
    assert_eq!(daemon.responses.push(Response::new(5, Status::Ok)), Err(Full));
}

#[test]
fn only_a_power_of_two_within_bounds_is_a_number_of_slots() {
    for slots in [0, 1, 3, 100, 4095, 8192, u32::MAX] {
        let error = Rings::create(slots).unwrap_err();
        assert!(
            matches!(error, Error::OutOfBounds { got, .. } if got == u64::from(slots)),
            "{error}"
        );
        assert_eq!(error.kind(), Status::InvalidArgument);
    }
}

fn fd_of(rings: &Rings) -> OwnedFd {
    rings.as_fd().try_clone_to_owned().unwrap()
}

#[test]
fn rings_are_mapped_only_as_they_were_made() {
    let rings = Rings::create(64).unwrap();
    assert_eq!(Rings::map(fd_of(&rings), 64).unwrap().slots(), 64);
    for (slots, problem) in [
        (32, "it has other slots than the daemon said"),
        (128, "the file is shorter than its rings"),
    ] {
        let error = Rings::map(fd_of(&rings), slots).unwrap_err();
        assert!(
            matches!(error, Error::Fault(Fault::RingsHeader { problem: got }) if got == problem),
            "{error}"
        );
    }
    assert!(matches!(
        Rings::map(fd_of(&rings), 3),
        Err(Error::OutOfBounds { .. })
    ));
}

#[test]
fn a_header_that_is_off_is_not_mapped() {
    for (offset, value, problem) in [
        (0, 0, "it is of another kind or version"),
        (4, 2, "it is of another kind or version"),
        (8, 32, "it has other slots than the daemon said"),
        (12, 64, "it has other slots than the daemon said"),
        (16, 0, "it has other offsets or another length"),
        (20, 0, "it has other offsets or another length"),
    ] {
        let rings = Rings::create(64).unwrap();
        support::Vandal::map(&rings).write(offset, value);
        let error = Rings::map(fd_of(&rings), 64).unwrap_err();
        assert!(
            matches!(error, Error::Fault(Fault::RingsHeader { problem: got }) if got == problem),
            "{offset}: {error}"
        );
    }
}

fn memfd(bytes: u64, seals: SealFlags) -> OwnedFd {
    let fd = rustix::fs::memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&fd, bytes).unwrap();
    rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
    fd
}

#[test]
fn a_file_that_could_be_cut_off_is_not_mapped() {
    let bytes = layout::rings_bytes(64) as u64;
    for (fd, expected) in [
        (memfd(bytes, SealFlags::empty()), "not sealed against shrinking"),
        (memfd(bytes, SealFlags::GROW), "not sealed against shrinking"),
        (memfd(bytes, SealFlags::SHRINK), "another kind or version"),
        (memfd(0, SealFlags::SHRINK), "shorter than its rings"),
        (memfd(bytes - 1, SealFlags::SHRINK), "shorter than its rings"),
        (memfd(bytes + 1, SealFlags::SHRINK), "whole number of pages"),
        (
            rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap(),
            "shorter than its rings",
        ),
    ] {
        let error = Rings::map(fd, 64).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    // And nobody can cut off what the daemon makes.
    let rings = Rings::create(64).unwrap();
    for bytes in [0, 1 << 30] {
        assert_eq!(rustix::fs::ftruncate(&rings, bytes), Err(rustix::io::Errno::PERM));
    }
    assert!(Segment::from_fd(fd_of(&rings), layout::rings_bytes(64)).is_ok());
}
