//! What a call of a model costs beside the model: a plugin that computes nothing, through the host.
//!
//! `cargo bench -p mlos-benches --bench host`. `again` is one work run over and over in memory of another process, `whole`
//! the same without a gate, which is how a core's front runs what the local edge asks; `fresh` makes a work for each call
//! with memory of the pool, as the other edges do.

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use mlos_plugin_host::{Call, Gate, HostConfig, LoadRequest, Model, Open, Outputs, Plugins, Step, Work};
use mlos_plugin_noop::NoopPlugin;
use mlos_tensor_mem::{DType, Pool, PoolConfig, Region, Segment, SegmentOptions, Shape, Tensor};

const ELEMENTS: usize = 16;
const BYTES: usize = ELEMENTS * size_of::<f32>();

fn load(text: &str) -> Model {
    let mut plugins = Plugins::new(HostConfig::default());
    plugins
        .add_builtin(mlos_smi::entry_of::<NoopPlugin>(), "{}")
        .expect("it is the first plugin");
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text).expect("a few bytes are written");
    let request = LoadRequest {
        path: file.path(),
        component: "",
        cache_dir: None,
        options_json: "{}",
        threads: 1,
    };
    let plugin = plugins.for_format("noop").expect("it was added");
    plugin.load(&request).expect("the text is a model")
}

/// Runs a work whole.
fn run(work: Work, pool: &Pool, gate: &Rc<dyn Gate>) -> Work {
    match Call::start(work, None, pool, Rc::clone(gate)).resume() {
        Step::Done(finished) if finished.result.is_ok() => finished.work,
        other => panic!("{other:?}"),
    }
}

fn noop_call(criterion: &mut Criterion) {
    let pool = Pool::new(PoolConfig::default()).expect("a pool without a node is always possible");
    let gate: Rc<dyn Gate> = Rc::new(Open);
    let shape = Shape::new(&[1, ELEMENTS]).expect("two dimensions");
    let segment = Segment::create(1 << 16, &SegmentOptions::default()).expect("64 KiB");
    let segment = Arc::new(segment);
    let region = |offset| Region::new(&segment, offset, BYTES).expect("within the segment");
    let input = || Tensor::over(region(0), DType::F32, shape).expect("it fits");
    let given = [Some(region(4096))];
    let file =
        |fill: &str| format!("noop 1\ninput x f32 ?,{ELEMENTS}\noutput y f32 ?,{ELEMENTS}\nfill {fill}\n");
    let mut group = criterion.benchmark_group("noop_call");
    for fill in ["nothing", "echo"] {
        let model = load(&file(fill));
        let mut work = Work::new(&model, vec![Some(input())], Outputs::Into(&given)).ok();
        group.bench_function(format!("whole_{fill}"), |bench| {
            bench.iter(|| {
                let mut ready = work.take().expect("it comes back");
                ready.again();
                let finished = Call::run_whole(ready, &pool);
                assert!(finished.result.is_ok());
                work = Some(finished.work);
            });
        });
        group.bench_function(format!("again_{fill}"), |bench| {
            bench.iter(|| {
                let mut ready = work.take().expect("it comes back");
                ready.again();
                work = Some(run(ready, &pool, &gate));
            });
        });
    }
    let model = load(&file("nothing"));
    let x = pool.loan(DType::F32, shape).expect("it fits").zeroed().freeze();
    group.bench_function("fresh", |bench| {
        bench.iter(|| {
            let work = Work::new(&model, vec![Some(x.clone())], Outputs::All).expect("it fits the model");
            black_box(run(work, &pool, &gate).into_outputs()).is_ok()
        });
    });
    group.finish();
}

criterion_group!(benches, noop_call);
criterion_main!(benches);
