//! Jobs of one shard, in every mode of preemption.

use futures_lite::future::{poll_once, yield_now};
use mlos_api::{Class, Error, Kind, Service};
use mlos_core::executor;
use serde_json::json;

use crate::support::{Folders, MODES, factor_of, pause, ready, request, total, until, with_engine};

const FAST: &str = "a 2\nb 1";
const SLOW: &str = "a 2\nb 1\nbusy_us 400";

#[test]
fn many_jobs_of_all_classes_are_each_answered_once() {
    const JOBS: usize = 240;
    for mode in MODES {
        with_engine(mode, 1, &Folders::new(), |node, folders| async move {
            ready(&node, &folders, "test/fast@1", FAST, json!({})).await;
            ready(&node, &folders, "test/slow@1", SLOW, json!({})).await;
            let (answers, answered) = async_channel::bounded(JOBS);
            for number in 0..JOBS {
                let (node, answers) = (node.clone(), answers.clone());
                executor::spawn(async move {
                    let (rows, start) = (1 + number % 5, 1.0 + number as f32);
                    let name = ["test/fast", "test/slow"][number / 7 % 2];
                    let mut asked = request(&node, name, rows, start);
                    asked.class = Some(Class::ALL[number % 4]);
                    let answer = node.infer(asked).await;
                    let _ = answers.send((number, rows, start, answer)).await;
                });
            }
            drop(answers);
            let mut seen = vec![false; JOBS];
            while let Ok((number, rows, start, answer)) = answered.recv().await {
                assert!(!std::mem::replace(&mut seen[number], true), "job {number} twice");
                assert_eq!(factor_of(&answer.unwrap(), rows, start), 2.0);
            }
            assert!(seen.iter().all(|seen| *seen), "jobs were lost: {seen:?}");
            assert_eq!(total(&node, |class| class.arrived), JOBS as u64);
            assert_eq!(total(&node, |class| class.completed), JOBS as u64);
            assert_eq!(total(&node, |class| class.queued), 0);
        });
    }
}

#[test]
fn a_dropped_request_leaves_nothing_behind() {
    const JOBS: u64 = 12;
    for mode in MODES {
        with_engine(mode, 1, &Folders::new(), |node, folders| async move {
            ready(&node, &folders, "test/slow@1", SLOW, json!({})).await;
            let mut waiting = Vec::new();
            for number in 0..JOBS {
                let mut asked = request(&node, "test/slow", 20, 1.0);
                asked.class = Some([Class::High, Class::Normal, Class::Batch][number as usize % 3]);
                let mut answer = Box::pin(async { node.infer(asked).await.is_ok() });
                assert!(poll_once(&mut answer).await.is_none());
                waiting.push(answer);
            }
            // Some run now, some wait.
            drop(waiting);
            until(|| total(&node, |class| class.cancelled + class.completed) == JOBS).await;
            let after = node.infer(request(&node, "test/slow", 2, 5.0)).await.unwrap();
            assert_eq!(factor_of(&after, 2, 5.0), 2.0);
            drop(after);
            until(|| node.pool().stats().in_use_bytes == 0).await;
            let computed_us = node.stats().models[0].compute_us;
            assert!(
                computed_us < JOBS * 20 * 400,
                "cancelled work went on: {computed_us} us"
            );
        });
    }
}

#[test]
fn jobs_that_run_together_get_their_own_rows() {
    const JOBS: usize = 40;
    for mode in MODES {
        with_engine(mode, 1, &Folders::new(), |node, folders| async move {
            let serving = json!({ "max_batch_rows": 16, "max_queue_delay_us": 3000 });
            ready(&node, &folders, "test/joined@1", "a 2\nb 1\nbusy_us 30", serving).await;
            let (answers, answered) = async_channel::bounded(JOBS);
            for number in 0..JOBS {
                let (node, answers) = (node.clone(), answers.clone());
                executor::spawn(async move {
                    // Of no rows too: such a job must not move the rows of the others.
                    let (rows, start) = (number % 4, 1.0 + number as f32);
                    let answer = node.infer(request(&node, "test/joined", rows, start)).await;
                    let _ = answers.send((rows, start, answer)).await;
                });
            }
            drop(answers);
            while let Ok((rows, start, answer)) = answered.recv().await {
                let factor = factor_of(&answer.unwrap(), rows, start);
                assert_eq!(factor, if rows == 0 { 0.0 } else { 2.0 });
            }
            let model = &node.stats().models[0];
            assert_eq!(model.completed, JOBS as u64);
            assert!(model.runs < model.completed, "nothing ran together");
        });
    }
}

#[test]
fn a_batch_that_is_one_whole_is_never_joined() {
    with_engine(MODES[0], 1, &Folders::new(), |node, folders| async move {
        let serving = json!({ "max_batch_rows": 16, "max_queue_delay_us": 3000 });
        ready(
            &node,
            &folders,
            "test/whole@1",
            "a 2\nb 1\nrows_independent 0",
            serving,
        )
        .await;
        let mut waiting: Vec<_> = (1..6)
            .map(|rows| {
                (
                    rows,
                    Box::pin(node.infer(request(&node, "test/whole", rows, 4.0))),
                )
            })
            .collect();
        let mut early = Vec::new();
        for (rows, answer) in &mut waiting {
            early.push(poll_once(answer).await.map(|answer| (*rows, answer)));
        }
        let mut answers: Vec<_> = early.into_iter().flatten().collect();
        let answered: Vec<usize> = answers.iter().map(|(rows, _)| *rows).collect();
        for (rows, answer) in waiting.into_iter().filter(|(rows, _)| !answered.contains(rows)) {
            answers.push((rows, answer.await));
        }
        for (rows, answer) in answers {
            assert_eq!(factor_of(&answer.unwrap(), rows, 4.0), 2.0);
        }
        let model = &node.stats().models[0];
        assert_eq!((model.runs, model.completed), (5, 5));
    });
}

#[test]
fn a_long_job_runs_in_parts_while_urgent_ones_are_served() {
    const ROWS: usize = 400;
    for mode in MODES {
        with_engine(mode, 1, &Folders::new(), move |node, folders| async move {
            ready(
                &node,
                &folders,
                "test/fast@1",
                FAST,
                json!({ "priority": "realtime" }),
            )
            .await;
            ready(&node, &folders, "test/slow@1", "a 2\nb 1\nbusy_us 100", json!({})).await;
            let (done, end) = async_channel::bounded(1);
            let bulk = node.clone();
            executor::spawn(async move {
                let mut asked = request(&bulk, "test/slow", ROWS, 2.0);
                asked.class = Some(Class::Batch);
                let _ = done.send(bulk.infer(asked).await).await;
            });
            let mut urgent = 0;
            while end.is_empty() {
                let mut asked = request(&node, "test/fast", 1, 3.0);
                asked.class = Some(Class::Realtime);
                assert_eq!(factor_of(&node.infer(asked).await.unwrap(), 1, 3.0), 2.0);
                urgent += 1;
                pause().await;
            }
            let answer = end.recv().await.unwrap().unwrap();
            assert_eq!(factor_of(&answer, ROWS, 2.0), 2.0);
            assert!(answer.timing.parts > 1, "{:?}", answer.timing);
            assert!(urgent > 1, "{urgent}");
        });
    }
}

#[test]
fn a_failed_run_is_said_to_be_the_models() {
    for mode in MODES {
        with_engine(mode, 1, &Folders::new(), |node, folders| async move {
            ready(&node, &folders, "test/faulty@1", "behave fail_late", json!({})).await;
            ready(&node, &folders, "test/fast@1", FAST, json!({})).await;
            for class in Class::ALL {
                let mut asked = request(&node, "test/faulty", 2, 1.0);
                asked.class = Some(class);
                let error = node.infer(asked).await.unwrap_err();
                assert_eq!(error.kind(), Kind::ModelFailed, "{error}");
                let mut asked = request(&node, "test/fast", 2, 1.0);
                asked.class = Some(class);
                assert_eq!(factor_of(&node.infer(asked).await.unwrap(), 2, 1.0), 2.0);
            }
            assert_eq!(total(&node, |class| class.failed), 4);
        });
    }
}

#[test]
fn requests_that_do_not_fit_are_refused_at_once() {
    with_engine(MODES[0], 1, &Folders::new(), |node, folders| async move {
        ready(&node, &folders, "test/fast@1", FAST, json!({})).await;
        let unknown = node.infer(request(&node, "test/fats", 1, 1.0)).await.unwrap_err();
        assert!(
            matches!(&unknown, Error::ModelNotFound { nearest, .. } if nearest == &["test/fast"]),
            "{unknown}"
        );
        let mut asked = request(&node, "test/fast", 1, 1.0);
        asked.outputs = vec!["z".to_owned()];
        let error = node.infer(asked).await.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{error}");
        let mut asked = request(&node, "test/fast", 1, 1.0);
        asked.outputs = vec!["sums".to_owned()];
        let answer = node.infer(asked).await.unwrap();
        assert_eq!(answer.outputs.len(), 1);
        let mut asked = request(&node, "test/fast", 1, 1.0);
        asked.component = Some("encoder".to_owned());
        let error = node.infer(asked).await.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{error}");
        drop(answer);
        yield_now().await;
        assert_eq!(node.pool().stats().in_use_bytes, 0);
    });
}
