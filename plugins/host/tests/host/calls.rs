//! Calls: run, suspend, nest, cancel, drop.

use crate::support::*;
use mlos_plugin_host::limits::{CALLS_PER_THREAD_MAX, STACKS_IDLE_MAX};
use mlos_plugin_host::{Call, Checkpoint, Error, Gate, Model, Outputs, Step, Verdict, Work, stack_stats};
use mlos_tensor_mem::Pool;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

#[test]
fn a_call_computes() {
    let (model, pool) = (affine("{}"), pool());
    let finished = run(work(&model, &pool, 4, 0.5), &pool);
    finished.result.unwrap();
    assert_eq!(finished.checkpoints, 4);
    assert!(finished.longest_slice_ns <= finished.compute_ns);
    assert_right(finished.work, 4, 0.5);
}

#[test]
fn a_work_runs_whole_on_the_stack_of_its_thread() {
    let (model, pool) = (affine("{}"), pool());
    let finished = Call::run_whole(work(&model, &pool, 4, 0.5), &pool);
    finished.result.unwrap();
    assert_eq!(finished.checkpoints, 4);
    assert!(finished.longest_slice_ns <= finished.compute_ns);
    assert!(finished.ended_ns > finished.compute_ns);
    assert_right(finished.work, 4, 0.5);
    let refused = Call::run_whole(done(&model, &pool), &pool);
    assert!(matches!(refused.result, Err(Error::Request { .. })));
    assert_eq!((stack_stats().live, stack_stats().idle), (0, 0));
}

/// A work that has been run.
fn done(model: &Model, pool: &Pool) -> Work {
    let finished = Call::run_whole(work(model, pool, 1, 0.0), pool);
    finished.result.unwrap();
    finished.work
}

#[test]
fn suspended_at_each_checkpoint_with_another_call_in_between() {
    let (model, pool) = (affine("{}"), pool());
    let mut outer = Call::start(
        work(&model, &pool, 50, 0.0),
        None,
        &pool,
        Switch::new(Verdict::Suspend),
    );
    let mut suspensions = 0;
    let finished = loop {
        match outer.resume() {
            Step::Done(finished) => break finished,
            Step::Suspended => {
                suspensions += 1;
                let inner = run(work(&model, &pool, 3, suspensions as f32), &pool);
                assert_right(inner.work, 3, suspensions as f32);
            }
        }
    };
    assert_eq!((suspensions, finished.checkpoints), (50, 50));
    assert_right(finished.work, 50, 0.0);
    assert_eq!(stack_stats().live, 0);
}

#[test]
fn calls_interleave_in_any_order() {
    let (model, pool) = (affine("{}"), pool());
    let rows = [7, 3, 9, 1];
    let mut calls: Vec<Option<Call>> = rows
        .iter()
        .map(|&rows| {
            Some(Call::start(
                work(&model, &pool, rows, rows as f32),
                None,
                &pool,
                Switch::new(Verdict::Suspend),
            ))
        })
        .collect();
    let mut turn = 0;
    let mut ended = Vec::new();
    while calls.iter().any(Option::is_some) {
        turn += 5; // visits 1, 2, 3, 0, ...
        let index = turn % rows.len();
        let Some(call) = &mut calls[index] else { continue };
        if let Step::Done(finished) = call.resume() {
            assert_right(finished.work, rows[index], rows[index] as f32);
            calls[index] = None;
            ended.push(index);
        }
    }
    assert_eq!(ended, [3, 1, 0, 2], "shortest first");
}

/// Runs another call to its end inside each checkpoint, on top of the suspended stack's own frames.
struct Nesting {
    model: Model,
    pool: Pool,
    runs: Cell<usize>,
}

impl Gate for Nesting {
    fn at_checkpoint(&self, _: Checkpoint) -> Verdict {
        self.runs.set(self.runs.get() + 1);
        let inner = run(work(&self.model, &self.pool, 2, 5.0), &self.pool);
        assert_right(inner.work, 2, 5.0);
        Verdict::Continue
    }
}

#[test]
fn a_gate_may_run_calls_itself() {
    let (model, pool) = (affine("{}"), pool());
    let gate = Rc::new(Nesting {
        model: model.clone(),
        pool: pool.clone(),
        runs: Cell::new(0),
    });
    let mut call = Call::start(work(&model, &pool, 6, 0.0), None, &pool, gate.clone());
    let (finished, _) = drive(&mut call);
    assert_eq!(gate.runs.get(), 6);
    assert_right(finished.work, 6, 0.0);
}

/// Runs a work whole inside each checkpoint, where the stack is not the thread's.
struct NestingWhole(Model, Pool);

impl Gate for NestingWhole {
    fn at_checkpoint(&self, _: Checkpoint) -> Verdict {
        let inner = Call::run_whole(work(&self.0, &self.1, 2, 5.0), &self.1);
        assert_right(inner.work, 2, 5.0);
        Verdict::Continue
    }
}

#[test]
fn a_work_runs_whole_on_a_stack_beside_one_without_room() {
    let (model, pool) = (affine("{}"), pool());
    let gate = Rc::new(NestingWhole(model.clone(), pool.clone()));
    let (finished, _) = drive(&mut Call::start(work(&model, &pool, 6, 0.0), None, &pool, gate));
    assert_right(finished.work, 6, 0.0);
    assert_eq!((stack_stats().live, stack_stats().idle), (0, 2));
}

#[test]
fn a_cancelled_call_can_be_run_again() {
    let (model, pool) = (affine("{}"), pool());
    let gate = Switch::new(Verdict::Suspend);
    let mut call = Call::start(work(&model, &pool, 10, 0.0), None, &pool, gate.clone());
    assert!(matches!(call.resume(), Step::Suspended));
    gate.set(Verdict::Cancel);
    let Step::Done(finished) = call.resume() else {
        panic!("a cancelled call ends")
    };
    assert!(matches!(finished.result, Err(Error::Cancelled)));
    assert_eq!(finished.checkpoints, 2);
    assert!(!finished.work.is_done());
    let again = run(finished.work, &pool);
    again.result.unwrap();
    assert_right(again.work, 10, 0.0);
}

#[test]
fn a_plugin_that_ignores_a_cancellation_is_not_believed() {
    let (model, pool) = (affine(r#"{"behave": "stubborn"}"#), pool());
    let (finished, _) = drive(&mut Call::start(
        work(&model, &pool, 5, 0.0),
        None,
        &pool,
        Switch::new(Verdict::Cancel),
    ));
    assert!(matches!(finished.result, Err(Error::Cancelled)));
    assert_eq!(
        finished.checkpoints, 1,
        "after the verdict the gate is not asked again"
    );
    assert!(finished.work.into_outputs().is_err());
}

#[test]
fn dropping_a_call_gives_everything_back() {
    let (model, pool) = (affine(r#"{"reentrant": 0}"#), pool());
    let before = pool.stats().in_use_bytes;
    // Never resumed, suspended once, suspended late.
    for resumes in [0, 1, 9] {
        let mut call = Call::start(
            work(&model, &pool, 10, 0.0),
            None,
            &pool,
            Switch::new(Verdict::Suspend),
        );
        assert_eq!(stack_stats().live, 1);
        for _ in 0..resumes {
            assert!(matches!(call.resume(), Step::Suspended));
        }
        drop(call);
        assert_eq!(stack_stats().live, 0);
        assert_eq!(pool.stats().in_use_bytes, before);
    }
    // The plugin has returned each time, or the model would still be busy.
    let finished = run(work(&model, &pool, 10, 0.0), &pool);
    assert_right(finished.work, 10, 0.0);
}

#[test]
fn a_model_that_is_not_reentrant_runs_one_call_at_a_time() {
    let (model, pool) = (affine(r#"{"reentrant": 0}"#), pool());
    let mut first = Call::start(
        work(&model, &pool, 2, 0.0),
        None,
        &pool,
        Switch::new(Verdict::Suspend),
    );
    assert!(matches!(first.resume(), Step::Suspended));
    let refused = run(work(&model, &pool, 2, 0.0), &pool);
    assert!(matches!(refused.result, Err(Error::Busy)));
    assert_right(drive(&mut first).0.work, 2, 0.0);
    let second = run(refused.work, &pool);
    second.result.unwrap();
    assert_right(second.work, 2, 0.0);
}

#[test]
fn unfinished_calls_of_a_thread_are_bounded() {
    let (model, pool) = (affine("{}"), pool());
    let start = || {
        let mut call = Call::start(
            work(&model, &pool, 2, 0.0),
            None,
            &pool,
            Switch::new(Verdict::Suspend),
        );
        let step = call.resume();
        (call, step)
    };
    let mut calls: Vec<Call> = Vec::new();
    for _ in 0..CALLS_PER_THREAD_MAX {
        let (call, step) = start();
        assert!(matches!(step, Step::Suspended));
        calls.push(call);
    }
    let (_, Step::Done(refused)) = start() else {
        panic!("one call too many was started")
    };
    assert!(matches!(
        refused.result,
        Err(Error::TooManyCalls {
            limit: CALLS_PER_THREAD_MAX
        })
    ));
    drop(calls);
    let stats = stack_stats();
    assert_eq!((stats.live, stats.idle), (0, STACKS_IDLE_MAX));
}

#[test]
fn ten_thousand_calls_use_one_stack() {
    let (model, pool) = (affine("{}"), pool());
    for round in 0..10_000 {
        let gate = Switch::new(if round % 2 == 0 {
            Verdict::Continue
        } else {
            Verdict::Suspend
        });
        let (finished, _) = drive(&mut Call::start(work(&model, &pool, 2, 0.0), None, &pool, gate));
        finished.result.unwrap();
    }
    let stats = stack_stats();
    assert_eq!((stats.live, stats.idle), (0, 1));
}

#[test]
fn a_call_may_use_most_of_its_stack() {
    let (model, pool) = (affine(r#"{"stack_kib": 960}"#), pool());
    let finished = run(work(&model, &pool, 2, 0.0), &pool);
    assert_right(finished.work, 2, 0.0);
}

#[test]
#[should_panic(expected = "a finished call was resumed")]
fn a_finished_call_cannot_be_resumed() {
    let (model, pool) = (affine("{}"), pool());
    let mut call = Call::start(work(&model, &pool, 1, 0.0), None, &pool, open());
    drive(&mut call);
    call.resume();
}

#[test]
fn only_wanted_outputs_are_produced() {
    let (model, pool) = (affine("{}"), pool());
    let x = f32_tensor(&pool, &[2, 3], |index| index as f32);
    for (wanted, expect) in [(&[0][..], &[0][..]), (&[1], &[1]), (&[1, 0], &[0, 1]), (&[], &[])] {
        let work = Work::new(&model, vec![Some(x.clone())], Outputs::Only(wanted)).unwrap();
        let finished = run(work, &pool);
        finished.result.unwrap();
        let indices: Vec<usize> = values(finished.work)
            .into_iter()
            .map(|(index, _)| index)
            .collect();
        assert_eq!(indices, expect);
    }
    let error = Work::new(&model, vec![Some(x)], Outputs::Only(&[2])).unwrap_err();
    assert_eq!(error.to_string(), "output 2 is asked for, the model has 2");
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let (model, pool) = (affine(r#"{"columns": 3}"#), pool());
    let check = |inputs: Vec<Option<mlos_tensor_mem::Tensor>>, says: &str| {
        let error = Work::new(&model, inputs, Outputs::All).unwrap_err();
        assert_eq!(error.to_string(), says);
    };
    let shaped = |dims: &[usize]| Some(f32_tensor(&pool, dims, |_| 0.0));
    let bytes = pool.loan(
        mlos_tensor_mem::DType::U8,
        mlos_tensor_mem::Shape::new(&[1, 3]).unwrap(),
    );
    check(vec![], "0 inputs are given, the model has 1");
    check(vec![shaped(&[1, 3]), None], "2 inputs are given, the model has 1");
    check(vec![None], "input `x`: is missing");
    check(
        vec![shaped(&[3])],
        "input `x`: has shape [3], the model takes [batch, 3]",
    );
    check(
        vec![shaped(&[1, 4])],
        "input `x`: has shape [1, 4], the model takes [batch, 3]",
    );
    check(
        vec![Some(bytes.unwrap().zeroed().freeze())],
        "input `x`: has type uint8, the model takes float32",
    );
}

#[test]
fn an_empty_batch_gives_empty_outputs() {
    let (model, pool) = (affine("{}"), pool());
    let finished = run(work(&model, &pool, 0, 0.0), &pool);
    finished.result.unwrap();
    assert_eq!(values(finished.work), [(0, vec![]), (1, vec![])]);
}

/// Remembers what it was told.
#[derive(Default)]
struct Recorder(RefCell<Vec<Checkpoint>>);

impl Gate for Recorder {
    fn at_checkpoint(&self, checkpoint: Checkpoint) -> Verdict {
        self.0.borrow_mut().push(checkpoint);
        Verdict::Suspend
    }
}

#[test]
fn times_leave_suspensions_out() {
    const PAUSE: Duration = Duration::from_millis(2);
    let (model, pool) = (affine(r#"{"busy_us": 300}"#), pool());
    let gate = Rc::new(Recorder::default());
    let mut call = Call::start(work(&model, &pool, 5, 0.0), None, &pool, gate.clone());
    let begin = Instant::now();
    let finished = loop {
        match call.resume() {
            Step::Done(finished) => break finished,
            Step::Suspended => {
                let pause = Instant::now();
                while pause.elapsed() < PAUSE {
                    std::hint::spin_loop();
                }
            }
        }
    };
    let wall_ns = begin.elapsed().as_nanos() as u64;
    assert!(finished.compute_ns >= 5 * 300_000);
    assert!(finished.compute_ns + 5 * PAUSE.as_nanos() as u64 <= wall_ns);
    assert!(finished.longest_slice_ns >= 300_000 && finished.longest_slice_ns <= finished.compute_ns);
    for checkpoint in gate.0.borrow().iter() {
        assert!(
            checkpoint.slice_ns >= 300_000 && checkpoint.slice_ns == checkpoint.elapsed_ns,
            "{checkpoint:?}"
        );
    }
}

#[test]
fn a_model_serves_several_threads() {
    let model = affine("{}");
    let workers: Vec<_> = (1..=4)
        .map(|rows| {
            let model = model.clone();
            std::thread::spawn(move || {
                let pool = pool();
                for _ in 0..200 {
                    let gate = Switch::new(Verdict::Suspend);
                    let (finished, suspensions) = drive(&mut Call::start(
                        work(&model, &pool, rows, 1.0),
                        None,
                        &pool,
                        gate,
                    ));
                    assert_eq!(suspensions, rows);
                    assert_right(finished.work, rows, 1.0);
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
}

#[test]
fn works_travel_between_threads_and_calls_do_not() {
    fn travels<T: Send>() {}
    travels::<Work>();
    travels::<Model>();
    travels::<mlos_plugin_host::Finished>();
    // Resolves to the trait's method for every type, and to the inherent one only for types that are Send.
    struct Probe<T>(std::marker::PhantomData<T>);
    trait Otherwise {
        fn is_send(&self) -> bool {
            false
        }
    }
    impl<T> Otherwise for Probe<T> {}
    impl<T: Send> Probe<T> {
        fn is_send(&self) -> bool {
            true
        }
    }
    assert!(Probe::<Work>(std::marker::PhantomData).is_send());
    assert!(!Probe::<Call>(std::marker::PhantomData).is_send());
}
