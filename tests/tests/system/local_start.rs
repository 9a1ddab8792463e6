//! Where clients of this machine are listened for, who may come, and how it ends.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use mlos_shm::{Error, Status};
use mlos_tests::{Asking, Daemon, Finished, Home, Local, Options, given, run, until};
use rustix::process::geteuid;

use crate::local::{MODES, double, floats, join, slow, socket};

/// Nobody in particular, on every Linux.
const NOBODY: u32 = 65_534;

fn at(path: &Path) -> Options {
    Options::default().flag("--local", path.to_str().unwrap())
}

/// A daemon that does not come up.
#[track_caller]
fn fails(options: &Options) -> String {
    let home = Home::new();
    let ended = run(&mut options.command(&home));
    assert_eq!(ended.code(), 1, "{ended:?}");
    ended.stderr
}

#[test]
fn a_socket_that_cannot_be_is_an_error_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let in_folder = |name: &str| folder.path().join(name);
    std::fs::write(in_folder("file"), "kept").unwrap();
    symlink(in_folder("file"), in_folder("link")).unwrap();
    std::fs::create_dir(in_folder("folder")).unwrap();
    for (path, says) in [
        (in_folder("file"), "no socket"),
        (in_folder("link"), "no socket"),
        (in_folder("folder"), "no socket"),
        (in_folder("file").join("below"), "cannot listen"),
        (in_folder(&"x".repeat(120)), "cannot listen"),
        ("/proc/nowhere/mlosd.sock".into(), "cannot listen"),
    ] {
        let text = fails(&at(&path));
        assert!(text.contains(says), "{}: {text}", path.display());
        assert!(text.contains("--local"), "{text}");
        assert!(text.contains(path.to_str().unwrap()), "{text}");
    }
    assert_eq!(std::fs::read_to_string(in_folder("file")).unwrap(), "kept");
}

#[test]
fn a_second_daemon_does_not_take_the_socket_of_one_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mlosd.sock");
    let first = Daemon::start(&at(&path));
    let mut local = until("the local socket", || Local::try_join(&path, 0, 0).ok());
    let text = fails(&at(&path));
    assert!(
        text.contains("a daemon that runs") && text.contains("--local"),
        "{text}"
    );
    let id = first.serve(&double("test/double"));
    let opened = local.open(&id);
    let mut bound = local.bind(0, &opened, &[given(&[1, 1], &[1.0])], &[4, 4]);
    local.infer(&mut bound);
    drop(first);
    assert!(!path.exists(), "it is gone with its daemon");
}

/// One that was moved aside, or whose folder was emptied: what is at the path now is not the first daemon's to remove.
#[test]
fn a_daemon_leaves_the_socket_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mlosd.sock");
    let first = Daemon::start(&at(&path));
    until("the local socket", || Local::try_join(&path, 0, 0).ok());
    std::fs::remove_file(&path).unwrap();
    let _second = Daemon::start(&at(&path));
    until("the second's", || Local::try_join(&path, 0, 0).ok());
    drop(first.stop());
    let _local = Local::join(&path);
}

#[test]
fn where_nobody_shall_come_nobody_can() {
    let daemon = Daemon::start(&Options::default().flag("--local", "off"));
    let id = daemon.serve(&double("test/double"));
    daemon
        .client()
        .infer(&id, &serde_json::json!({ "x": [[1.0]] }))
        .expect(200);
    assert!(!socket(&daemon).exists());
    assert!(!daemon.log().contains("listening for local clients"));
}

/// The client as another user, who must be able to read it.
fn as_nobody(folder: &Path, arguments: &[&str]) -> Finished {
    let program = folder.join("client");
    std::fs::copy(env!("CARGO_BIN_EXE_local-client"), &program).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
    run(Command::new(program)
        .args(arguments)
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY))
}

#[test]
fn users_who_are_not_admitted_are_told_why() {
    if !geteuid().is_root() {
        return println!("not run: only root can be somebody else");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mlosd.sock");
    let place = path.to_str().unwrap();
    let daemon = Daemon::start(&at(&path));
    let id = daemon.serve(&double("test/double"));
    until("the local socket", || Local::try_join(&path, 0, 0).ok());
    for _ in 0..50 {
        let refused = as_nobody(folder.path(), &[place, &id, "once"]);
        assert_eq!(refused.code(), 1, "{refused:?}");
        let text = &refused.stderr;
        assert!(text.contains("user 65534 may not use this daemon"), "{text}");
        assert!(text.contains("local.users"), "it says what to do: {text}");
    }
    drop(daemon);
    let admitting = at(&path).setting(&format!("local.users = [{NOBODY}]"));
    let daemon = Daemon::start(&admitting);
    let id = daemon.serve(&double("test/double"));
    until("the local socket", || Local::try_join(&path, 0, 0).ok());
    let served = as_nobody(folder.path(), &[place, &id, "once"]);
    assert_eq!(served.succeeded().stdout, "answered\n");
}

/// What runs is finished and answered, what comes is refused, and then everybody is let go.
#[test]
fn a_drain_loses_nothing_that_was_asked_locally() {
    for mode in MODES {
        let mut daemon = Daemon::start(&Options::one_core(mode));
        let id = daemon.serve(&slow("test/slow", 1_000));
        let mut local = join(&daemon);
        let opened = local.open(&id);
        let bounds: Vec<_> = (0..8)
            .map(|number| local.bind(number, &opened, &[given(&[50, 1], &[1.0])], &[200, 200]))
            .collect();
        let late = local.bind(8, &opened, &[given(&[1, 1], &[1.0])], &[4, 4]);
        let asked: Vec<u64> = bounds
            .iter()
            .map(|bound| local.ask(bound.number, Asking::default()))
            .collect();
        until("it runs", || {
            (daemon.class("normal", "arrived") >= 8).then_some(())
        });
        daemon.terminate();
        let first = local.wait(asked[0]).unwrap();
        assert_eq!(first.status, Status::Ok, "{mode}");
        for (id, bound) in asked[1..].iter().zip(&bounds[1..]) {
            assert_eq!(local.wait(*id).unwrap().status, Status::Ok, "{mode}");
            assert_eq!(floats(bound.outputs[0].bytes()), [2.0; 50], "{mode}");
        }
        // Whether it is refused or finds nobody any more: it is told.
        let id = local.ask(late.number, Asking::default());
        match local.wait(id) {
            Ok(response) => assert_eq!(response.status, Status::Unavailable, "{mode}"),
            Err(error) => assert!(matches!(error, Error::PeerGone), "{mode}: {error}"),
        }
        let status = daemon.wait();
        assert!(status.success(), "{mode}: {status}\n{}", daemon.log());
        assert!(
            daemon.log().contains("all requests were answered"),
            "{}",
            daemon.log()
        );
    }
}
