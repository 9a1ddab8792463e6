//! Tensor memory against the C library's allocator: lending and returning, with and without touching every page.
//!
//! `cargo bench -p mlos-benches --bench tensor_mem`. The promise of `SPECIFICATION.md`: loan and drop of a slab class in
//! under 100 ns.

use std::alloc::{Layout, alloc, dealloc};
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mlos_tensor_mem::limits::ALIGN_BYTES;
use mlos_tensor_mem::{DType, Pool, PoolConfig, Shape};

const SIZES: [(&str, usize); 4] = [
    ("256B", 256),
    ("4KiB", 4 << 10),
    ("600KiB", 600 << 10),
    ("16MiB", 16 << 20),
];

fn pool() -> Pool {
    Pool::new(PoolConfig::default()).expect("a pool without a node is always possible")
}

fn shape(bytes: usize) -> Shape {
    Shape::new(&[bytes]).expect("one dimension fits")
}

fn malloc(bytes: usize, touch: impl Fn(*mut u8, usize)) {
    let layout = Layout::from_size_align(bytes, ALIGN_BYTES).expect("sizes are small");
    // SAFETY: the layout is not empty.
    let block = unsafe { alloc(layout) };
    assert!(!block.is_null());
    touch(block, bytes);
    // SAFETY: allocated just above with this layout.
    unsafe { dealloc(block, layout) };
}

fn write_all(block: *mut u8, bytes: usize) {
    // SAFETY: both callers own `bytes` bytes there.
    unsafe { block.write_bytes(1, bytes) };
    black_box(block);
}

fn loan_and_drop(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("loan_drop");
    for (name, bytes) in SIZES {
        let (pool, shape) = (pool(), shape(bytes));
        group.bench_function(BenchmarkId::new("pool", name), |bench| {
            bench.iter(|| black_box(pool.loan(DType::U8, black_box(shape))).is_ok());
        });
        group.bench_function(BenchmarkId::new("malloc", name), |bench| {
            bench.iter(|| malloc(black_box(bytes), |block, _| _ = black_box(block)));
        });
    }
    group.finish();
}

fn loan_write_and_drop(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("loan_write_drop");
    for (name, bytes) in SIZES {
        let (pool, shape) = (pool(), shape(bytes));
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::new("pool", name), |bench| {
            bench.iter(|| {
                let mut loan = pool
                    .loan(DType::U8, black_box(shape))
                    .expect("one loan is within the limit");
                write_all(loan.as_mut_ptr(), bytes);
            });
        });
        group.bench_function(BenchmarkId::new("malloc", name), |bench| {
            bench.iter(|| malloc(black_box(bytes), write_all));
        });
    }
    group.finish();
}

/// What an edge does with a JSON array: one push for each number.
fn push_elements(criterion: &mut Criterion) {
    const ELEMENTS: usize = 3 * 224 * 224;
    let pool = pool();
    let shape = Shape::new(&[1, 3, 224, 224]).expect("four dimensions fit");
    let mut group = criterion.benchmark_group("writer");
    group.throughput(Throughput::Elements(ELEMENTS as u64));
    group.bench_function("push_f32_150528", |bench| {
        bench.iter(|| {
            let mut writer = pool
                .loan(DType::F32, shape)
                .and_then(|loan| loan.writer::<f32>())
                .expect("it fits");
            for n in 0..ELEMENTS {
                writer.push(black_box(n as f32)).expect("there is room for all");
            }
            writer.finish().expect("all are written")
        });
    });
    group.finish();
}

fn clone_and_view(criterion: &mut Criterion) {
    let pool = pool();
    let shape = Shape::new(&[32, 1000]).expect("two dimensions fit");
    let tensor = pool.loan(DType::F32, shape).expect("it fits").zeroed().freeze();
    let mut group = criterion.benchmark_group("share");
    group.bench_function("clone_drop", |bench| bench.iter(|| black_box(tensor.clone())));
    group.bench_function("rows_drop", |bench| {
        bench.iter(|| black_box(tensor.rows(black_box(3..5))).is_ok())
    });
    group.finish();
}

criterion_group!(
    benches,
    loan_and_drop,
    loan_write_and_drop,
    push_elements,
    clone_and_view
);
criterion_main!(benches);
