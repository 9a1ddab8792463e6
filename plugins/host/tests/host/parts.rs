//! A work of many rows in parts.

use crate::support::*;
use mlos_plugin_host::{Call, Error, Finished, Model, Verdict, Work};
use mlos_tensor_mem::Pool;
use std::ops::Range;

const ROWS: usize = 6;

fn run_part(work: Work, rows: Range<usize>, pool: &Pool) -> Finished {
    drive(&mut Call::start(
        work,
        Some(rows),
        pool,
        Switch::new(Verdict::Suspend),
    ))
    .0
}

#[test]
fn every_way_to_cut_gives_the_same_as_the_whole() {
    let (model, pool) = (affine("{}"), pool());
    // Bit n of `cuts`: there is a cut behind row n.
    for cuts in 0..1 << (ROWS - 1) {
        let mut work = work(&model, &pool, ROWS, 3.0);
        assert_eq!(work.rows(), Some(ROWS));
        let mut start = 0;
        for end in (1..=ROWS).filter(|&end| end == ROWS || cuts & 1 << (end - 1) != 0) {
            let finished = run_part(work, start..end, &pool);
            finished.result.unwrap();
            assert_eq!(finished.checkpoints as usize, end - start);
            work = finished.work;
            assert_eq!((work.rows_done(), work.is_done()), (end, end == ROWS));
            start = end;
        }
        assert_right(work, ROWS, 3.0);
    }
}

#[test]
fn the_rest_can_be_run_at_once() {
    let (model, pool) = (affine("{}"), pool());
    let begun = run_part(work(&model, &pool, ROWS, 0.0), 0..2, &pool);
    assert_right(run(begun.work, &pool).work, ROWS, 0.0);
}

#[test]
fn parts_are_views_of_the_input() {
    let (model, pool) = (affine("{}"), pool());
    let work = work(&model, &pool, ROWS, 0.0);
    let before = pool.stats().in_use_bytes;
    let mut call = Call::start(work, Some(2..4), &pool, open());
    assert!(
        matches!(call.resume(), mlos_plugin_host::Step::Done(_)),
        "out of order, so refused"
    );
    let mut call = Call::start(
        self::work(&model, &pool, ROWS, 0.0),
        Some(0..1),
        &pool,
        Switch::new(Verdict::Suspend),
    );
    assert_eq!(
        pool.stats().in_use_bytes,
        before,
        "a call that has not run has taken no memory of its own"
    );
    drop(call.resume());
}

#[test]
fn parts_that_do_not_follow_are_refused() {
    let (model, pool) = (affine("{}"), pool());
    let mut work = run_part(work(&model, &pool, ROWS, 0.0), 0..2, &pool).work;
    for rows in [0..2, 3..4, 2..2, 2..ROWS + 1, 1..3] {
        let finished = run_part(work, rows.clone(), &pool);
        let error = finished.result.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("part {rows:?} does not follow the 2 rows done of {ROWS}")
        );
        work = finished.work;
    }
    let unfinished = work.into_outputs().unwrap_err();
    assert!(
        unfinished.to_string().starts_with("the work is not done: 2 rows"),
        "{unfinished}"
    );
}

#[test]
fn a_part_that_was_cancelled_is_run_again() {
    let (model, pool) = (affine("{}"), pool());
    let begun = run_part(work(&model, &pool, ROWS, 0.0), 0..2, &pool).work;
    let (cancelled, _) = drive(&mut Call::start(
        begun,
        Some(2..ROWS),
        &pool,
        Switch::new(Verdict::Cancel),
    ));
    assert!(matches!(cancelled.result, Err(Error::Cancelled)));
    assert_eq!(cancelled.work.rows_done(), 2);
    let finished = run_part(cancelled.work, 2..ROWS, &pool);
    assert_right(finished.work, ROWS, 0.0);
}

#[test]
fn a_finished_work_is_not_run_again() {
    let (model, pool) = (affine("{}"), pool());
    for rows in [None, Some(0..ROWS)] {
        let finished = drive(&mut Call::start(
            work(&model, &pool, ROWS, 0.0),
            rows,
            &pool,
            open(),
        ))
        .0;
        let again = run(finished.work, &pool);
        assert_eq!(again.result.unwrap_err().to_string(), "the work is done already");
        assert_right(again.work, ROWS, 0.0);
    }
}

#[test]
fn a_model_that_joins_its_rows_is_run_whole() {
    let (model, pool) = (affine(r#"{"rows_independent": 0}"#), pool());
    let refused = run_part(work(&model, &pool, ROWS, 0.0), 0..2, &pool);
    assert_eq!(
        refused.result.unwrap_err().to_string(),
        "the model's batch cannot be split"
    );
    assert_right(run(refused.work, &pool).work, ROWS, 0.0);
}

#[test]
fn an_output_of_the_wrong_size_for_its_part_is_refused() {
    let (model, pool): (Model, Pool) = (affine(r#"{"behave": "wrong_rows"}"#), pool());
    let finished = run_part(work(&model, &pool, ROWS, 0.0), 0..2, &pool);
    let error = finished.result.unwrap_err().to_string();
    assert_eq!(
        error,
        "plugin example.affine: output `y`: has shape [3, 3] for 2 rows"
    );
}
