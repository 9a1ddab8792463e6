//! Models that come, are replaced, and go, under load and over restarts.

use std::cell::Cell;
use std::rc::Rc;

use mlos_api::{Kind, LifecycleState, Service};
use mlos_core::executor;
use serde_json::json;

use crate::support::{
    Folders, MODES, factor_of, model, pause, ready, register, request, state, until, with_engine,
};

#[test]
fn no_request_fails_while_a_model_is_replaced() {
    for mode in MODES {
        with_engine(mode, 2, &Folders::new(), |node, folders| async move {
            ready(&node, &folders, "test/model@1", "a 2\nb 1\nbusy_us 50", json!({})).await;
            let (stop, answered) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
            let clients = 6;
            let (ends, ended) = async_channel::bounded::<()>(1);
            for client in 0..clients {
                let (node, stop, answered, ends) =
                    (node.clone(), stop.clone(), answered.clone(), ends.clone());
                executor::spawn(async move {
                    while !stop.get() {
                        let rows = 1 + client;
                        let answer = node.infer(request(&node, "test/model", rows, 2.0)).await.unwrap();
                        let factor = factor_of(&answer, rows, 2.0);
                        assert!([2.0, 3.0, 4.0, 5.0].contains(&factor), "{factor}");
                        answered.set(answered.get() + 1);
                        pause().await;
                    }
                    drop(ends);
                });
            }
            drop(ends);
            for factor in 3..6 {
                let before = answered.get();
                let lines = format!("a {factor}\nb 1\nbusy_us 50");
                let root = folders.package("test/model", "1", &lines, &json!({}));
                register(&node, None, root).await.unwrap();
                until(|| answered.get() > before + 10).await;
                loop {
                    let answer = node.infer(request(&node, "test/model", 1, 2.0)).await.unwrap();
                    if factor_of(&answer, 1, 2.0) == factor as f32 {
                        break;
                    }
                    pause().await;
                }
            }
            stop.set(true);
            let _ = ended.recv().await;
            node.unregister(&model("test/model")).await.unwrap();
            let gone = node
                .infer(request(&node, "test/model", 1, 2.0))
                .await
                .unwrap_err();
            assert_eq!(gone.kind(), Kind::NotFound, "{gone}");
            assert_eq!(node.models().len(), 0);
        });
    }
}

#[test]
fn what_runs_is_answered_before_its_model_goes() {
    with_engine(MODES[0], 1, &Folders::new(), |node, folders| async move {
        ready(&node, &folders, "test/slow@1", "a 2\nb 1\nbusy_us 500", json!({})).await;
        let mut answer = Box::pin(node.infer(request(&node, "test/slow", 20, 2.0)));
        assert!(futures_lite::future::poll_once(&mut answer).await.is_none());
        let order = Rc::new(Cell::new(0));
        let first = order.clone();
        let run = async move {
            let answer = answer.await.unwrap();
            assert_eq!(factor_of(&answer, 20, 2.0), 2.0);
            first.set(1);
        };
        let gone = async {
            node.unregister(&model("test/slow@1")).await.unwrap();
            assert_eq!(order.get(), 1, "the model went first");
        };
        futures_lite::future::zip(run, gone).await;
    });
}

#[test]
fn what_cannot_be_loaded_says_why_and_may_be_put_right() {
    with_engine(MODES[0], 1, &Folders::new(), |node, folders| async move {
        let root = folders.package("test/model", "1", "a nonsense", &json!({}));
        register(&node, None, root.clone()).await.unwrap();
        until(|| state(&node, "test/model@1") == Some(LifecycleState::Failed)).await;
        let error = node
            .infer(request(&node, "test/model", 1, 2.0))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::ModelFailed, "{error}");
        assert!(error.to_string().contains("a nonsense"), "{error}");
        ready(&node, &folders, "test/model@1", "a 2\nb 1", json!({})).await;
        // A file that is not what its manifest says is not loaded, and what serves goes on.
        std::fs::write(root.join("model.affine"), "affine 1\na 9\n").unwrap();
        let manifest = std::fs::read_to_string(root.join("manifest.yaml")).unwrap();
        std::fs::write(root.join("manifest.yaml"), manifest + "\n").unwrap();
        register(&node, None, root).await.unwrap();
        let detail = || node.model(&model("test/model@1")).unwrap();
        until(|| detail().failure.is_some()).await;
        assert!(
            detail().failure.as_ref().unwrap().contains("sha256"),
            "{detail:?}",
            detail = detail()
        );
        let answer = node.infer(request(&node, "test/model", 1, 2.0)).await.unwrap();
        assert_eq!(factor_of(&answer, 1, 2.0), 2.0);
    });
}

#[test]
fn a_bare_file_is_the_same_as_long_as_it_is_not_written() {
    with_engine(MODES[0], 1, &Folders::new(), |node, folders| async move {
        std::fs::create_dir_all(folders.models()).unwrap();
        let path = folders.models().join("bare.affine");
        std::fs::write(&path, "affine 1\na 2\nb 1\n").unwrap();
        for already in [false, true, true] {
            let request = mlos_api::RegisterRequest {
                model: Some(model("test/bare")),
                path: path.clone(),
                manifest_path: None,
                activate: true,
            };
            assert_eq!(node.register(request).await.unwrap().already, already);
            until(|| state(&node, "test/bare@1") == Some(LifecycleState::Ready)).await;
        }
        let answer = node.infer(request(&node, "test/bare", 1, 2.0)).await.unwrap();
        assert_eq!(factor_of(&answer, 1, 2.0), 2.0);
    });
}

#[test]
fn a_restart_brings_back_models_and_the_version_to_return_to() {
    let folders = Folders::new();
    with_engine(MODES[0], 2, &folders, |node, folders| async move {
        for (version, factor) in [("1", 2), ("2", 3), ("3", 4)] {
            let lines = format!("a {factor}\nb 1");
            ready(
                &node,
                &folders,
                &format!("test/model@{version}"),
                &lines,
                json!({}),
            )
            .await;
        }
        // The first to be ready became the active one.
        node.activate(&model("test/model@2")).await.unwrap();
    });
    std::fs::remove_dir_all(folders.models().join("test/model/3")).unwrap();
    with_engine(MODES[0], 1, &folders, |node, _| async move {
        assert_eq!(state(&node, "test/model@3"), Some(LifecycleState::Failed));
        for (version, factor) in [("1", 2.0), ("2", 3.0)] {
            let name = format!("test/model@{version}");
            until(|| state(&node, &name) == Some(LifecycleState::Ready)).await;
            let answer = node.infer(request(&node, &name, 1, 2.0)).await.unwrap();
            assert_eq!(factor_of(&answer, 1, 2.0), factor);
        }
        let answer = node.infer(request(&node, "test/model", 1, 2.0)).await.unwrap();
        assert_eq!(factor_of(&answer, 1, 2.0), 3.0);
        assert_eq!(
            node.activate(&model("test/model")).await.unwrap(),
            model("test/model@1")
        );
        node.unregister(&model("test/model@3")).await.unwrap();
    });
    with_engine(MODES[0], 1, &folders, |node, _| async move {
        assert_eq!(state(&node, "test/model@3"), None);
        until(|| state(&node, "test/model@1") == Some(LifecycleState::Ready)).await;
        let answer = node.infer(request(&node, "test/model", 1, 2.0)).await.unwrap();
        assert_eq!(factor_of(&answer, 1, 2.0), 2.0);
    });
}
