//! Which version answers, and what fails to load: as scans find it, as operators choose it, and after restarts.

use futures_lite::future::poll_once;
use mlos_api::{Error, Kind, LifecycleState, Service};
use mlos_core::Node;
use serde_json::json;

use crate::support::{Folders, MODES, factor_of, model, ready, register, request, state, until, with_engine};

/// What requests without a version are answered by.
async fn serving(node: &Node) -> Result<f32, Error> {
    let answer = node.infer(request(node, "test/model", 1, 2.0)).await?;
    Ok(factor_of(&answer, 1, 2.0))
}

/// Writes these versions, each with itself as its factor, scans, and waits until all are ready.
async fn scan(node: &Node, folders: &Folders, versions: &[&str]) {
    for version in versions {
        folders.package("test/model", version, &format!("a {version}\nb 1"), &json!({}));
    }
    let report = node.scan().await.unwrap();
    let registered = report.registered.iter().filter(|found| found.id == "test/model");
    assert_eq!(registered.count(), versions.len(), "{report:?}");
    for version in versions {
        let name = format!("test/model@{version}");
        until(|| state(node, &name) == Some(LifecycleState::Ready)).await;
    }
}

/// Changes a file behind its manifest's back.
fn damage(folders: &Folders, version: &str) {
    let file = folders
        .models()
        .join("test/model")
        .join(version)
        .join("model.affine");
    std::fs::write(file, "affine 1\na 100\n").unwrap();
}

#[test]
fn the_highest_of_scanned_versions_becomes_active_until_one_is_chosen() {
    let folders = Folders::new();
    with_engine(MODES[0], 2, &folders, |node, folders| async move {
        // Loaded in the order of their folders: 1, 10, 2.
        scan(&node, &folders, &["1", "2", "10"]).await;
        assert_eq!(serving(&node).await.unwrap(), 10.0);
        scan(&node, &folders, &["9"]).await;
        assert_eq!(serving(&node).await.unwrap(), 10.0);
    });
    with_engine(MODES[0], 1, &folders, |node, folders| async move {
        until(|| state(&node, "test/model@10") == Some(LifecycleState::Ready)).await;
        scan(&node, &folders, &["11"]).await;
        assert_eq!(serving(&node).await.unwrap(), 11.0, "as before the restart");
        node.activate(&model("test/model")).await.unwrap();
        assert_eq!(serving(&node).await.unwrap(), 10.0, "rolled back");
        scan(&node, &folders, &["12"]).await;
        assert_eq!(serving(&node).await.unwrap(), 10.0, "it has been chosen");
    });
    with_engine(MODES[0], 1, &folders, |node, folders| async move {
        scan(&node, &folders, &["13"]).await;
        until(|| state(&node, "test/model@10") == Some(LifecycleState::Ready)).await;
        assert_eq!(
            serving(&node).await.unwrap(),
            10.0,
            "a choice outlives the daemon"
        );
        node.activate(&model("test/model@13")).await.unwrap();
        assert_eq!(serving(&node).await.unwrap(), 13.0);
    });
}

#[test]
fn one_that_is_active_by_a_scan_can_be_chosen_as_it_is() {
    with_engine(MODES[0], 1, &Folders::new(), |node, folders| async move {
        scan(&node, &folders, &["1", "2"]).await;
        node.activate(&model("test/model@2")).await.unwrap();
        scan(&node, &folders, &["3"]).await;
        assert_eq!(serving(&node).await.unwrap(), 2.0);
        node.activate(&model("test/model")).await.unwrap();
        assert_eq!(serving(&node).await.unwrap(), 1.0, "what was active before");
    });
}

#[test]
fn a_single_registration_takes_nobodys_place_unless_it_is_to() {
    with_engine(MODES[0], 1, &Folders::new(), |node, folders| async move {
        scan(&node, &folders, &["1"]).await;
        ready(&node, &folders, "test/model@2", "a 2\nb 1", json!({})).await;
        assert_eq!(serving(&node).await.unwrap(), 1.0);
    });
}

#[test]
fn a_chosen_version_that_fails_at_start_is_not_replaced_unasked() {
    let folders = Folders::new();
    with_engine(MODES[0], 1, &folders, |node, folders| async move {
        for version in ["1", "2", "3"] {
            let name = format!("test/model@{version}");
            ready(&node, &folders, &name, &format!("a {version}\nb 1"), json!({})).await;
        }
        node.activate(&model("test/model@2")).await.unwrap();
    });
    damage(&folders, "2");
    with_engine(MODES[0], 1, &folders, |node, folders| async move {
        for name in ["test/model@1", "test/model@3"] {
            until(|| state(&node, name) == Some(LifecycleState::Ready)).await;
        }
        until(|| state(&node, "test/model@2") == Some(LifecycleState::Failed)).await;
        let refused = serving(&node).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::ModelFailed, "{refused}");
        let shown = node.model(&model("test/model")).unwrap().failure.clone().unwrap();
        for text in [refused.to_string(), shown] {
            for word in ["sha256", "model.affine", "active", "test/model@3, test/model@1"] {
                assert!(text.contains(word), "no {word} in {text}");
            }
        }
        let named = node.infer(request(&node, "test/model@1", 1, 2.0)).await.unwrap();
        assert_eq!(factor_of(&named, 1, 2.0), 1.0);
        // Mended and registered again, it serves again.
        let root = folders.package("test/model", "2", "a 2\nb 1", &json!({}));
        register(&node, None, root).await.unwrap();
        until(|| state(&node, "test/model@2") == Some(LifecycleState::Ready)).await;
        assert_eq!(serving(&node).await.unwrap(), 2.0);
    });
}

#[test]
fn another_takes_the_place_of_a_scanned_version_that_fails_at_start() {
    let folders = Folders::new();
    with_engine(MODES[0], 1, &folders, |node, folders| async move {
        scan(&node, &folders, &["1", "2", "3"]).await;
        assert_eq!(serving(&node).await.unwrap(), 3.0);
    });
    damage(&folders, "3");
    with_engine(MODES[0], 1, &folders, |node, _| async move {
        for name in ["test/model@1", "test/model@2"] {
            until(|| state(&node, name) == Some(LifecycleState::Ready)).await;
        }
        until(|| state(&node, "test/model@3") == Some(LifecycleState::Failed)).await;
        assert_eq!(serving(&node).await.unwrap(), 2.0);
        assert!(node.model(&model("test/model@2")).unwrap().active);
    });
}

#[test]
fn what_never_loaded_is_listed_tried_at_every_start_and_holds_nobody_up() {
    let folders = Folders::new();
    let failed = |node: &Node| {
        let detail = node.model(&model("a/broken@1")).unwrap();
        assert_eq!(detail.state, LifecycleState::Failed);
        assert!(
            detail.failure.as_ref().unwrap().contains("a nonsense"),
            "{detail:?}"
        );
        assert_eq!(node.models().len(), 2);
    };
    with_engine(MODES[0], 1, &folders, move |node, folders| async move {
        let root = folders.package("a/broken", "1", "a nonsense", &json!({}));
        register(&node, None, root).await.unwrap();
        // Megabytes to hash and to read: when the broken one has failed, this one would still be on its way.
        let lines = "a 2\n".repeat(2_000_000);
        ready(&node, &folders, "test/model@1", &lines, json!({})).await;
        failed(&node);
    });
    with_engine(MODES[0], 1, &folders, move |node, _| async move {
        until(|| state(&node, "a/broken@1") == Some(LifecycleState::Failed)).await;
        failed(&node);
        let good = state(&node, "test/model@1");
        assert_eq!(
            good,
            Some(LifecycleState::Ready),
            "it was not tried before the broken one"
        );
    });
    folders.package("a/broken", "1", "a 2", &json!({}));
    with_engine(MODES[0], 1, &folders, |node, _| async move {
        until(|| state(&node, "a/broken@1") == Some(LifecycleState::Ready)).await;
        assert!(node.model(&model("a/broken@1")).unwrap().active);
    });
}

#[test]
fn who_unregisters_what_drains_already_waits_for_the_same_end() {
    with_engine(MODES[0], 1, &Folders::new(), |node, folders| async move {
        for name in ["test/model@1", "test/model@2"] {
            ready(&node, &folders, name, "a 2\nb 1\nbusy_us 500", json!({})).await;
        }
        // Far longer than the test: it ends when it is dropped.
        let mut running = Box::pin(node.infer(request(&node, "test/model@1", 100_000, 2.0)));
        assert!(poll_once(&mut running).await.is_none());
        let names = ["test/model@1", "test/model@1", "test/model"].map(model);
        let mut gone: Vec<_> = names.iter().map(|name| Box::pin(node.unregister(name))).collect();
        for removal in &mut gone {
            assert!(poll_once(removal).await.is_none());
        }
        // What the registry is asked it does in order: with this answered, it has heard all three.
        node.activate(&model("test/none@1")).await.unwrap_err();
        assert_eq!(state(&node, "test/model@1"), Some(LifecycleState::Draining));
        for removal in &mut gone {
            assert!(
                poll_once(removal).await.is_none(),
                "it went before its last request"
            );
        }
        drop(running);
        for removal in gone {
            removal.await.unwrap();
        }
        for name in ["test/model@1", "test/model"] {
            let error = node.unregister(&model(name)).await.unwrap_err();
            assert_eq!(error.kind(), Kind::NotFound, "{error}");
        }
        assert_eq!(node.models().len(), 0);
        ready(&node, &folders, "test/model@1", "a 3\nb 1", json!({})).await;
        assert_eq!(serving(&node).await.unwrap(), 3.0);
    });
}

#[test]
fn a_model_that_is_not_reentrant_is_refused() {
    for mode in MODES {
        with_engine(mode, 1, &Folders::new(), |node, folders| async move {
            let root = folders.package("test/model", "1", "a 2\nb 1\nreentrant 0", &json!({}));
            register(&node, None, root).await.unwrap();
            until(|| state(&node, "test/model@1") == Some(LifecycleState::Failed)).await;
            let refused = serving(&node).await.unwrap_err();
            assert_eq!(refused.kind(), Kind::ModelFailed, "{refused}");
            let says = refused.to_string();
            assert!(
                says.contains("example.affine") && says.contains("re-entrant"),
                "{says}"
            );
        });
    }
}
