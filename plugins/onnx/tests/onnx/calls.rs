//! Inputs and outputs of calls: shapes, absent ones, wrong ones.

use mlos_plugin_host::{Call, Error, Finished, Outputs, Status, Verdict, Work};
use mlos_zoo::{Input, Probe, Size, Zoo};

use crate::host::{Always, Load, finish, load, pool, run, tensor};

fn probe(probe: Probe) -> mlos_plugin_host::Model {
    let dir = tempfile::tempdir().unwrap();
    let path = probe.write(dir.path()).unwrap();
    load(&path, &Load::default()).unwrap()
}

#[test]
fn an_output_whose_shape_nobody_knows_before_is_served() {
    let model = probe(Probe::NonZero);
    assert!(!model.info().rows_independent);
    // The count changes while the shape of the input does not, back and forth.
    for marks in [[1.0, 0.0, 1.0, 1.0], [0.0; 4], [1.0; 4], [0.0, 0.0, 0.0, 1.0]] {
        let answer = run(&model, &[Input::f32("x", &[4], |index| marks[index])]);
        let found: Vec<i64> = (0..4).filter(|index| marks[*index as usize] != 0.0).collect();
        let bytes: Vec<u8> = found.iter().flat_map(|index| index.to_le_bytes()).collect();
        assert_eq!(answer, [(vec![1, found.len()], bytes)], "{marks:?}");
    }
}

#[test]
fn shapes_change_from_call_to_call() {
    let model = probe(Probe::Symbolic);
    for (m, k, n) in [(1, 1, 1), (2, 3, 5), (7, 1, 2), (2, 3, 5), (0, 3, 5)] {
        let ones = |name: &str, shape: &[usize]| Input::f32(name, shape, |_| 1.0);
        let answer = run(&model, &[ones("a", &[m, k]), ones("b", &[k, n])]);
        let expect: Vec<u8> = std::iter::repeat_n((k as f32).to_le_bytes(), m * n)
            .flatten()
            .collect();
        assert_eq!(answer, [(vec![m, n], expect)]);
    }
}

#[test]
fn a_scalar_is_served() {
    let answer = run(&probe(Probe::Scalar), &[Input::f32("x", &[], |_| 2.5)]);
    assert_eq!(answer, [(vec![], (-2.5_f32).to_le_bytes().to_vec())]);
}

#[track_caller]
fn refused(finished: &Finished) {
    let Err(Error::Plugin {
        status: Status::InvalidArgument,
        message,
        ..
    }) = &finished.result
    else {
        panic!("{:?}", finished.result);
    };
    assert!(!message.is_empty());
}

#[test]
fn values_that_the_model_cannot_take_are_the_callers_fault() {
    let dir = tempfile::tempdir().unwrap();
    let path = Zoo::BertBase.write(dir.path(), Size::Tiny, 1).unwrap();
    let model = load(&path, &Load::default()).unwrap();
    let mut inputs = Zoo::BertBase.inputs(Size::Tiny, 1, 1);
    let expect = run(&model, &inputs);
    let good = inputs[0].data.clone();
    // A token beyond the vocabulary.
    inputs[0].data[..8].copy_from_slice(&i64::MAX.to_le_bytes());
    let pool = pool();
    let work = crate::host::work(&model, &pool, &inputs);
    refused(&finish(Call::start(
        work,
        None,
        &pool,
        Always::new(Verdict::Continue),
    )));
    inputs[0].data = good;
    assert!(run(&model, &inputs) == expect);
}

#[test]
fn inputs_that_contradict_each_other_are_an_error_and_harm_nobody() {
    let model = probe(Probe::Symbolic);
    let pool = pool();
    let ones = |name: &str, shape: &[usize]| Some(tensor(&pool, &Input::f32(name, shape, |_| 1.0)));
    let work = Work::new(&model, vec![ones("a", &[2, 3]), ones("b", &[4, 5])], Outputs::All).unwrap();
    let finished = finish(Call::start(work, None, &pool, Always::new(Verdict::Continue)));
    refused(&finished);
    let answer = run(&model, &Probe::Symbolic.inputs(2, 1));
    assert_eq!(answer[0].0, [2, 5]);
}

#[test]
fn only_wanted_outputs_are_produced() {
    let dir = tempfile::tempdir().unwrap();
    let path = Zoo::Digits.write(dir.path(), Size::Tiny, 1).unwrap();
    let model = load(&path, &Load::default()).unwrap();
    let inputs = Zoo::Digits.inputs(Size::Tiny, 2, 1);
    let all = run(&model, &inputs);
    assert!(all.len() > 1, "the model has several outputs");
    let pool = pool();
    let given = || vec![Some(tensor(&pool, &inputs[0]))];
    for (wanted, (_, expect)) in all.iter().enumerate() {
        let work = Work::new(&model, given(), Outputs::Only(&[wanted])).unwrap();
        let finished = finish(Call::start(work, None, &pool, Always::new(Verdict::Continue)));
        finished.result.unwrap();
        let outputs = finished.work.into_outputs().unwrap();
        let [(index, tensor)] = &outputs[..] else {
            panic!("{} outputs", outputs.len())
        };
        assert_eq!((*index, tensor.bytes().unwrap()), (wanted, &expect[..]));
    }
}

#[test]
fn threads_are_honoured_within_the_budget() {
    let dir = tempfile::tempdir().unwrap();
    let path = Zoo::Digits.write(dir.path(), Size::Full, 1).unwrap();
    let with_threads = |threads| {
        load(
            &path,
            &Load {
                threads,
                ..Load::default()
            },
        )
    };
    let inputs = Zoo::Digits.inputs(Size::Full, 1, 1);
    // The budget of the tests is two pool threads; a caller's own thread is not one.
    let two = with_threads(2).unwrap();
    assert_eq!(two.info().resources.threads, 2);
    assert_eq!(run(&two, &inputs), run(&with_threads(1).unwrap(), &inputs));
    let error = with_threads(4).unwrap_err().to_string();
    assert!(error.contains("threads_max"), "{error}");
    drop(two);
    drop(with_threads(3).unwrap());
}
