//! Works over memory that another process writes, and works that are run again.

use crate::support::*;
use mlos_plugin_host::{Call, Error, ErrorKind, HostConfig, Model, Outputs, Plugins, Step, Verdict, Work};
use mlos_plugin_noop::NoopPlugin;
use mlos_smi::{DType as D, Description, Descriptor, Dim, Failure, Host, LoadRequest, Resources, TensorSpec};
use mlos_tensor_mem::{DType, Region, Segment, SegmentOptions, Shape, Tensor};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An arena as a client has it: its own mapping of what is ours.
struct Arena {
    ours: Arc<Segment>,
    theirs: Arc<Segment>,
}

impl Arena {
    fn new() -> Self {
        let ours = Segment::create(1 << 16, &SegmentOptions::default()).unwrap();
        let fd = ours.as_fd().try_clone_to_owned().unwrap();
        let theirs = Segment::from_fd(fd, ours.len()).unwrap();
        Self {
            ours: Arc::new(ours),
            theirs: Arc::new(theirs),
        }
    }

    fn region(&self, offset: usize, len: usize) -> Region {
        Region::new(&self.ours, offset, len).unwrap()
    }

    fn tensor(&self, offset: usize, dtype: DType, dims: &[usize], len: usize) -> Option<Tensor> {
        let shape = Shape::new(dims).unwrap();
        Some(Tensor::over(self.region(offset, len), dtype, shape).unwrap())
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        let there = Region::new(&self.theirs, offset, bytes.len()).unwrap();
        there.copy_from(bytes).unwrap();
    }

    fn read(&self, offset: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let there = Region::new(&self.theirs, offset, len).unwrap();
        there.copy_to(&mut bytes).unwrap();
        bytes
    }

    fn write_f32(&self, offset: usize, values: &[f32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_ne_bytes()).collect();
        self.write(offset, &bytes);
    }

    fn read_f32(&self, offset: usize, count: usize) -> Vec<f32> {
        let bytes = self.read(offset, count * 4);
        bytes
            .as_chunks()
            .0
            .iter()
            .map(|chunk| f32::from_ne_bytes(*chunk))
            .collect()
    }
}

const OUT: usize = 4096;

fn noop(text: &str) -> Model {
    let mut plugins = Plugins::new(HostConfig::default());
    plugins
        .add_builtin(mlos_smi::entry_of::<NoopPlugin>(), "{}")
        .unwrap();
    let (_dir, path) = model_file(&format!("noop 1\n{text}"));
    plugins
        .for_format("noop")
        .unwrap()
        .load(&request(&path, "{}"))
        .unwrap()
}

fn echo(dtype: DType, more: &str) -> Model {
    noop(&format!(
        "input x {dtype:?} ?\noutput y {dtype:?} ?\nfill echo\n{more}"
    ))
}

#[test]
fn every_element_type_comes_back() {
    let (arena, pool) = (Arena::new(), pool());
    for dtype in DType::ALL {
        let packed = b"\x03\0\0\0one\0\0\0\0".to_vec();
        let bytes = match dtype.size_bytes() {
            Some(size) => (0..2 * size as u8).map(|byte| byte % 2).collect(),
            None => packed,
        };
        arena.write(0, &bytes);
        arena.write(OUT, &[0xEE; 64]);
        let input = arena.tensor(0, dtype, &[2], bytes.len());
        let given = [Some(arena.region(OUT, 64))];
        let work = Work::new(&echo(dtype, ""), vec![input], Outputs::Into(&given)).unwrap();
        assert_eq!(work.extent(0), None, "not run yet");
        let finished = run(work, &pool);
        finished.result.unwrap();
        let (shape, len) = finished.work.extent(0).unwrap();
        assert_eq!((shape.dims(), len), (&[2][..], bytes.len()), "{dtype}");
        let mut expect = bytes.clone();
        expect.resize(64, 0xEE);
        assert_eq!(arena.read(OUT, 64), expect, "{dtype}");
        let outputs = finished.work.into_outputs().unwrap();
        let (index, tensor) = &outputs[0];
        assert_eq!(
            (*index, tensor.dtype(), tensor.byte_len()),
            (0, dtype, bytes.len())
        );
        assert!(tensor.is_shared());
        assert_eq!(tensor.location().offset, OUT);
    }
    assert_eq!(pool.stats().in_use_bytes, 0);
}

/// Notes where its input and its output lie.
struct Peek;
struct Peeking(Description);

static SEEN: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

impl mlos_smi::Plugin for Peek {
    type Model = Peeking;
    const DESCRIPTOR: Descriptor = Descriptor {
        id: c"test.peek",
        name: c"Peek",
        vendor: c"",
        version: c"1",
        description: c"",
        formats: &[c"peek"],
    };

    fn initialize(_: Host, _: &str) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn load(&self, request: &LoadRequest<'_>) -> Result<Peeking, Failure> {
        let spec = |name: &str| TensorSpec {
            name: name.into(),
            dtype: D::ALL
                .into_iter()
                .find(|dtype| format!("{dtype:?}") == request.options_json)
                .unwrap(),
            dims: vec![Dim::Fixed(4)],
            optional: false,
        };
        Ok(Peeking(Description {
            inputs: vec![spec("x")],
            outputs: vec![spec("y")],
            resources: Resources::default(),
        }))
    }
}

impl mlos_smi::Model for Peeking {
    fn description(&self) -> &Description {
        &self.0
    }

    fn infer(&self, call: &mlos_smi::Call<'_>) -> Result<(), Failure> {
        let input = &call.inputs()[0];
        let dtype = input.dtype().unwrap();
        let mut output = call.alloc_output(0, dtype, &[4], input.byte_len())?;
        SEEN[0].store(input.as_ptr().addr(), Ordering::Relaxed);
        SEEN[1].store(output.as_mut_ptr().addr(), Ordering::Relaxed);
        assert_eq!(input.data().is_err(), input.is_shared());
        output.copy_from_tensor(input)
    }
}

/// Zero copies, by address; but none of what engines find their way by is left where another process writes it.
#[test]
fn a_plugin_works_where_the_client_wrote() {
    let (arena, pool) = (Arena::new(), pool());
    let mut plugins = Plugins::new(HostConfig::default());
    plugins.add_builtin(mlos_smi::entry_of::<Peek>(), "{}").unwrap();
    let plugin = plugins.for_format("peek").unwrap();
    let in_place = [
        DType::F32,
        DType::F64,
        DType::F16,
        DType::BF16,
        DType::U8,
        DType::I8,
        DType::U16,
        DType::I16,
    ];
    for dtype in DType::ALL.into_iter().filter(|&dtype| dtype != DType::String) {
        let model = plugin
            .load(&request("/".as_ref(), &format!("{dtype:?}")))
            .unwrap();
        let input = arena.tensor(64, dtype, &[4], 64);
        let expect = [
            input.as_ref().unwrap().as_ptr().addr(),
            arena.region(OUT, 64).as_mut_ptr().addr(),
        ];
        let given = [Some(arena.region(OUT, 64))];
        let mut work = Work::new(&model, vec![input], Outputs::Into(&given)).unwrap();
        // What is known from one run does not change where the next one works.
        for _ in 0..3 {
            let finished = run(work, &pool);
            finished.result.unwrap();
            work = finished.work;
            let seen = SEEN.each_ref().map(|address| address.load(Ordering::Relaxed));
            if in_place.contains(&dtype) {
                assert_eq!(seen, expect, "{dtype}");
            } else {
                assert!(seen[0] != expect[0] && seen[1] != expect[1], "{dtype}");
            }
            assert_eq!(work.shapes(), [Some(Shape::new(&[4]).unwrap())]);
            work.again();
        }
    }
}

/// The other process changes an input in the middle of a call.
#[test]
fn an_index_stays_what_it_was_when_the_call_began() {
    let (arena, pool) = (Arena::new(), pool());
    for (dtype, expect) in [(DType::I64, 1), (DType::Bool, 1), (DType::F64, 0)] {
        let len = 2 * dtype.size_bytes().unwrap();
        arena.write(0, &vec![1; len]);
        let given = [Some(arena.region(OUT, len))];
        let input = arena.tensor(0, dtype, &[2], len);
        let work = Work::new(&echo(dtype, "checkpoints 1"), vec![input], Outputs::Into(&given)).unwrap();
        let mut call = Call::start(work, None, &pool, Switch::new(Verdict::Suspend));
        assert!(matches!(call.resume(), Step::Suspended));
        arena.write(0, &vec![0; len]);
        let (finished, _) = drive(&mut call);
        finished.result.unwrap();
        assert_eq!(arena.read(OUT, len), vec![expect; len], "{dtype}");
    }
}

#[test]
fn text_and_bools_are_checked_after_they_were_copied() {
    let (arena, pool) = (Arena::new(), pool());
    arena.write(0, b"\x09\0\0\0one");
    let work = Work::new(
        &echo(DType::String, ""),
        vec![arena.tensor(0, DType::String, &[1], 7)],
        Outputs::All,
    )
    .unwrap();
    let finished = run(work, &pool);
    let error = finished.result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    assert_eq!(
        error.to_string(),
        "input `x`: string tensor is malformed at element 0 (byte 0): its length reaches past the end"
    );
    arena.write(0, b"\x03\0\0\0one");
    let outputs = run(finished.work, &pool).work.into_outputs().unwrap();
    assert_eq!(outputs[0].1.strings().unwrap().next(), Some(&b"one"[..]));

    arena.write(0, &[1, 0, 2]);
    let input = arena.tensor(0, DType::Bool, &[3], 3);
    let work = Work::new(&echo(DType::Bool, ""), vec![input], Outputs::All).unwrap();
    let error = run(work, &pool).result.unwrap_err();
    assert_eq!(
        error.to_string(),
        "input `x`: bool tensor holds the byte 2 at element 2; it must be 0 or 1"
    );
}

#[test]
fn a_work_is_run_again_on_what_lies_there_now() {
    let (arena, pool, model) = (Arena::new(), pool(), affine("{}"));
    let given = [Some(arena.region(OUT, 24)), Some(arena.region(2 * OUT, 8))];
    let input = arena.tensor(0, DType::F32, &[2, 3], 24);
    let mut work = Work::new(&model, vec![input], Outputs::Into(&given)).unwrap();
    for round in 0..5 {
        let start = round as f32 * 10.0;
        let x: Vec<f32> = (0..6).map(|index| start + index as f32).collect();
        arena.write_f32(0, &x);
        let finished = run(work, &pool);
        finished.result.unwrap();
        work = finished.work;
        let (y, sums) = expected(2, start);
        assert_eq!((arena.read_f32(OUT, 6), arena.read_f32(2 * OUT, 2)), (y, sums));
        assert!(work.is_done());
        assert_eq!(work.extent(1).unwrap().0.dims(), [2]);
        work.again();
        assert!(!work.is_done() && work.extent(1).is_none());
        assert_eq!(work.rows_done(), 0);
    }
    assert_eq!(pool.stats().loans, 0, "nothing came from the pool");
}

/// Copying 32 MiB takes a millisecond or more, and until then the client has nothing.
#[test]
fn a_call_ends_when_its_outputs_are_where_they_shall_be() {
    const BYTES: usize = 32 << 20;
    let (arena, pool) = (Arena::new(), pool());
    let large = Arc::new(Segment::create(BYTES, &SegmentOptions::default()).unwrap());
    let elements = BYTES / size_of::<i64>();
    let model = noop(&format!("input x f32 2\noutput y i64 {elements}\nfill nothing\n"));
    let given = [Some(Region::new(&large, 0, BYTES).unwrap())];
    let input = arena.tensor(0, DType::F32, &[2], 8);
    let work = Work::new(&model, vec![input], Outputs::Into(&given)).unwrap();
    let begun_ns = monotonic_ns();
    let finished = Call::run_whole(work, &pool);
    let now_ns = monotonic_ns();
    finished.result.unwrap();
    assert!((begun_ns..=now_ns).contains(&finished.ended_ns));
    let outside_ns = finished.ended_ns - begun_ns - finished.compute_ns;
    assert!(outside_ns > 200_000, "{outside_ns} ns, with the copy");
}

fn monotonic_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is ours to write.
    let code = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    assert_eq!(code, 0);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What a work knows of its outputs from one run is its own: another over the same memory has other shapes, or no room.
#[test]
fn works_of_different_sizes_share_the_memory_for_their_outputs() {
    let (arena, pool) = (Arena::new(), pool());
    let model = noop("input x f32 ?\noutput y f32 ?\nfill zeros\n");
    let given = [Some(arena.region(OUT, 16))];
    let work = |elements: usize| {
        let input = arena.tensor(0, DType::F32, &[elements], elements * 4);
        Work::new(&model, vec![input], Outputs::Into(&given)).unwrap()
    };
    for elements in [2, 4, 1, 3] {
        let mut work = work(elements);
        for _ in 0..3 {
            arena.write(OUT, &[0xEE; 16]);
            work.again();
            let finished = run(work, &pool);
            finished.result.unwrap();
            work = finished.work;
            assert_eq!(work.shapes(), [Some(Shape::new(&[elements]).unwrap())]);
            let mut expect = vec![0; elements * 4];
            expect.resize(16, 0xEE);
            assert_eq!(arena.read(OUT, 16), expect);
        }
    }
    let refused = run(work(5), &pool);
    assert!(matches!(
        refused.result,
        Err(Error::OutputSpace {
            needed: 20,
            given: 16,
            ..
        })
    ));
}

#[test]
fn parts_are_read_and_written_in_place() {
    const ROWS: usize = 5;
    let (arena, pool, model) = (Arena::new(), pool(), affine("{}"));
    let x: Vec<f32> = (0..ROWS * 3).map(|index| 7.0 + index as f32).collect();
    arena.write_f32(0, &x);
    let given = [Some(arena.region(OUT, 1000)), Some(arena.region(2 * OUT, 1000))];
    let input = arena.tensor(0, DType::F32, &[ROWS, 3], ROWS * 12);
    let mut work = Work::new(&model, vec![input], Outputs::Into(&given)).unwrap();
    for cuts in 0..1 << (ROWS - 1) {
        arena.write(OUT, &[0; 1000]);
        arena.write(2 * OUT, &[0; 1000]);
        let mut start = 0;
        for end in (1..=ROWS).filter(|&end| end == ROWS || cuts & 1 << (end - 1) != 0) {
            let (finished, _) = drive(&mut Call::start(work, Some(start..end), &pool, open()));
            finished.result.unwrap();
            work = finished.work;
            start = end;
        }
        let (y, sums) = expected(ROWS, 7.0);
        assert_eq!(
            (arena.read_f32(OUT, ROWS * 3), arena.read_f32(2 * OUT, ROWS)),
            (y, sums)
        );
        let behind = &arena.read(OUT, 1000)[ROWS * 12..];
        assert!(behind.iter().all(|&byte| byte == 0), "nothing behind the rows");
        assert_eq!(work.extent(0).unwrap().0.dims(), [ROWS, 3]);
        work.again();
    }
    assert_eq!(pool.stats().loans, 0, "nothing came from the pool");
}

#[test]
fn an_output_without_room_says_what_it_needs() {
    let (arena, pool, model) = (Arena::new(), pool(), affine("{}"));
    for rows in [None, Some(0..1)] {
        let input = arena.tensor(0, DType::F32, &[4, 3], 48);
        let given = [None, Some(arena.region(OUT, 15))];
        let work = Work::new(&model, vec![input], Outputs::Into(&given)).unwrap();
        let (finished, _) = drive(&mut Call::start(work, rows, &pool, open()));
        let error = finished.result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        assert_eq!(
            error.to_string(),
            "output `sums` of shape [4] needs 16 bytes, the memory given for it has 15"
        );
        assert_eq!((finished.work.rows_done(), finished.work.is_done()), (0, false));
    }
    let dtype = DType::I64;
    let given = [Some(arena.region(OUT, 15))];
    let input = arena.tensor(0, dtype, &[2], 16);
    let work = Work::new(&echo(dtype, ""), vec![input], Outputs::Into(&given)).unwrap();
    assert!(matches!(
        run(work, &pool).result.unwrap_err(),
        Error::OutputSpace {
            needed: 16,
            given: 15,
            ..
        }
    ));
}

#[test]
fn memory_is_given_for_each_output_or_left_out() {
    let (arena, pool, model) = (Arena::new(), pool(), affine("{}"));
    let input = || vec![arena.tensor(0, DType::F32, &[1, 3], 12)];
    let error = Work::new(&model, input(), Outputs::Into(&[None])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "memory for 1 outputs is given, the model has 2"
    );
    let given = [None, Some(arena.region(OUT, 4))];
    let finished = run(Work::new(&model, input(), Outputs::Into(&given)).unwrap(), &pool);
    finished.result.unwrap();
    assert_eq!(finished.work.extent(0), None, "not wanted");
    let outputs = finished.work.into_outputs().unwrap();
    assert_eq!(outputs.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1]);
}

#[test]
fn outputs_that_were_computed_with_others_are_brought_home() {
    let (arena, pool, model) = (Arena::new(), pool(), affine("{}"));
    let joined = run(work(&model, &pool, 4, 1.0), &pool);
    let outputs = joined.work.into_outputs().unwrap();
    let own: Vec<_> = outputs
        .iter()
        .map(|(index, tensor)| (*index, tensor.rows(1..3).unwrap()))
        .collect();
    let (y, sums) = expected(2, 4.0);

    let input = || vec![arena.tensor(0, DType::F32, &[2, 3], 24)];
    let given = [Some(arena.region(OUT, 24)), Some(arena.region(2 * OUT, 8))];
    let mut bound = Work::new(&model, input(), Outputs::Into(&given)).unwrap();
    bound.accept(&own).unwrap();
    assert!(bound.is_done());
    assert_eq!((bound.rows_done(), bound.extent(1).unwrap().1), (2, 8));
    assert_eq!(
        (arena.read_f32(OUT, 6), arena.read_f32(2 * OUT, 2)),
        (y.clone(), sums.clone())
    );

    let mut loose = Work::new(&model, input(), Outputs::All).unwrap();
    loose.accept(&own).unwrap();
    assert_eq!(values(loose), [(0, y), (1, sums)]);

    let given = [Some(arena.region(OUT, 23)), None];
    let mut short = Work::new(&model, input(), Outputs::Into(&given)).unwrap();
    let error = short.accept(&own).unwrap_err();
    assert!(matches!(
        error,
        Error::OutputSpace {
            needed: 24,
            given: 23,
            ..
        }
    ));
    assert!(!short.is_done());
    let mut missing = Work::new(&model, input(), Outputs::All).unwrap();
    let error = missing.accept(&own[..1]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin example.affine: output `sums`: was not produced"
    );
    assert!(!missing.is_done());
}

/// After a failure or a cancellation a work over given memory runs as before.
#[test]
fn a_work_outlives_its_failures() {
    let (arena, pool, model) = (Arena::new(), pool(), affine("{}"));
    arena.write_f32(0, &[0.0, 1.0, 2.0]);
    let given = [Some(arena.region(OUT, 12)), None];
    let input = arena.tensor(0, DType::F32, &[1, 3], 12);
    let mut work = Work::new(&model, vec![input], Outputs::Into(&given)).unwrap();
    for verdict in [
        Verdict::Cancel,
        Verdict::Continue,
        Verdict::Cancel,
        Verdict::Suspend,
    ] {
        work.again();
        let (finished, _) = drive(&mut Call::start(work, None, &pool, Switch::new(verdict)));
        assert_eq!(finished.result.is_err(), verdict == Verdict::Cancel);
        work = finished.work;
        assert_eq!(work.extent(0).is_some(), verdict != Verdict::Cancel);
    }
    assert_eq!(arena.read_f32(OUT, 3), expected(1, 0.0).0);
}
