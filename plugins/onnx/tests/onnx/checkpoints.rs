//! Suspending, nesting and cancelling at yields.

use std::cell::Cell;
use std::rc::Rc;

use mlos_plugin_host::{Call, Checkpoint, Error, Gate, Model, Step, Verdict};
use mlos_zoo::{DType, Dim, ExternalData, Graph, Input, Size, Zoo};

use crate::host::{Always, Load, YIELD_EVERYWHERE, answer, finish, load, pool, run, work};

fn model(zoo: Zoo) -> Model {
    let dir = tempfile::tempdir().unwrap();
    let path = zoo.write(dir.path(), Size::Tiny, 3).unwrap();
    load(
        &path,
        &Load {
            options: YIELD_EVERYWHERE,
            ..Load::default()
        },
    )
    .unwrap()
}

/// Cancels at the n-th checkpoint.
struct CancelAt(Cell<u64>);

impl Gate for CancelAt {
    fn at_checkpoint(&self, _: Checkpoint) -> Verdict {
        let left = self.0.get();
        self.0.set(left.wrapping_sub(1));
        if left == 0 {
            Verdict::Cancel
        } else {
            Verdict::Continue
        }
    }
}

#[test]
fn a_call_can_be_cancelled_at_each_yield_and_the_model_lives_on() {
    let model = model(Zoo::ResNet50);
    let inputs = Zoo::ResNet50.inputs(Size::Tiny, 1, 3);
    let expect = run(&model, &inputs);
    let gate = Always::new(Verdict::Continue);
    crate::host::run_with(&model, &inputs, gate.clone());
    let yields = gate.1.get();
    assert!(yields > 20, "{yields}");
    let pool = pool();
    for at in 0..yields {
        let gate = Rc::new(CancelAt(Cell::new(at)));
        let finished = finish(Call::start(work(&model, &pool, &inputs), None, &pool, gate));
        assert!(
            matches!(finished.result, Err(Error::Cancelled)),
            "at {at}: {:?}",
            finished.result
        );
    }
    assert!(run(&model, &inputs) == expect);
}

/// Two calls on one thread take turns at each yield; `calls` are models and inputs, the same model twice too.
fn take_turns(calls: &[(&Model, &[Input])]) {
    let pool = pool();
    let expect: Vec<_> = calls.iter().map(|(model, inputs)| run(model, inputs)).collect();
    let start = |(model, inputs): &(&Model, &[Input])| {
        Some(Call::start(
            work(model, &pool, inputs),
            None,
            &pool,
            Always::new(Verdict::Suspend),
        ))
    };
    let mut running: Vec<Option<Call>> = calls.iter().map(start).collect();
    let mut answers: Vec<_> = calls.iter().map(|_| None).collect();
    while answers.iter().any(Option::is_none) {
        for (slot, answered) in running.iter_mut().zip(&mut answers) {
            let Some(call) = slot else { continue };
            if let Step::Done(finished) = call.resume() {
                *answered = Some(answer(finished));
                *slot = None;
            }
        }
    }
    for (answered, expect) in answers.into_iter().zip(expect) {
        assert!(answered.unwrap() == expect);
    }
}

#[test]
fn runs_of_the_same_session_nest_on_one_thread() {
    let model = model(Zoo::BertBase);
    let inputs: Vec<Vec<Input>> = (0..3)
        .map(|seed| Zoo::BertBase.inputs(Size::Tiny, 1 + seed, seed as u64))
        .collect();
    take_turns(&[(&model, &inputs[0]), (&model, &inputs[1]), (&model, &inputs[2])]);
}

#[test]
fn runs_of_different_sessions_nest_on_one_thread() {
    let (bert, resnet) = (model(Zoo::BertBase), model(Zoo::ResNet50));
    let bert_inputs = Zoo::BertBase.inputs(Size::Tiny, 2, 5);
    let resnet_inputs = Zoo::ResNet50.inputs(Size::Tiny, 1, 5);
    take_turns(&[
        (&bert, &bert_inputs),
        (&resnet, &resnet_inputs),
        (&bert, &bert_inputs),
    ]);
}

#[test]
fn a_cancelled_call_does_not_disturb_the_one_it_interrupted() {
    let model = model(Zoo::BertBase);
    let inputs = Zoo::BertBase.inputs(Size::Tiny, 1, 9);
    let expect = run(&model, &inputs);
    let pool = pool();
    let mut outer = Call::start(
        work(&model, &pool, &inputs),
        None,
        &pool,
        Always::new(Verdict::Suspend),
    );
    let mut cancelled = 0;
    let finished = loop {
        match outer.resume() {
            Step::Done(finished) => break finished,
            Step::Suspended => {
                let gate = Rc::new(CancelAt(Cell::new(cancelled % 5)));
                let inner = finish(Call::start(work(&model, &pool, &inputs), None, &pool, gate));
                assert!(matches!(inner.result, Err(Error::Cancelled)));
                cancelled += 1;
            }
        }
    };
    assert!(cancelled > 5);
    assert!(answer(finished) == expect);
}

#[test]
fn threads_run_one_session_at_once() {
    let model = model(Zoo::MobileNetV2);
    let inputs = Zoo::MobileNetV2.inputs(Size::Tiny, 1, 4);
    let expect = run(&model, &inputs);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let gate = Always::new(Verdict::Suspend);
                    assert!(crate::host::run_with(&model, &inputs, gate) == expect);
                }
            });
        }
    });
}

#[test]
fn a_short_model_gets_no_yields() {
    let dir = tempfile::tempdir().unwrap();
    let zoo = Zoo::Mlp {
        dim: 16,
        width: 16,
        depth: 2,
    };
    let path = zoo.write(dir.path(), Size::Full, 3).unwrap();
    let model = load(&path, &Load::default()).unwrap();
    let profile = model.slice_profile();
    assert_eq!(
        profile.iter().map(|row| row.rows).collect::<Vec<_>>(),
        [1, 2, 4, 8]
    );
    assert!(
        profile.iter().all(|row| row.checkpoints == 0 && row.total_ns > 0),
        "{profile:?}"
    );
}

#[test]
fn a_yield_on_an_input_leaves_the_callers_memory_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("branches.onnx");
    let dims = [Dim::Named("N"), Dim::Fixed(64)];
    let mut graph = Graph::new("branches", 1);
    let x = graph.input("x", DType::F32, &dims);
    // Both read the input, and could work in its place if they thought that nobody else did.
    let negative = graph.op("Neg", &[x], &[]);
    let positive = graph.relu(x);
    let whole = graph.add(negative, positive);
    graph.output("y", whole, DType::F32, &dims);
    graph.save(&path, ExternalData::Never).unwrap();
    let model = load(
        &path,
        &Load {
            options: YIELD_EVERYWHERE,
            ..Load::default()
        },
    )
    .unwrap();
    assert_eq!(model.slice_profile()[0].checkpoints, 2);
    let inputs = [Input::f32("x", &[3, 64], |index| index as f32 - 90.0)];
    let pool = pool();
    let work = work(&model, &pool, &inputs);
    let memory = work.inputs()[0].clone().unwrap();
    let finished = finish(Call::start(work, None, &pool, Always::new(Verdict::Suspend)));
    assert_eq!(memory.bytes().unwrap(), inputs[0].data);
    let expect = |index: usize| (-(index as f32 - 90.0)).max(0.0);
    let bytes: Vec<u8> = (0..192).flat_map(|index| expect(index).to_le_bytes()).collect();
    assert!(answer(finished) == [(vec![3, 64], bytes)]);
}
