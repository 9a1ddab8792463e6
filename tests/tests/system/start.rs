//! How the daemon comes up: what it says before it serves, where its threads and its memory lie, and what it needs.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use mlos_tests::{Daemon, Finished, Home, Options, Package, first_core, run};
use seccompiler::{SeccompAction, SeccompFilter};
use serde_json::json;

/// Of a status file: the processors that a thread may use, or those of a node.
fn list(text: &str) -> BTreeSet<usize> {
    let parts = text.trim().split(',').filter(|part| !part.is_empty());
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        first.parse::<usize>().unwrap()..=last.parse().unwrap()
    };
    parts.flat_map(range).collect()
}

/// The line of a status file that begins so.
fn field(status: &str, name: &str) -> BTreeSet<usize> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    list(line.unwrap())
}

fn usable() -> BTreeSet<usize> {
    field(
        &std::fs::read_to_string("/proc/self/status").unwrap(),
        "Cpus_allowed_list:",
    )
}

/// Sockets of this machine that listen on this port.
fn listeners(port: u16) -> usize {
    const LISTEN: &str = "0A";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!(":{port:04X}");
    let listens = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[1].ends_with(&local) && fields[3] == LISTEN
    };
    table.lines().skip(1).filter(listens).count()
}

/// "listening" is the word that a unit file or a script waits for: whoever connects then is answered, on every core.
#[test]
fn it_says_listening_when_every_core_does() {
    let options = Options::default();
    let daemon = Daemon::start(&options);
    let root = Package::affine("test/matrix", "1", "a 2").write(&daemon.home().models());
    let manifest = root.join("manifest.yaml");
    let request = json!({ "path": root, "manifest_path": manifest });
    daemon.client().post("/models/register", &request).expect(201);
    daemon.wait_ready("test/matrix");
    let home = daemon.stop();
    // The next one reads the manifest before it serves, and that takes until somebody writes it.
    let text = std::fs::read(&manifest).unwrap();
    std::fs::remove_file(&manifest).unwrap();
    assert!(Command::new("mkfifo").arg(&manifest).status().unwrap().success());
    let mut command = options.command(&home);
    let mut child = Killed(
        command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    // Opens when the daemon reads; should it end before, the log ends too.
    let opening = std::thread::spawn(move || File::options().write(true).open(&manifest).unwrap());
    let mut lines = BufReader::new(child.0.stderr.take().unwrap()).lines();
    let mut next = |word: &str| loop {
        let line = lines.next().expect("it goes on").unwrap();
        assert!(
            word == "listening" || !line.contains("listening"),
            "too early: {line}"
        );
        if line.contains(word) {
            break line;
        }
    };
    next("serving");
    opening.join().unwrap().write_all(&text).unwrap();
    let line = next("listening");
    let (_, after) = line.split_once("127.0.0.1:").unwrap();
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    let port: u16 = digits.parse().unwrap();
    assert_ne!(port, 0);
    assert_eq!(listeners(port), usable().len(), "{line}");
}

/// Ends with the test, however that ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_port_that_somebody_else_has_is_an_error() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let ended = run(Options::default()
        .flag("--http", &address)
        .command(&Home::new())
        .arg("--log=error"));
    assert_eq!(ended.code(), 1, "{ended:?}");
    for word in ["cannot listen", &address, "--http"] {
        assert!(ended.stderr.contains(word), "no {word} in {}", ended.stderr);
    }
}

/// A front for each processor, and each thread that is named after one may use that one only.
#[test]
fn threads_are_pinned_to_their_processors() {
    let daemon = Daemon::start(&Options::default());
    let mut fronts = BTreeSet::new();
    let mut lanes = 0;
    for task in std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap() {
        let task = task.unwrap().path();
        let Ok(name) = std::fs::read_to_string(task.join("comm")) else {
            continue;
        };
        let allowed = || {
            let status = std::fs::read_to_string(task.join("status")).unwrap();
            field(&status, "Cpus_allowed_list:")
        };
        let Some((kind, cpu)) = name
            .trim()
            .strip_prefix("mlos-")
            .and_then(|name| name.split_once('-'))
        else {
            continue;
        };
        let cpu: usize = cpu.parse().unwrap();
        assert_eq!(allowed(), BTreeSet::from([cpu]), "{name}");
        match kind {
            // Threads that the executor starts for itself have its name, and its processor.
            "front" => drop(fronts.insert(cpu)),
            _ => lanes += 1,
        }
    }
    assert_eq!(fronts, usable());
    assert_eq!(lanes, 3 * fronts.len());
    let stats = daemon.stats();
    for shard in stats["shards"].as_array().unwrap() {
        let (cpu, node) = (shard["cpu"].as_u64().unwrap(), shard["node"].as_u64().unwrap());
        let of_node =
            std::fs::read_to_string(format!("/sys/devices/system/node/node{node}/cpulist")).unwrap();
        assert!(list(&of_node).contains(&usize::try_from(cpu).unwrap()), "{shard}");
    }
}

/// What the kernel says of the daemon's tensor memory, once there is some.
#[test]
fn tensor_memory_lies_on_the_node_of_its_core() {
    let daemon = Daemon::start(&Options::default().flag("--cores", &first_core().to_string()));
    let id = daemon.serve(&Package::affine("test/matrix", "1", "a 2"));
    daemon.client().infer(&id, &json!({ "x": [[1.0]] })).expect(200);
    let node = daemon.stats()["shards"][0]["node"].as_u64().unwrap();
    let maps = std::fs::read_to_string(format!("/proc/{}/numa_maps", daemon.pid())).unwrap();
    let memory: Vec<&str> = maps
        .lines()
        .filter(|line| line.contains("memfd:mlos-tensors"))
        .collect();
    assert!(!memory.is_empty(), "{maps}");
    for line in memory {
        let policy = line.split(' ').nth(1).unwrap();
        if policy == "default" {
            println!("this kernel lets nobody bind memory: {line}");
        } else {
            let (kind, nodes) = policy.rsplit_once(':').unwrap();
            assert!(kind.starts_with("bind") || kind.starts_with("prefer"), "{line}");
            assert_eq!(nodes, node.to_string(), "{line}");
        }
        let elsewhere = line.split(' ').filter_map(|word| word.strip_prefix('N'));
        let elsewhere = elsewhere.filter(|pages| !pages.starts_with(&format!("{node}=")));
        assert_eq!(elsewhere.count(), 0, "{line}");
    }
}

/// As in a container whose seccomp profile knows nothing of io_uring. Children have the filters of the thread that
/// starts them.
fn without_io_uring(mut command: Command) -> Finished {
    const EPERM: u32 = 1;
    /// `io_uring_setup`, `_enter` and `_register`: the same numbers on every architecture.
    const CALLS: [i64; 3] = [425, 426, 427];
    let filter = SeccompFilter::new(
        CALLS.into_iter().map(|call| (call, vec![])).collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(EPERM),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
    let confined = std::thread::spawn(move || {
        seccompiler::apply_filter(&program).unwrap();
        run(&mut command)
    });
    confined.join().unwrap()
}

#[test]
fn a_seccomp_profile_without_io_uring_is_named() {
    let home = Home::new();
    let ended = without_io_uring(Options::default().command(&home));
    assert_eq!(ended.code(), 1, "{ended:?}");
    for word in [
        "mlosd: ",
        "io_uring is not permitted here",
        "io_uring_setup, io_uring_enter and io_uring_register",
        "seccomp",
    ] {
        assert!(ended.stderr.contains(word), "no {word} in {}", ended.stderr);
    }
    // What needs no executor works all the same.
    let checked = without_io_uring({
        let mut command = Options::default().command(&home);
        command.arg("--check-config");
        command
    });
    assert_eq!(checked.code(), 0, "{checked:?}");
}
