//! Both sides of a connection in one process, and somebody who writes where nobody should.

#![expect(dead_code, reason = "each test uses its part")]
#![expect(clippy::unwrap_used, reason = "of tests only")]

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use mlos_shm::control::{ClientSide, DaemonSide, Handout, Welcome};
use mlos_shm::{DType, Segment, SegmentOptions};

pub const ARENA_BYTES: u64 = 1 << 20;

/// The model of [`frame_words`], and where that frame lies.
pub const HANDLE: u32 = 7;
pub const FRAME_AT: u64 = 4096;

/// A connection, and what its client could write to.
pub struct Pair {
    pub daemon: DaemonSide,
    pub client: ClientSide,
    pub rings: Vandal,
    pub arena: Vandal,
}

pub fn pair(slots: u32) -> Pair {
    let (daemon, handout) = DaemonSide::create(slots, ARENA_BYTES, &SegmentOptions::default()).unwrap();
    let [rings, arena, ..] = handout.fds();
    let (rings, arena) = (Vandal::map(rings.as_fd()), Vandal::map(arena.as_fd()));
    let client = ClientSide::accept(&welcome(slots, &daemon), duplicates(&handout)).unwrap();
    Pair {
        daemon,
        client,
        rings,
        arena,
    }
}

pub fn welcome(slots: u32, daemon: &DaemonSide) -> Welcome {
    Welcome {
        features: 0,
        slots,
        arena_bytes: daemon.arena.len() as u64,
        bindings_max: 16,
        shard: 0,
        daemon: String::from("test"),
    }
}

/// What the client receives.
pub fn duplicates(handout: &Handout) -> Vec<OwnedFd> {
    let fds = handout.fds();
    fds.iter().map(|fd| fd.try_clone_to_owned().unwrap()).collect()
}

/// Another mapping of the same memory.
pub struct Vandal {
    segment: Segment,
}

impl Vandal {
    pub fn map(fd: impl AsFd) -> Self {
        let bytes = rustix::fs::fstat(&fd).unwrap().st_size as usize;
        let fd = fd.as_fd().try_clone_to_owned().unwrap();
        Self {
            segment: Segment::from_fd(fd, bytes).unwrap(),
        }
    }

    pub fn len(&self) -> usize {
        self.segment.len()
    }

    pub fn u32(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.len());
        // SAFETY: in the mapping and aligned, as asserted; any bytes are an atomic.
        unsafe { self.segment.at(offset).cast::<AtomicU32>().as_ref() }
    }

    pub fn u64(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.len());
        // SAFETY: as above.
        unsafe { self.segment.at(offset).cast::<AtomicU64>().as_ref() }
    }

    pub fn write(&self, offset: usize, value: u32) {
        self.u32(offset).store(value, Ordering::Relaxed);
    }
}

/// Random numbers from a seed (xorshift64*): enough to scribble with.
pub struct Random(u64);

impl Random {
    /// From the clock, or from `MLOS_SEED`; printed, so that a failure can be had again.
    pub fn seeded() -> Self {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let given = std::env::var("MLOS_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or(now.as_nanos() as u64);
        println!("MLOS_SEED={seed}");
        Self::from(seed)
    }

    pub fn from(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Two inputs and two outputs, the second of unknown shape.
pub fn frame_words() -> Vec<u64> {
    let header = [u64::from(HANDLE) | 2 << 32 | 2 << 48, 8192, 256, 0];
    let record = |offset, bytes, dtype: DType, rank: u8, dims: [u64; 2]| {
        let kind = dtype as u64 | u64::from(rank) << 8 | 1 << 16;
        [offset, bytes, kind, dims[0], dims[1], 0, 0, 0, 0, 0, 0, 0]
    };
    let mut words = header.to_vec();
    words.extend(record(65536, 24, DType::F32, 2, [2, 3]));
    words.extend(record(65536 + 64, 40, DType::String, 1, [10, 0]));
    words.extend(record(131_072, 64, DType::I64, 1, [8, 0]));
    words.extend(record(131_072 + 64, 4096, DType::U8, 255, [0, 0]));
    words
}
