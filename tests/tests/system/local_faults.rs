//! Clients of this machine that die, stall, flood or write nonsense: each costs itself, and nobody else.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mlos_shm::control::{ClientMessage, ControlMessage, Open, socket};
use mlos_shm::{Error, Request};
use mlos_tests::{Asking, Daemon, Local, Options, Package, count, given, until};
use mlos_zoo::{Prng, Size, Zoo};

use crate::local::{MODES, double, floats, join, slow, socket as path_of};

/// The longest that an answer may take with what the tests put up to its daemon.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Segments that the engine's pool may take while ONNX models are asked; those who are let go of meanwhile had a thousand.
const POOLED_MAX: usize = 8;

/// A client as a process of its own.
fn process(daemon: &Daemon, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_local-client"))
        .arg(path_of(daemon))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What a client could leave behind in a daemon.
#[derive(Debug, PartialEq, Eq, PartialOrd)]
pub struct Held {
    descriptors: usize,
    segments: usize,
}

pub fn held(daemon: &Daemon) -> Held {
    let proc = format!("/proc/{}", daemon.pid());
    let maps = std::fs::read_to_string(format!("{proc}/maps")).unwrap();
    Held {
        descriptors: std::fs::read_dir(format!("{proc}/fd")).unwrap().count(),
        segments: maps.lines().filter(|line| line.contains("memfd:mlos")).count(),
    }
}

/// Waits until the daemon holds what it held before.
#[track_caller]
pub fn wait_for(daemon: &Daemon, before: &Held) {
    wait_for_all_but(daemon, before, 0);
}

/// The same, but for so many segments that the engine took for itself: to join requests, and to copy what must not change
/// while a model reads it. They stay in its pool.
#[track_caller]
fn wait_for_all_but(daemon: &Daemon, before: &Held, pooled: usize) {
    let limit = Instant::now() + PATIENCE;
    loop {
        let now = held(daemon);
        let more = now.segments.saturating_sub(before.segments);
        // Each is a descriptor, too.
        if more <= pooled && now.descriptors <= before.descriptors + more {
            return;
        }
        assert!(
            Instant::now() < limit,
            "it holds {now:?}, and {before:?} before: {}",
            daemon.stats()
        );
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Clients whose every request is answered, and right, until they are told to stop.
fn honest(daemon: &Daemon, id: &str, clients: u16, stop: &AtomicBool) -> u64 {
    let ask = |client: u16| {
        let mut local = join(daemon);
        let opened = local.open(id);
        let mut bound = local.bind(0, &opened, &[given(&[1, 2], &[0.0])], &[8, 4]);
        let mut round = 0_u16;
        let mut asked = 0;
        while !stop.load(Ordering::Relaxed) {
            round = round.wrapping_add(1) % 4096;
            let value = f32::from(client * 4096 + round);
            bound.inputs[0].bytes_mut()[..4].copy_from_slice(&value.to_le_bytes());
            let start = Instant::now();
            local.infer(&mut bound);
            assert_eq!(floats(bound.outputs[0].bytes())[0], 2.0 * value);
            assert!(start.elapsed() < PATIENCE);
            asked += 1;
        }
        asked
    };
    let ask = &ask;
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..clients)
            .map(|client| scope.spawn(move || ask(client)))
            .collect();
        asking.into_iter().map(|client| client.join().unwrap()).sum()
    })
}

/// Runs something beside honest clients, and returns how often these were answered.
pub fn beside_honest<R: Send>(daemon: &Daemon, id: &str, work: impl FnOnce() -> R) -> (R, u64) {
    let stop = AtomicBool::new(false);
    // Stops the others when the work panics, too.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        let others = scope.spawn(|| honest(daemon, id, 2, &stop));
        let result = {
            let _stop = Stop(&stop);
            work()
        };
        (result, others.join().unwrap())
    })
}

/// One that comes, asks and goes, so that what a daemon takes once is taken.
pub fn warm_up(daemon: &Daemon, id: &str) {
    let mut local = join(daemon);
    let opened = local.open(id);
    let mut bound = local.bind(0, &opened, &[given(&[1, 2], &[1.0])], &[8, 4]);
    local.infer(&mut bound);
    let (_, answered) = beside_honest(daemon, id, || {
        std::thread::park_timeout(Duration::from_millis(100))
    });
    assert!(answered > 0);
}

/// What is held with no client there.
pub fn at_rest(daemon: &Daemon) -> Held {
    until("the clients are gone", || {
        (held(daemon).segments == 0).then_some(())
    });
    // Descriptors go with the memory, but not at the same moment.
    let mut last = held(daemon);
    let mut equal = 0;
    while equal < 20 {
        std::thread::park_timeout(Duration::from_millis(5));
        let now = held(daemon);
        equal = if now == last { equal + 1 } else { 0 };
        last = now;
    }
    last
}

#[test]
fn clients_killed_at_random_moments_leave_nothing_behind() {
    let seed = count("MLOS_TESTS_SEED", 1) as u64;
    let kills = count("MLOS_TESTS_LOCAL_KILLS", 1_000);
    println!("seed {seed}, {kills} kills");
    for (mode, kills) in [
        ("lanes", kills - 2 * (kills / 5)),
        ("layer", kills / 5),
        ("none", kills / 5),
    ] {
        let daemon = Daemon::start(&Options::one_core(mode));
        let (quick, slow) = (
            daemon.serve(&double("test/quick")),
            daemon.serve(&slow("test/slow", 300)),
        );
        warm_up(&daemon, &quick);
        let (before, memory) = (at_rest(&daemon), daemon.resident_mib());
        let mut random = Prng::new(seed, 0);
        let ((), answered) = beside_honest(&daemon, &quick, || {
            for kill in 0..kills {
                let model = if kill % 2 == 0 { &quick } else { &slow };
                let mut child = process(&daemon, &[model, "ask"]);
                // A start takes about a millisecond, and so do the greeting and the bindings.
                std::thread::park_timeout(Duration::from_micros(random.below(6_000)));
                child.kill().unwrap();
                child.wait().unwrap();
            }
        });
        assert!(answered > kills as u64, "{answered}");
        wait_for(&daemon, &before);
        let now = daemon.resident_mib();
        assert!(now <= memory + 16, "{mode}: {now} MiB, {memory} before");
        for class in ["realtime", "high", "normal", "batch"] {
            assert_eq!(daemon.class(class, "queued"), 0);
        }
    }
}

#[test]
fn scribblers_harm_themselves() {
    let seed = count("MLOS_TESTS_SEED", 1) as u64;
    let time = Duration::from_secs(count("MLOS_TESTS_SCRIBBLE_SECONDS", 60) as u64);
    println!("seed {seed}, {time:?}");
    for (mode, poll_us) in [("lanes", 50), ("layer", 50), ("none", 0)] {
        let options = Options::one_core(mode).setting(&format!("local.poll_us = {poll_us}"));
        let daemon = Daemon::start(&options);
        let quick = daemon.serve(&double("test/quick"));
        let models = [
            daemon.serve(&slow("test/slow", 20)),
            daemon.serve(&Package::zoo("zoo/digits", "1", Zoo::Digits, Size::Tiny)),
            daemon.serve(&Package::zoo("zoo/gpt2", "1", Zoo::Gpt2, Size::Tiny)),
        ];
        warm_up(&daemon, &quick);
        let (before, memory) = (at_rest(&daemon), daemon.resident_mib());
        let ((), answered) = beside_honest(&daemon, &quick, || {
            let mut children: Vec<Child> = (seed * 100..)
                .zip(&models)
                .map(|(seed, model)| process(&daemon, &[model, "scribble", &seed.to_string()]))
                .collect();
            std::thread::park_timeout(time / 3);
            for child in &mut children {
                let ended = child.try_wait().unwrap();
                assert_eq!(ended, None, "{mode}: it is not served any more");
                child.kill().unwrap();
                child.wait().unwrap();
            }
        });
        assert!(answered > 100, "{mode}: {answered}");
        assert!(
            daemon.log().contains("a local client is let go"),
            "{mode}: none was found out"
        );
        wait_for_all_but(&daemon, &before, POOLED_MAX);
        let now = daemon.resident_mib();
        assert!(now <= memory + 64, "{mode}: {now} MiB, {memory} before");
    }
}

/// It waits, and is told; it comes again, and is served.
#[test]
fn a_client_of_a_killed_daemon_is_told_and_comes_again() {
    let options = Options::one_core("lanes");
    let daemon = Daemon::start(&options);
    let path = path_of(&daemon);
    let id = daemon.serve(&slow("test/slow", 1_000));
    let mut local = join(&daemon);
    let opened = local.open(&id);
    let rows = 60_000;
    let _bound = local.bind(0, &opened, &[given(&[rows, 1], &[1.0])], &[rows * 4, rows * 4]);
    let asked = local.ask(0, Asking::default());
    until("it runs", || (daemon.model(&id, "runs") > 0).then_some(()));
    let start = Instant::now();
    let (home, told) = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| local.wait(asked));
        (daemon.kill(), waiting.join().unwrap())
    });
    assert!(matches!(told, Err(Error::PeerGone)), "{told:?}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(
        Local::try_join(&path, 0, 0).is_err(),
        "nobody listens where the daemon was"
    );
    // What it left lies there, and is taken over.
    assert!(path.exists());
    let daemon = Daemon::start_in(home, &options);
    daemon.wait_ready(&id);
    let mut local = join(&daemon);
    let opened = local.open(&id);
    let mut bound = local.bind(0, &opened, &[given(&[1, 1], &[1.0])], &[4, 4]);
    local.infer(&mut bound);
}

/// More than was agreed on: what was asked is cancelled, and who asked is let go of.
#[test]
fn a_flood_ends_its_client_only() {
    for mode in MODES {
        let daemon = Daemon::start(&Options::one_core(mode));
        let (quick, slow) = (
            daemon.serve(&double("test/quick")),
            daemon.serve(&slow("test/slow", 1_000)),
        );
        warm_up(&daemon, &quick);
        let before = at_rest(&daemon);
        let ((), answered) = beside_honest(&daemon, &quick, || {
            // Too many in flight.
            let mut local = Local::try_join(&path_of(&daemon), 4, 0).unwrap();
            let opened = local.open(&slow);
            let bounds: Vec<_> = (0..9)
                .map(|number| local.bind(number, &opened, &[given(&[2_000, 1], &[1.0])], &[8_000, 8_000]))
                .collect();
            for bound in &bounds {
                local.ask(bound.number, Asking::default());
                if local.side.bell.is_daemon_gone() {
                    break;
                }
            }
            let end = (0..9).find_map(|_| local.next(PATIENCE).err());
            assert!(matches!(end, Some(Error::PeerGone)), "{mode}: {end:?}");

            // Answers that are not read.
            let mut local = Local::try_join(&path_of(&daemon), 4, 0).unwrap();
            let opened = local.open(&quick);
            let _bound = local.bind(0, &opened, &[given(&[1, 1], &[1.0])], &[4, 4]);
            let limit = Instant::now() + PATIENCE;
            while !local.side.bell.is_daemon_gone() {
                assert!(Instant::now() < limit, "{mode}: it is not let go");
                let _ = local.side.requests.push(Request::infer(1, 0));
                let _ = local.side.bell.ring();
            }
        });
        assert!(answered > 0);
        let log = daemon.log();
        assert!(
            log.contains("more requests in flight than its ring has slots"),
            "{log}"
        );
        wait_for(&daemon, &before);
    }
}

/// Questions on the socket whose answers nobody reads.
#[test]
fn a_flood_of_questions_keeps_nobody_waiting() {
    let daemon = Daemon::start(&Options::one_core("none"));
    let id = daemon.serve(&double("test/double"));
    warm_up(&daemon, &id);
    let before = at_rest(&daemon);
    let open = ClientMessage::Open(Open {
        token: 1,
        model: "x".repeat(1_000),
        component: None,
    });
    let open = open.encode().unwrap();
    let ((), answered) = beside_honest(&daemon, &id, || {
        let flooding = Local::try_join(&path_of(&daemon), 2, 4096).unwrap();
        let mut sent = 0;
        for _ in 0..200_000 {
            match socket::send(&flooding.control, &open, &[]) {
                Ok(true) => sent += 1,
                Ok(false) => {}
                Err(_) => break,
            }
        }
        // So many may wait for their answers; beyond that it is let go.
        assert!(sent >= 64, "{sent}");
        // Whoever comes now is served, and asks and is answered.
        warm_up(&daemon, &id);
    });
    assert!(answered > 0);
    wait_for(&daemon, &before);
}

/// More than an executor that counted each time could count to (32,767), on a core that nobody asks over HTTP meanwhile.
#[test]
fn a_core_is_told_things_without_end() {
    let daemon = Daemon::start(&Options::one_core("lanes"));
    let id = daemon.serve(&double("test/double"));
    let local = join(&daemon);
    for _ in 0..33_000 {
        let opened = local.open(&id);
        local.close(&opened);
    }
    warm_up(&daemon, &id);
    assert_eq!(daemon.client().get("/health").status, 200);
    assert!(!daemon.log().contains("ERROR"), "{}", daemon.log());
}

#[test]
fn ten_thousand_come_and_go() {
    let cycles = count("MLOS_TESTS_CONNECTIONS", 10_000);
    let daemon = Daemon::start(&Options::default());
    let id = daemon.serve(&double("test/double"));
    warm_up(&daemon, &id);
    let (before, memory) = (at_rest(&daemon), daemon.resident_mib());
    let path = path_of(&daemon);
    let ((), answered) = beside_honest(&daemon, &id, || {
        for cycle in 0..cycles {
            let mut local = Local::try_join(&path, 0, 0).unwrap();
            match cycle % 4 {
                // Some go without a word, some while they are answered.
                0 => {}
                1 => drop(local.open(&id)),
                which => {
                    let opened = local.open(&id);
                    let mut bound = local.bind(0, &opened, &[given(&[1, 2], &[1.0])], &[8, 4]);
                    match which {
                        2 => drop(local.infer(&mut bound)),
                        _ => drop(local.ask(0, Asking::default())),
                    }
                }
            }
        }
    });
    assert!(answered > 0);
    wait_for(&daemon, &before);
    let now = daemon.resident_mib();
    assert!(now <= memory + 16, "{now} MiB, {memory} before");
}

/// A process that is stopped holds what it holds, and nobody up.
#[test]
fn a_client_that_stalls_keeps_nobody_waiting() {
    let daemon = Daemon::start(&Options::one_core("lanes"));
    let id = daemon.serve(&double("test/double"));
    warm_up(&daemon, &id);
    let before = at_rest(&daemon);
    let mut children: Vec<Child> = (0..4).map(|_| process(&daemon, &[&id, "ask"])).collect();
    until("they ask", || (daemon.model(&id, "runs") > 1_000).then_some(()));
    let signal = |child: &Child, signal| {
        let pid = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(pid, signal).unwrap();
    };
    for child in &children {
        signal(child, rustix::process::Signal::STOP);
    }
    warm_up(&daemon, &id);
    for child in &children {
        signal(child, rustix::process::Signal::CONT);
    }
    for child in &mut children {
        assert_eq!(child.try_wait().unwrap(), None, "it goes on where it was");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    wait_for(&daemon, &before);
}

/// How often the threads of a daemon went to sleep within a second. Counted rather than timed: that is the same on a
/// machine that is busy with other things.
fn naps(daemon: &Daemon) -> u64 {
    let count = || -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
        let status = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("status"));
        let naps = |status: String| {
            let mut lines = status.lines();
            let line = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.unwrap().trim().parse::<u64>().unwrap()
        };
        tasks
            .filter_map(|task| status(task.unwrap()).ok())
            .map(naps)
            .sum()
    };
    let before = count();
    std::thread::park_timeout(Duration::from_secs(1));
    count() - before
}

/// 64 clients that were served and now say nothing wake nobody up.
#[test]
fn an_idle_daemon_with_64_clients_sleeps() {
    let daemon = Daemon::start(&Options::default());
    let id = daemon.serve(&double("test/double"));
    let mut clients: Vec<Local> = (0..64).map(|_| join(&daemon)).collect();
    for local in &mut clients {
        let opened = local.open(&id);
        let mut bound = local.bind(0, &opened, &[given(&[1, 1], &[1.0])], &[4, 4]);
        local.infer(&mut bound);
    }
    // The core stays awake for a moment after that, without a nap.
    let with_clients = until("it sleeps", || Some(naps(&daemon)).filter(|naps| *naps < 40));
    println!("{with_clients} naps in a second");
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
        let after_name = stat.rsplit_once(") ").unwrap().1;
        let fields: Vec<&str> = after_name.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = ticks();
    let again = naps(&daemon);
    assert!(again < 40, "{again} naps in a second");
    // A core that polls takes a hundred. A tick too many is counted where it falls into somebody else's work.
    let used = ticks() - before;
    assert!(used <= 5, "{used} ticks of ten milliseconds in a second");
}
