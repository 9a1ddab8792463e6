//! A work that is run again allocates nothing, and neither does its call. Without the test harness, whose own thread
//! allocates.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::alloc::System;
use std::rc::Rc;
use std::sync::Arc;

use mlos_plugin_host::{
    Call, Checkpoint, Gate, HostConfig, LoadRequest, Model, Outputs, Plugins, Step, Verdict, Work,
};
use mlos_plugin_noop::NoopPlugin;
use mlos_tensor_mem::{DType, Pool, PoolConfig, Region, Segment, SegmentOptions, Shape, Tensor};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region as Count, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CALLS: u64 = 1000;

/// Suspends at every checkpoint.
struct Suspend;

impl Gate for Suspend {
    fn at_checkpoint(&self, _: Checkpoint) -> Verdict {
        Verdict::Suspend
    }
}

fn load(text: &str) -> Model {
    let mut plugins = Plugins::new(HostConfig::default());
    plugins
        .add_builtin(mlos_smi::entry_of::<NoopPlugin>(), "{}")
        .unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let request = LoadRequest {
        path: file.path(),
        component: "",
        cache_dir: None,
        options_json: "{}",
        threads: 1,
    };
    plugins.for_format("noop").unwrap().load(&request).unwrap()
}

/// Runs a work, and says how often it was suspended.
fn run(mut work: Work, pool: &Pool, gate: &Rc<dyn Gate>) -> (Work, u64) {
    work.again();
    let mut call = Call::start(work, None, pool, Rc::clone(gate));
    let mut suspensions = 0;
    loop {
        match call.resume() {
            Step::Suspended => suspensions += 1,
            Step::Done(finished) => {
                finished.result.unwrap();
                return (finished.work, suspensions);
            }
        }
    }
}

/// Six inputs and outputs of a type, in one segment. More than the host keeps inline for a call.
fn work(dtype: DType) -> Work {
    const TENSORS: usize = 6;
    let shape = Shape::new(&[1, 2, 2, 4]).unwrap();
    let bytes = shape.byte_len(dtype).unwrap();
    let name = format!("{dtype:?}");
    let lines = (0..TENSORS).map(|n| format!("input x{n} {name} ?,2,2,4\noutput y{n} {name} ?,2,2,4\n"));
    let text = format!("noop 1\nfill echo\ncheckpoints 2\n{}", lines.collect::<String>());
    let segment = Arc::new(Segment::create(1 << 16, &SegmentOptions::default()).unwrap());
    let region = |n: usize| Region::new(&segment, n * 256, bytes).unwrap();
    let inputs = (0..TENSORS).map(|n| Some(Tensor::over(region(n), dtype, shape).unwrap()));
    let outputs: Vec<Option<Region>> = (TENSORS..2 * TENSORS).map(|n| Some(region(n))).collect();
    Work::new(&load(&text), inputs.collect(), Outputs::Into(&outputs)).unwrap()
}

fn main() {
    let pool = Pool::new(PoolConfig::default()).unwrap();
    // In place, and copied to the pool and back.
    for dtype in [DType::F32, DType::I64] {
        let gate: Rc<dyn Gate> = Rc::new(Suspend);
        let (mut again, _) = run(work(dtype), &pool, &gate);
        let count = Count::new(ALLOCATOR);
        let mut suspensions = 0;
        for _ in 0..CALLS {
            let (work, suspended) = run(again, &pool, &gate);
            again = work;
            suspensions += suspended;
        }
        let change = count.change();
        let (allocations, frees) = (change.allocations + change.reallocations, change.deallocations);
        println!(
            "{CALLS} calls of {dtype}: {suspensions} suspensions, {allocations} allocations, {frees} frees"
        );
        assert_eq!((allocations, frees), (0, 0));
        assert_eq!(suspensions, 2 * CALLS);
        assert_eq!(again.extent(5).unwrap().0.dims(), [1, 2, 2, 4]);
    }
}
