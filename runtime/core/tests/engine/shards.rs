//! Two shards, of which only the first has clients: the other takes what is handed to it, also when its own edges have
//! long ended.

use std::time::Duration;

use futures_lite::future::poll_once;
use mlos_api::{Class, Service};
use mlos_core::executor;
use serde_json::json;

use crate::support::{Folders, MODES, factor_of, ready, request, total, until, with_engine};

const SLOW: &str = "a 2\nb 1\nbusy_us 400";

#[test]
fn bulk_work_is_shared_with_an_idle_shard_and_all_of_it_answered() {
    const JOBS: usize = 60;
    for mode in MODES {
        with_engine(mode, 2, &Folders::new(), |node, folders| async move {
            ready(&node, &folders, "test/slow@1", SLOW, json!({})).await;
            let (answers, answered) = async_channel::bounded(JOBS);
            for number in 0..JOBS {
                let (node, answers) = (node.clone(), answers.clone());
                executor::spawn(async move {
                    let (rows, start) = (1 + number % 3, 1.0 + number as f32);
                    let mut asked = request(&node, "test/slow", rows, start);
                    asked.class = Some([Class::Batch, Class::Normal][number % 2]);
                    asked.deadline = (number % 5 == 0).then_some(Duration::from_secs(30));
                    let answer = node.infer(asked).await;
                    let _ = answers.send((rows, start, answer)).await;
                });
            }
            drop(answers);
            let mut count = 0;
            while let Ok((rows, start, answer)) = answered.recv().await {
                assert_eq!(factor_of(&answer.unwrap(), rows, start), 2.0);
                count += 1;
            }
            assert_eq!(count, JOBS);
            assert_eq!(total(&node, |class| class.completed), JOBS as u64);
        });
    }
}

#[test]
fn work_that_went_to_another_shard_is_cancelled_there() {
    const JOBS: u64 = 30;
    with_engine(MODES[0], 2, &Folders::new(), |node, folders| async move {
        ready(&node, &folders, "test/slow@1", SLOW, json!({})).await;
        let mut waiting = Vec::new();
        for _ in 0..JOBS {
            let mut asked = request(&node, "test/slow", 40, 1.0);
            asked.class = Some(Class::Batch);
            let mut answer = Box::pin(async { node.infer(asked).await.is_ok() });
            assert!(poll_once(&mut answer).await.is_none());
            waiting.push(answer);
        }
        drop(waiting);
        until(|| total(&node, |class| class.cancelled + class.completed) == JOBS).await;
        until(|| node.pool().stats().in_use_bytes == 0).await;
        let computed_us = node.stats().models[0].compute_us;
        assert!(
            computed_us < JOBS * 40 * 400 / 2,
            "cancelled work went on: {computed_us} us"
        );
    });
}
