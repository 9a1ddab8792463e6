//! Tensors in memory that another process writes. The other process is a second mapping of the same memory file.
#![cfg(not(loom))]
#![expect(
    clippy::unwrap_used,
    reason = "a test's own helpers, where a panic is the message"
)]

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mlos_tensor_mem::{
    DType, Error, ErrorKind, Full, Pool, PoolConfig, Region, Segment, SegmentOptions, Shape, Tensor,
};

const BYTES: usize = 1 << 16;

fn segment() -> Arc<Segment> {
    Arc::new(Segment::create(BYTES, &SegmentOptions::default()).unwrap())
}

/// The same memory as another process has it.
fn peer(segment: &Segment) -> Arc<Segment> {
    let fd = segment.as_fd().try_clone_to_owned().unwrap();
    Arc::new(Segment::from_fd(fd, segment.len()).unwrap())
}

fn region(segment: &Arc<Segment>, offset: usize, len: usize) -> Region {
    Region::new(segment, offset, len).unwrap()
}

fn shape(dims: &[usize]) -> Shape {
    Shape::new(dims).unwrap()
}

fn pool() -> Pool {
    Pool::new(PoolConfig::default()).unwrap()
}

#[test]
fn a_region_lies_aligned_within_its_segment() {
    let segment = segment();
    let max = usize::MAX;
    for (offset, len, fits) in [
        (0, BYTES, true),
        (64, BYTES - 64, true),
        (BYTES, 0, true),
        (BYTES - 64, 64, true),
        (0, BYTES + 1, false),
        (64, BYTES - 63, false),
        (BYTES, 1, false),
        (BYTES + 64, 0, false),
        (64, max - 63, false),
        (64, max, false),
        (max - 63, 64, false),
        (max - 63, 0, false),
    ] {
        match Region::new(&segment, offset, len) {
            Ok(region) => {
                assert!(fits, "{offset} {len}");
                assert_eq!(
                    (region.offset(), region.len(), region.is_empty()),
                    (offset, len, len == 0)
                );
            }
            Err(error) => {
                assert!(
                    !fits && matches!(error, Error::OutsideSegment { .. }),
                    "{offset} {len}: {error}"
                );
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
            }
        }
    }
    for offset in [1, 8, 63, 65, max] {
        let error = Region::new(&segment, offset, 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("offset {offset} is not a multiple of 64 bytes")
        );
    }
}

#[test]
fn a_tensor_over_a_region_fits_it() {
    let segment = segment();
    for (dtype, dims, bytes, fits) in [
        (DType::F32, &[4, 4][..], 64, true),
        (DType::F32, &[4, 4], 65, true),
        (DType::F32, &[4, 4], 63, false),
        (DType::F64, &[4, 4], 64, false),
        (DType::U8, &[], 1, true),
        (DType::U8, &[], 0, false),
        (DType::U8, &[0, 9], 0, true),
        (DType::F32, &[usize::MAX, 2], 64, false),
        (DType::String, &[4], 16, true),
        (DType::String, &[4], 15, false),
        (DType::String, &[usize::MAX], 64, false),
    ] {
        let tensor = Tensor::over(region(&segment, 64, bytes), dtype, shape(dims));
        assert_eq!(tensor.is_ok(), fits, "{dtype} {dims:?} in {bytes}");
    }
}

#[test]
fn no_reference_is_made_of_what_others_write() {
    let segment = segment();
    let tensor = Tensor::over(region(&segment, 128, 48), DType::F32, shape(&[3, 4])).unwrap();
    let view = tensor.rows(1..3).unwrap();
    let other = tensor.reshape(shape(&[12])).unwrap();
    for shared in [&tensor, &tensor.clone(), &view, &other] {
        assert!(shared.is_shared());
        assert!(matches!(shared.bytes(), Err(Error::Shared)));
        assert!(matches!(shared.as_slice::<f32>(), Err(Error::Shared)));
    }
    let text = Tensor::over(region(&segment, 128, 48), DType::String, shape(&[3])).unwrap();
    assert!(matches!(text.strings(), Err(Error::Shared)));
    assert!(
        matches!(text.rows(0..1), Err(Error::Shared)),
        "its rows are found by reading it"
    );
    assert_eq!(format!("{tensor:?}"), "Tensor(float32 [3, 4] shared)");
    assert_eq!((tensor.location().offset, view.location().offset), (128, 144));
    assert_eq!(view.location().segment().id(), segment.id());
    assert!(
        tensor.into_mut().is_err(),
        "also its only owner does not write it by reference"
    );
    let ours = pool().loan(DType::U8, shape(&[1])).unwrap().zeroed().freeze();
    assert!(!ours.is_shared() && ours.bytes().is_ok());
}

#[test]
fn what_the_other_side_writes_is_seen_and_a_copy_stays() {
    let segment = segment();
    let theirs = peer(&segment);
    assert_ne!(segment.base(), theirs.base());
    let tensor = Tensor::over(region(&segment, 4096, 16), DType::I32, shape(&[4])).unwrap();
    let there = region(&theirs, 4096, 16);
    there.copy_from(&[1; 16]).unwrap();
    let copy = tensor.to_private(&pool()).unwrap();
    there.copy_from(&[2; 16]).unwrap();
    assert_eq!(copy.as_slice::<i32>().unwrap(), [0x0101_0101; 4]);
    assert_eq!((copy.dtype(), copy.shape()), (DType::I32, &shape(&[4])));
    let mut bytes = [0; 16];
    tensor.copy_to(&mut bytes).unwrap();
    assert_eq!(bytes, [2; 16]);
    region(&segment, 4096, 16).copy_from(&[3]).unwrap();
    there.copy_to(&mut bytes).unwrap();
    assert_eq!(bytes[..2], [3, 2], "shorter ones leave the rest");
    for wrong in [&mut [0; 15][..], &mut [0; 17]] {
        assert!(matches!(
            tensor.copy_to(wrong),
            Err(Error::SizeMismatch { expected: 16, .. })
        ));
        assert!(matches!(
            there.copy_to(wrong),
            Err(Error::SizeMismatch { expected: 16, .. })
        ));
    }
    assert!(matches!(
        there.copy_from(&[0; 17]),
        Err(Error::SizeMismatch {
            expected: 16,
            got: 17
        })
    ));
    let copy_of_ours = copy.to_private(&pool()).unwrap();
    assert_eq!(
        copy_of_ours.as_ptr(),
        copy.as_ptr(),
        "what is private already is not copied"
    );
}

#[test]
fn it_keeps_its_memory_mapped() {
    let segment = segment();
    region(&segment, 0, 4).copy_from(b"last").unwrap();
    let tensor = Tensor::over(region(&segment, 0, 4), DType::U8, shape(&[4])).unwrap();
    drop(segment);
    let mut bytes = [0; 4];
    tensor.copy_to(&mut bytes).unwrap();
    assert_eq!(&bytes, b"last");
}

/// Rows of three bytes start at every place within a word.
#[test]
fn copies_are_exact_at_every_alignment_and_length() {
    const ROWS: usize = 24;
    let segment = segment();
    let content: Vec<u8> = (0..ROWS as u8 * 3).collect();
    region(&segment, 64, content.len()).copy_from(&content).unwrap();
    let tensor = Tensor::over(region(&segment, 64, content.len()), DType::U8, shape(&[ROWS, 3])).unwrap();
    let pool = pool();
    for (start, end) in (0..=ROWS).flat_map(|end| (0..=end).map(move |start| (start, end))) {
        let rows = tensor.rows(start..end).unwrap();
        let expect = &content[start * 3..end * 3];
        assert_eq!(
            rows.to_private(&pool).unwrap().bytes().unwrap(),
            expect,
            "{start}..{end}"
        );
    }
    for len in 0..40 {
        let there = region(&segment, 4096, 40);
        there.copy_from(&[0xEE; 40]).unwrap();
        there.copy_from(&content[..len]).unwrap();
        let mut bytes = [0; 40];
        there.copy_to(&mut bytes).unwrap();
        assert_eq!(
            (&bytes[..len], &bytes[len..]),
            (&content[..len], &[0xEE; 40][len..])
        );
    }
}

#[test]
fn text_is_copied_before_it_is_read() {
    let segment = segment();
    let packed = b"\x03\0\0\0one\x05\0\0\0three";
    let there = region(&segment, 64, packed.len());
    there.copy_from(packed).unwrap();
    let text = Tensor::over(there.clone(), DType::String, shape(&[2])).unwrap();
    let copy = text.to_private(&pool()).unwrap();
    there.copy_from(&[0xFF; 4]).unwrap();
    assert_eq!(
        copy.strings().unwrap().collect::<Vec<_>>(),
        [&b"one"[..], b"three"]
    );
    let bad = text.to_private(&pool()).unwrap();
    assert!(matches!(bad.strings(), Err(Error::Strings { element: 0, .. })));
}

#[test]
fn shared_and_private_tensors_are_written_one_after_the_other() {
    let segment = segment();
    region(&segment, 0, 6).copy_from(b"shared").unwrap();
    let shared = Tensor::over(region(&segment, 0, 6), DType::U8, shape(&[6])).unwrap();
    let pool = pool();
    let ours = pool
        .loan(DType::U8, shape(&[4]))
        .unwrap()
        .copy_from(b"ours")
        .unwrap()
        .freeze();
    let mut all = pool.loan(DType::U8, shape(&[15])).unwrap().byte_writer();
    all.extend_from_tensor(&ours).unwrap();
    all.extend_from_tensor(&shared).unwrap();
    assert_eq!(all.extend_from_tensor(&shared), Err(Full));
    all.push(b'+').unwrap();
    all.extend_from_tensor(&ours).unwrap();
    assert_eq!(all.finish().unwrap().bytes(), b"oursshared+ours");
}

/// A word that is copied while it is written is the old or the new one.
#[test]
fn a_race_gives_words_that_were_there() {
    const WORDS: usize = 512;
    let segment = segment();
    let theirs = peer(&segment);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let there = region(&theirs, 0, WORDS * 8);
            let mut value = 0_u8;
            while !stop.load(Ordering::Relaxed) {
                value = value.wrapping_add(1);
                there.copy_from(&[value; WORDS * 8]).unwrap();
            }
        });
        let tensor = Tensor::over(region(&segment, 0, WORDS * 8), DType::U64, shape(&[WORDS])).unwrap();
        let pool = pool();
        let mut values = [false; 256];
        // Until the writer has been seen at work, and a while.
        let mut rounds = 0;
        while rounds < 2_000 || values.iter().filter(|&&seen| seen).count() < 3 {
            let copy = tensor.to_private(&pool).unwrap();
            for &word in copy.as_slice::<u64>().unwrap() {
                let byte = word as u8;
                assert_eq!(word, u64::from_ne_bytes([byte; 8]));
                values[usize::from(byte)] = true;
            }
            rounds += 1;
        }
        stop.store(true, Ordering::Relaxed);
    });
}
