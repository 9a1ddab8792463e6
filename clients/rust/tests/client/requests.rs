//! One request at a time: what is asked, what comes back, and where it lies.

use std::sync::atomic::Ordering;
use std::time::Duration;

use mlos_client::{Class, DType, Direction, Error, OnMiss, Options, Status, Terms};

use crate::support::Daemon;

#[test]
fn a_model_tells_its_tensors() {
    let daemon = Daemon::start();
    let client = daemon.client();
    let model = client.open("t/double").unwrap();
    assert_eq!((model.id(), model.version()), ("t/double", Some("1")));
    assert_eq!(model.class_default(), Some(Class::Normal));
    let input = &model.inputs()[0];
    assert_eq!((input.name.as_str(), input.dtype), ("x", DType::F32));
    assert_eq!(input.dims, [None, Some(4)]);
    assert_eq!(client.daemon(), "a test's");
}

#[test]
fn what_is_filled_in_place_comes_back_in_place() {
    let daemon = Daemon::start();
    for client in [daemon.client(), daemon.sleeper()] {
        let mut double = client.open("t/double").unwrap().request().rows(2).bind().unwrap();
        let (output, ..) = double.output_place(0).unwrap();
        for round in 0..100 {
            let x: Vec<f32> = (0..8).map(|n| (n + round) as f32).collect();
            double.input_mut::<f32>("x").unwrap().copy_from_slice(&x);
            let outputs = double.infer(&Terms::default()).unwrap();
            let y = outputs.get::<f32>("y").unwrap();
            assert_eq!(y, x.iter().map(|x| 2.0 * x).collect::<Vec<_>>());
            assert_eq!(outputs.shape("y").unwrap().dims(), [2, 4]);
            assert_eq!(y.as_ptr().addr(), output.as_ptr().addr(), "the output was moved");
            assert_eq!(outputs.bytes("y").unwrap().len(), 32);
        }
    }
}

#[test]
fn terms_go_over_and_timing_comes_back() {
    let daemon = Daemon::start();
    let client = daemon.client();
    let mut double = daemon.bound(&client, "t/double");
    let timing = double.infer(&Terms::default()).unwrap().timing();
    assert_eq!(timing.class, Some(Class::Normal));
    assert_eq!(timing.compute, Duration::from_nanos(1_500));
    assert_eq!((timing.parts, timing.preemptions), (1, 0));
    // The test's daemon gives deadline and on_miss back in other words.
    for (deadline, us) in [
        (Duration::from_millis(2), 2_000),
        (Duration::from_nanos(1), 1),
        (Duration::MAX, u64::MAX),
    ] {
        let terms = Terms::class(Class::Realtime).within(deadline).or_degrade();
        assert_eq!(terms.on_miss, OnMiss::Degrade);
        let timing = double.infer(&terms).unwrap().timing();
        assert_eq!(timing.class, Some(Class::Realtime));
        assert_eq!(timing.queue, Duration::from_nanos(us));
        assert_eq!(timing.preemptions, 1);
    }
}

#[test]
fn a_refusal_has_the_daemons_kind_and_words() {
    let daemon = Daemon::start();
    let client = daemon.client();
    let error = client.open("t/none").unwrap_err();
    assert_eq!(error.kind(), Status::NotFound);
    assert_eq!(error.to_string(), "there is no model t/none");

    let mut fail = daemon.bound(&client, "t/fail");
    for _ in 0..3 {
        let error = fail.infer(&Terms::default()).unwrap_err();
        assert_eq!(error.kind(), Status::ModelFailed);
        assert_eq!(error.to_string(), "the model is on strike");
        assert!(matches!(fail.outputs(), Err(Error::NoOutputs)));
        fail.input_mut::<f32>("x").unwrap().fill(1.0);
    }

    let too_long = client
        .open("t/double")
        .unwrap()
        .request()
        .rows(257)
        .bind()
        .unwrap_err();
    assert_eq!(too_long.kind(), Status::TooLarge);
    assert_eq!(
        too_long.to_string(),
        "inputs of more than 4096 bytes are refused here"
    );

    let error = Options::default()
        .name("unwanted")
        .connect(&daemon.path)
        .unwrap_err();
    assert_eq!(error.kind(), Status::Unsupported);
    assert_eq!(error.to_string(), "clients of that name are not served");
}

#[test]
fn mistakes_are_told_before_they_are_sent() {
    let daemon = Daemon::start();
    let client = daemon.client();
    let model = client.open("t/double").unwrap();
    let check = |got: Error, kind: Status, text: &str| {
        assert_eq!((got.kind(), got.to_string().as_str()), (kind, text));
    };
    check(
        model.request().dims("z", &[1]).bind().unwrap_err(),
        Status::NotFound,
        "t/double has no input 'z'; it has x",
    );
    check(
        model.request().dims("x", &[1, 5]).bind().unwrap_err(),
        Status::InvalidArgument,
        "input 'x' has shape [?, 4], which [1, 5] is not",
    );
    check(
        client
            .open("t/shape")
            .unwrap()
            .request()
            .dims("y", &[1, 1])
            .bind()
            .unwrap_err(),
        Status::InvalidArgument,
        "output 'y' has shape [?], which [1, 1] is not",
    );
    let mut bound = model.request().bind().unwrap();
    check(
        bound.input_mut::<i64>("x").unwrap_err(),
        Status::InvalidArgument,
        "input 'x' is float32, not int64",
    );
    check(
        bound.set_strings("x", &["a"]).unwrap_err(),
        Status::InvalidArgument,
        "input 'x' is float32, not string",
    );
    check(
        bound.outputs().unwrap_err(),
        Status::Conflict,
        "there are no outputs: the request has not run, or has failed",
    );
    let mut bound = model.request().without("y").bind().unwrap();
    let outputs = bound.infer(&Terms::default()).unwrap();
    check(
        outputs.get::<f32>("y").unwrap_err(),
        Status::NotFound,
        "output 'y' was left out of this request",
    );
    assert!(matches!(
        outputs.get::<f32>("z"),
        Err(Error::NoSuchTensor {
            direction: Direction::Output,
            ..
        })
    ));
}

#[test]
fn an_output_may_have_another_shape_in_every_run() {
    let daemon = Daemon::start();
    let client = daemon.client();
    let model = client.open("t/shape").unwrap();
    let mut bound = model.request().dims("y", &[3]).capacity("y", 400).bind().unwrap();
    for elements in [3, 7, 3, 0, 100, 3] {
        bound
            .input_mut::<f32>("x")
            .unwrap()
            .copy_from_slice(&[elements as f32, 0.5]);
        let outputs = bound.infer(&Terms::default()).unwrap();
        assert_eq!(outputs.get::<f32>("y").unwrap(), vec![0.5; elements]);
        assert_eq!(outputs.shape("y").unwrap().dims(), [elements]);
    }
}

#[test]
fn strings_are_packed_and_bound_anew_when_their_length_changes() {
    let daemon = Daemon::start();
    let client = daemon.client();
    let model = client.open("t/text").unwrap();
    let mut bound = model.request().rows(3).capacity("x", 64).bind().unwrap();
    for strings in [["", "", ""], ["a", "", "ünï"], ["b", "c", "de"], ["", "x", "y"]] {
        bound.set_strings("x", &strings).unwrap();
        let outputs = bound.infer(&Terms::default()).unwrap();
        let mut back = outputs.strings("y").unwrap();
        back.reverse();
        assert_eq!(back, strings.map(str::as_bytes));
    }
    assert_eq!(
        bound.set_strings("x", &["only one"]).unwrap_err().to_string(),
        "'x' has 3 elements, not 1"
    );
    let long = "x".repeat(60);
    let error = bound.set_strings("x", &["", "", &long]).unwrap_err();
    assert_eq!(error.kind(), Status::TooLarge);
    assert!(
        error
            .to_string()
            .contains("need 72 bytes, but there is room for 64"),
        "{error}"
    );
}

#[test]
fn what_is_dropped_is_given_back() {
    let daemon = Daemon::start();
    let client = daemon.client();
    let before = client.arena();
    let model = client.open("t/double").unwrap();
    for _ in 0..100 {
        let all: Vec<_> = (0..32).map(|_| model.request().bind().unwrap()).collect();
        assert!(matches!(
            model.request().bind(),
            Err(Error::TooManyBindings { max: 32 })
        ));
        drop(all);
        assert_eq!(client.arena(), before);
    }
    // The unbinds that found no room are said as others are answered.
    let mut last = model.request().bind().unwrap();
    for _ in 0..100 {
        last.infer(&Terms::default()).unwrap();
    }
    assert_eq!(daemon.bindings.load(Ordering::SeqCst), 1);
}

#[test]
fn an_exhausted_arena_says_so() {
    let daemon = Daemon::start();
    let client = daemon.client();
    let before = client.arena();
    let model = client.open("t/double").unwrap();
    let error = model.request().capacity("y", 2 << 20).bind().unwrap_err();
    assert_eq!(error.kind(), Status::Overloaded);
    assert!(
        error.to_string().contains("arena exhausted: 2097152 bytes asked"),
        "{error}"
    );
    assert_eq!(client.arena(), before);
    daemon
        .bound(&client, "t/double")
        .infer(&Terms::default())
        .unwrap();
}
