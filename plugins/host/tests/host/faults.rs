//! A plugin that does what it must not.

use crate::support::*;
use mlos_plugin_host::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

#[test]
fn misbehaviour_is_told_apart_and_does_no_harm() {
    let pool = pool();
    let idle_bytes = pool.stats().in_use_bytes;
    let check = |behave: &str, kind: ErrorKind, says: &str| {
        let model = affine(&format!(r#"{{"behave": "{behave}"}}"#));
        for _ in 0..2 {
            let finished = run(work(&model, &pool, 2, 0.0), &pool);
            let error = finished.result.expect_err(behave);
            assert_eq!(error.kind(), kind, "{behave}: {error}");
            assert_eq!(error.to_string(), says, "{behave}");
            assert!(!finished.work.is_done());
        }
        assert_eq!(pool.stats().in_use_bytes, idle_bytes, "{behave}");
    };
    let of = |output: &str, problem: &str| format!("plugin example.affine: output `{output}`: {problem}");
    let breaks = |what: &str| format!("plugin example.affine breaks the interface: {what}");
    check(
        "fail",
        ErrorKind::Plugin,
        "plugin example.affine: infer: asked to fail",
    );
    check(
        "fail_late",
        ErrorKind::Plugin,
        "plugin example.affine: infer: asked to fail after a row",
    );
    check(
        "fail_mute",
        ErrorKind::Plugin,
        "plugin example.affine: infer: runtime failure",
    );
    check(
        "silent",
        ErrorKind::Plugin,
        &of("y", "was not produced, though the plugin reported success"),
    );
    check(
        "cancelled",
        ErrorKind::Plugin,
        &breaks("it reported a cancellation that nobody asked for"),
    );
    check("twice", ErrorKind::Plugin, &of("y", "was asked for twice"));
    check(
        "wrong_dtype",
        ErrorKind::Plugin,
        &of("y", "has type float64, the model declares float32"),
    );
    check(
        "wrong_rank",
        ErrorKind::Plugin,
        &of("y", "has 3 dimensions, the model declares 2"),
    );
    check(
        "wrong_rows",
        ErrorKind::Plugin,
        &of("y", "has shape [3, 3] for 2 rows"),
    );
    check("negative", ErrorKind::Plugin, &of("y", "has a dimension of -1"));
    check(
        "wrong_index",
        ErrorKind::Plugin,
        &breaks("it asked for output 7 of 2"),
    );
    check(
        "wrong_size",
        ErrorKind::Plugin,
        &of("y", "shape [2, 3] of float32 takes 24 bytes, 25 were asked for"),
    );
}

#[test]
fn a_shape_that_overflows_is_refused() {
    let (model, pool) = (affine(r#"{"behave": "overflow", "rows_independent": 0}"#), pool());
    let error = run(work(&model, &pool, 2, 0.0), &pool).result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Plugin, "{error}");
}

#[test]
fn a_pool_that_is_empty_is_not_the_plugins_fault() {
    let (model, pool) = (affine("{}"), pool());
    let small = mlos_tensor_mem::PoolConfig {
        limit_bytes: 0,
        ..Default::default()
    };
    let small = mlos_tensor_mem::Pool::new(small).unwrap();
    let error = run(work(&model, &pool, 1000, 0.0), &small).result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoMemory, "{error}");
}

/// A crash in a plugin takes the process with it: that is what the documentation says, and this shows.
#[test]
fn an_aborting_plugin_ends_the_process() {
    let signal = signal_of_child(
        r#"{"behave": "abort"}"#,
        "faults::an_aborting_plugin_ends_the_process",
    );
    assert_eq!(signal, Some(6), "SIGABRT");
}

#[test]
fn a_stack_that_overflows_meets_its_guard() {
    let signal = signal_of_child(
        r#"{"stack_kib": 1024}"#,
        "faults::a_stack_that_overflows_meets_its_guard",
    );
    assert_eq!(signal, Some(11), "SIGSEGV");
}

/// Runs a model in this test program started again, in `test`, which calls this; says what signal ended it.
fn signal_of_child(options_json: &str, test: &str) -> Option<i32> {
    const CHILD: &str = "MLOS_TEST_CRASH_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let (model, pool) = (affine(options_json), pool());
        run(work(&model, &pool, 1, 0.0), &pool).result.unwrap();
        return None;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(CHILD, "1")
        .output()
        .unwrap();
    child.status.signal()
}
