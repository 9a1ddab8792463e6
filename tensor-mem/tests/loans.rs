//! The life of one loan, from written to frozen.
#![cfg(not(loom))]
#![expect(
    clippy::unwrap_used,
    reason = "a test's own helpers, where a panic is the message"
)]

use half::{bf16, f16};
use mlos_tensor_mem::limits::{ALIGN_BYTES, SLAB_BLOCK_BYTES_MAX};
use mlos_tensor_mem::{DType, Element, Error, ErrorKind, Full, Pool, PoolConfig, Shape, Tensor};

fn pool() -> Pool {
    Pool::new(PoolConfig::default()).unwrap()
}

fn shape(dims: &[usize]) -> Shape {
    Shape::new(dims).unwrap()
}

#[test]
fn written_frozen_read() {
    let pool = pool();
    let mut tensor = pool
        .loan(DType::I32, shape(&[2, 2]))
        .unwrap()
        .copy_from(&[1; 16])
        .unwrap();
    tensor.as_mut_slice::<i32>().unwrap()[3] = -1;
    assert_eq!(
        tensor.as_slice::<i32>().unwrap(),
        [0x0101_0101, 0x0101_0101, 0x0101_0101, -1]
    );
    let tensor = tensor.freeze();
    assert_eq!(
        (tensor.dtype(), tensor.shape().dims(), tensor.byte_len()),
        (DType::I32, &[2, 2][..], 16)
    );
    assert_eq!(tensor.bytes().unwrap()[12..], [255; 4]);
    assert_eq!(tensor.clone().as_ptr(), tensor.as_ptr());
    assert_eq!(format!("{tensor:?}"), "Tensor(int32 [2, 2])");
}

#[test]
fn every_loan_is_aligned_and_apart_from_the_others() {
    let pool = pool();
    let mut held: Vec<(usize, usize, Tensor)> = Vec::new();
    for bytes in [
        0,
        1,
        63,
        64,
        65,
        255,
        257,
        4095,
        4096,
        100_000,
        SLAB_BLOCK_BYTES_MAX,
        SLAB_BLOCK_BYTES_MAX + 1,
    ] {
        for _ in 0..3 {
            let mut loan = pool.loan(DType::U8, shape(&[bytes])).unwrap();
            let start = loan.as_mut_ptr().addr();
            assert_eq!(start % ALIGN_BYTES, 0, "{bytes} bytes");
            assert_eq!(loan.uninit_bytes().len(), bytes);
            held.push((start, start + bytes, loan.zeroed().freeze()));
        }
    }
    held.sort_by_key(|&(start, ..)| start);
    for pair in held.windows(2) {
        assert!(
            pair[0].1 <= pair[1].0 && pair[0].0 < pair[1].0,
            "{:?} meets {:?}",
            pair[0],
            pair[1]
        );
    }
}

#[test]
fn sizes_must_agree() {
    let pool = pool();
    for (given, expected) in [(0, 12), (11, 12), (13, 12)] {
        let loan = pool.loan(DType::F32, shape(&[3])).unwrap();
        let error = loan.copy_from(&vec![0; given]).unwrap_err();
        assert!(matches!(error, Error::SizeMismatch { expected: e, got: g } if (e, g) == (expected, given)));
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let error = pool.loan_bytes(DType::F32, shape(&[3]), given).unwrap_err();
        assert!(matches!(error, Error::SizeMismatch { expected: e, got: g } if (e, g) == (expected, given)));
    }
    assert_eq!(pool.stats().in_use_bytes, 0, "a refused loan is returned");
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let pool = pool();
    for dims in [
        &[usize::MAX][..],
        &[1 << 47],
        &[1 << 24, 1 << 24],
        &[usize::MAX, usize::MAX],
    ] {
        let error = pool.loan(DType::U8, shape(dims)).unwrap_err();
        assert!(matches!(error, Error::ShapeOverflow { .. }), "{dims:?}: {error}");
    }
    let error = pool.loan(DType::F64, shape(&[1 << 44])).unwrap_err();
    assert!(matches!(
        error,
        Error::ShapeOverflow {
            dtype: DType::F64,
            ..
        }
    ));
    // Addressable, but above the limit.
    let error = pool.loan(DType::U8, shape(&[1 << 46])).unwrap_err();
    assert!(
        matches!(error, Error::Exhausted { asked, limit, in_use: 0 } if asked == 1 << 46 && limit == 1 << 30)
    );
    assert_eq!(error.kind(), ErrorKind::Exhausted);
}

#[test]
fn empty_tensors_and_scalars() {
    let pool = pool();
    let empty = pool
        .loan(DType::F32, shape(&[0, 3]))
        .unwrap()
        .copy_from(&[])
        .unwrap()
        .freeze();
    assert_eq!(empty.as_slice::<f32>().unwrap(), []);
    assert_eq!(empty.rows(0..0).unwrap().shape().dims(), [0, 3]);
    assert!(matches!(
        empty.rows(0..1),
        Err(Error::RowsOutOfRange { rows: 0, .. })
    ));
    assert_eq!(
        empty.reshape(shape(&[3, 0, 7])).unwrap().shape().dims(),
        [3, 0, 7]
    );

    let mut one = pool
        .loan(DType::F64, Shape::SCALAR)
        .unwrap()
        .writer::<f64>()
        .unwrap();
    one.push(2.5).unwrap();
    let scalar = one.finish().unwrap().freeze();
    assert_eq!(scalar.as_slice::<f64>().unwrap(), [2.5]);
    assert!(matches!(
        scalar.rows(0..0),
        Err(Error::RowsOutOfRange { rows: 0, .. })
    ));
    assert_eq!(
        scalar
            .reshape(shape(&[1, 1]))
            .unwrap()
            .rows(0..1)
            .unwrap()
            .as_slice::<f64>()
            .unwrap(),
        [2.5]
    );

    let nothing = pool
        .loan(DType::I64, shape(&[2, 0]))
        .unwrap()
        .writer::<i64>()
        .unwrap();
    assert_eq!(nothing.remaining(), 0);
    let nothing = nothing.finish().unwrap().freeze();
    assert_eq!(nothing.rows(1..2).unwrap().byte_len(), 0);
}

fn round_trip<T: Element + PartialEq + std::fmt::Debug>(pool: &Pool, values: &[T]) {
    let mut writer = pool
        .loan(T::DTYPE, shape(&[values.len()]))
        .unwrap()
        .writer::<T>()
        .unwrap();
    values.iter().for_each(|&value| writer.push(value).unwrap());
    let tensor = writer.finish().unwrap().freeze();
    assert_eq!(tensor.as_slice::<T>().unwrap(), values, "{}", T::DTYPE);
    assert_eq!(tensor.byte_len(), size_of_val(values));
}

#[test]
fn every_element_type_round_trips() {
    let pool = pool();
    round_trip(&pool, &[true, false]);
    round_trip(&pool, &[0_u8, u8::MAX]);
    round_trip(&pool, &[0_u16, u16::MAX]);
    round_trip(&pool, &[0_u32, u32::MAX]);
    round_trip(&pool, &[0_u64, u64::MAX]);
    round_trip(&pool, &[i8::MIN, i8::MAX]);
    round_trip(&pool, &[i16::MIN, i16::MAX]);
    round_trip(&pool, &[i32::MIN, i32::MAX]);
    round_trip(&pool, &[i64::MIN, i64::MAX]);
    round_trip(&pool, &[f16::MIN, f16::MAX]);
    round_trip(&pool, &[bf16::MIN, bf16::MAX]);
    round_trip(&pool, &[f32::MIN, f32::INFINITY]);
    round_trip(&pool, &[f64::MIN, f64::INFINITY]);
}

#[test]
fn a_writer_takes_exactly_its_elements() {
    let pool = pool();
    let loan = || pool.loan(DType::F32, shape(&[2, 2])).unwrap();
    assert!(matches!(
        loan().writer::<f64>(),
        Err(Error::DTypeMismatch {
            expected: DType::F32,
            got: DType::F64
        })
    ));

    let mut writer = loan().writer::<f32>().unwrap();
    writer.extend_from_slice(&[1.0, 2.0, 3.0]).unwrap();
    assert_eq!((writer.written(), writer.remaining()), (3, 1));
    assert_eq!(writer.extend_from_slice(&[4.0, 5.0]), Err(Full));
    assert_eq!(writer.remaining(), 1, "all or nothing");
    writer.push(4.0).unwrap();
    assert_eq!(writer.push(5.0), Err(Full));
    assert_eq!(
        writer.finish().unwrap().as_slice::<f32>().unwrap(),
        [1.0, 2.0, 3.0, 4.0]
    );

    let mut short = loan().writer::<f32>().unwrap();
    short.push(1.0).unwrap();
    assert!(matches!(
        short.finish(),
        Err(Error::SizeMismatch { expected: 16, got: 4 })
    ));
    assert_eq!(
        pool.stats().in_use_bytes,
        0,
        "an unfinished writer returns its loan"
    );
}

#[test]
fn types_must_agree() {
    let tensor = pool().loan(DType::I64, shape(&[2])).unwrap().zeroed();
    assert!(matches!(
        tensor.as_slice::<u64>(),
        Err(Error::DTypeMismatch {
            expected: DType::I64,
            got: DType::U64
        })
    ));
    let tensor = tensor.freeze();
    assert!(matches!(
        tensor.as_slice::<f64>(),
        Err(Error::DTypeMismatch { .. })
    ));
    assert!(matches!(tensor.strings(), Err(Error::DTypeMismatch { .. })));
}

#[test]
fn a_byte_that_is_no_bool_is_found() {
    let mut tensor = pool()
        .loan(DType::Bool, shape(&[3]))
        .unwrap()
        .copy_from(&[1, 0, 2])
        .unwrap();
    assert!(matches!(
        tensor.as_mut_slice::<bool>(),
        Err(Error::InvalidBool { element: 2, byte: 2 })
    ));
    let tensor = tensor.freeze();
    assert!(matches!(
        tensor.as_slice::<bool>(),
        Err(Error::InvalidBool { element: 2, byte: 2 })
    ));
    assert_eq!(
        tensor.rows(0..2).unwrap().as_slice::<bool>().unwrap(),
        [true, false]
    );
}

#[test]
fn rows_are_views() {
    let pool = pool();
    let mut writer = pool
        .loan(DType::U16, shape(&[5, 3]))
        .unwrap()
        .writer::<u16>()
        .unwrap();
    (0..15).for_each(|n| writer.push(n).unwrap());
    let tensor = writer.finish().unwrap().freeze();
    for (rows, expect) in [
        (0..5, 0..15),
        (0..0, 0..0),
        (5..5, 0..0),
        (1..3, 3..9),
        (4..5, 12..15),
    ] {
        let view = tensor.rows(rows.clone()).unwrap();
        assert_eq!(view.shape().dims(), [rows.len(), 3]);
        assert_eq!(
            view.as_slice::<u16>().unwrap(),
            expect.collect::<Vec<u16>>(),
            "rows {rows:?}"
        );
    }
    #[expect(clippy::reversed_empty_ranges, reason = "that is one of the cases")]
    for rows in [0..6, 6..6, 3..2, usize::MAX..usize::MAX, 0..usize::MAX] {
        assert!(matches!(
            tensor.rows(rows),
            Err(Error::RowsOutOfRange { rows: 5, .. })
        ));
    }
    let inner = tensor.rows(1..4).unwrap().rows(2..3).unwrap();
    assert_eq!(inner.as_slice::<u16>().unwrap(), [9, 10, 11]);
    assert_eq!(
        inner
            .reshape(shape(&[3, 1]))
            .unwrap()
            .rows(2..3)
            .unwrap()
            .as_slice::<u16>()
            .unwrap(),
        [11]
    );
    drop(tensor);
    assert_eq!(
        inner.as_slice::<u16>().unwrap(),
        [9, 10, 11],
        "a view keeps the memory"
    );
    assert_eq!(pool.stats().in_use_bytes, 64);
    drop(inner);
    assert_eq!(pool.stats().in_use_bytes, 0);
}

#[test]
fn reshape_keeps_the_elements() {
    let tensor = pool()
        .loan(DType::U8, shape(&[2, 6]))
        .unwrap()
        .zeroed()
        .reshape(shape(&[12]))
        .unwrap();
    let error = tensor.reshape(shape(&[13])).unwrap_err();
    assert!(matches!(error, Error::ElementsMismatch { from: 12, to: 13 }));
    assert_eq!(error.to_string(), "cannot reshape 12 elements into 13");
}

#[test]
fn writing_again_needs_to_be_alone_with_the_whole() {
    let tensor = pool()
        .loan(DType::U8, shape(&[2]))
        .unwrap()
        .copy_from(&[1, 2])
        .unwrap()
        .freeze();
    let view = tensor.rows(1..2).unwrap();
    let tensor = tensor.into_mut().unwrap_err();
    drop(tensor);
    let view = view.into_mut().unwrap_err();
    assert_eq!(view.bytes().unwrap(), [2]);

    let tensor = pool()
        .loan(DType::U8, shape(&[2]))
        .unwrap()
        .copy_from(&[1, 2])
        .unwrap()
        .freeze();
    let mut tensor = tensor.into_mut().unwrap();
    tensor.bytes_mut()[0] = 9;
    assert_eq!(tensor.freeze().bytes().unwrap(), [9, 2]);
}

#[test]
fn tensors_outlive_their_pool() {
    let pool = pool();
    let small = pool
        .loan(DType::U8, shape(&[3]))
        .unwrap()
        .copy_from(b"abc")
        .unwrap()
        .freeze();
    let large = pool.loan(DType::U8, shape(&[5 << 20])).unwrap().zeroed().freeze();
    drop(pool);
    assert_eq!(small.bytes().unwrap(), b"abc");
    assert!(large.bytes().unwrap().iter().all(|&byte| byte == 0));
}

#[test]
fn everything_crosses_threads() {
    fn check<T: Send + Sync>() {}
    check::<Pool>();
    check::<Tensor>();
    check::<mlos_tensor_mem::TensorMut>();
    check::<mlos_tensor_mem::TensorUninit>();
    check::<mlos_tensor_mem::Writer<f32>>();
    check::<mlos_tensor_mem::Location>();
}
