//! The arena: nothing is lent twice, everything comes back.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::thread;

use mlos_shm::{Arena, Error, Loan, Segment, SegmentOptions, Status};
use support::Random;

fn arena(bytes: usize) -> Arena {
    Arena::new(Segment::create(bytes, &SegmentOptions::default()).unwrap().into())
}

#[test]
fn loans_start_on_a_line_and_have_the_length_asked() {
    let arena = arena(1 << 16);
    for bytes in [0, 1, 63, 64, 65, 4096] {
        let mut loan = arena.loan(bytes).unwrap();
        assert_eq!(loan.len(), bytes);
        assert_eq!(loan.is_empty(), bytes == 0);
        assert_eq!(loan.offset() % 64, 0);
        assert_eq!(loan.as_ptr().as_ptr() as usize % 64, 0);
        loan.bytes_mut().fill(7);
        assert_eq!(loan.bytes(), vec![7; bytes]);
        let held = arena.stats().bytes - arena.stats().free;
        assert_eq!(held, bytes.max(1).next_multiple_of(64) as u64);
    }
    let stats = arena.stats();
    assert_eq!(
        (stats.bytes, stats.free, stats.largest, stats.loans),
        (1 << 16, 1 << 16, 1 << 16, 0)
    );
}

#[test]
fn elements_are_the_bytes() {
    let arena = arena(4096);
    let mut loan = arena.loan(17).unwrap();
    loan.bytes_mut().fill(0);
    loan.elements_mut::<f32>()
        .unwrap()
        .copy_from_slice(&[1.0, -2.0, 3.5, 0.25]);
    assert_eq!(loan.elements::<f32>().unwrap(), [1.0, -2.0, 3.5, 0.25]);
    assert_eq!(loan.elements::<u32>().unwrap()[0], 1.0_f32.to_bits());
    assert_eq!(loan.elements::<u64>().unwrap().len(), 2);
    let error = loan.elements::<bool>().unwrap_err();
    assert!(error.to_string().contains("must be 0 or 1"), "{error}");
    assert!(loan.elements_mut::<bool>().is_err());
}

#[test]
fn an_exhausted_arena_says_how_much_there_is() {
    let arena = arena(4096);
    let loans: Vec<Loan> = (0..64).map(|_| arena.loan(64).unwrap()).collect();
    let text = |bytes| {
        let error = arena.loan(bytes).unwrap_err();
        assert_eq!(error.kind(), Status::Overloaded);
        error.to_string()
    };
    assert_eq!(
        text(1),
        "arena exhausted: 64 bytes asked, 0 free, the largest piece 0; drop loans or ask for a larger arena"
    );
    let kept: Vec<Loan> = loans
        .into_iter()
        .enumerate()
        .filter_map(|(at, loan)| (at % 4 == 0).then_some(loan))
        .collect();
    assert_eq!(
        text(193),
        "arena exhausted: 256 bytes asked, 3072 free, the largest piece 192; drop loans or ask for a larger arena"
    );
    assert_eq!(arena.loan(192).unwrap().len(), 192);
    drop(kept);
    assert_eq!(arena.loan(4096).unwrap().len(), 4096);
    assert!(matches!(arena.loan(usize::MAX), Err(Error::OutOfBounds { .. })));
    assert!(matches!(arena.loan(4097), Err(Error::ArenaExhausted { .. })));
}

/// The smallest piece that fits is taken, so that the large ones stay large.
#[test]
fn the_best_piece_is_taken() {
    let arena = arena(4096);
    let mut loans: Vec<Option<Loan>> = [512, 64, 128, 64, 256, 64]
        .map(|bytes| arena.loan(bytes).ok())
        .into();
    for at in [0, 2, 4] {
        loans[at] = None;
    }
    // Free are 512 at 0, 128 at 576, 256 at 768, and the rest at 1088.
    for (bytes, offset) in [(100, 576), (200, 768), (512, 0), (513, 1088), (1, 576)] {
        assert_eq!(arena.loan(bytes).unwrap().offset(), offset, "{bytes}");
    }
}

/// Each loan is filled with its own number and still holds it when it ends, whatever was lent meanwhile.
fn churn(arena: &Arena, mut random: Random, rounds: usize) {
    let mut held: Vec<(Loan, u8)> = Vec::new();
    for _ in 0..rounds {
        if random.below(3) > 0 {
            let Ok(mut loan) = arena.loan(random.below(5000) as usize) else {
                continue;
            };
            let mark = random.next() as u8;
            loan.bytes_mut().fill(mark);
            held.push((loan, mark));
        } else if !held.is_empty() {
            let (loan, mark) = held.swap_remove(random.below(held.len() as u64) as usize);
            assert!(loan.bytes().iter().all(|byte| *byte == mark));
        }
    }
}

#[test]
fn nothing_is_lent_twice_and_everything_comes_back() {
    let arena = arena(1 << 17);
    let mut random = Random::seeded();
    thread::scope(|scope| {
        for _ in 0..3 {
            let (arena, random) = (arena.clone(), Random::from(random.next()));
            scope.spawn(move || churn(&arena, random, 20_000));
        }
    });
    let stats = arena.stats();
    assert_eq!((stats.free, stats.largest, stats.loans), (1 << 17, 1 << 17, 0));
}

#[test]
fn a_loan_keeps_its_memory_mapped() {
    let mut loan = arena(4096).loan(64).unwrap();
    loan.bytes_mut().fill(1);
    assert_eq!(loan.bytes(), [1; 64]);
}
