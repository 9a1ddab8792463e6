//! Plays every file of `traces/` and compares each answer. `UPDATE_TRACES=1` writes the answers anew, to be read before
//! they are committed.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use mlos_scheduler::trace::{Error, Player};
use mlos_scheduler::{Config, Preemption};
use support::Daemon;

/// Plays a trace; the result has its comments and events, and the answers as they are now.
fn replayed(text: &str) -> String {
    let mut player = Player::default();
    let mut out = String::new();
    for (index, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.starts_with('>'))
    {
        out.push_str(line);
        out.push('\n');
        player
            .play(line, &mut out)
            .unwrap_or_else(|error| panic!("line {}: {line}: {error}", index + 1));
    }
    out
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces");
    let entries = fs::read_dir(folder).expect("traces/ is there");
    let paths = entries.map(|entry| entry.expect("its entries can be read").path());
    let mut files: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "trace"))
        .collect();
    // The random one has a test of its own.
    files.retain(|path| !path.ends_with("random.trace"));
    files.sort();
    files
}

fn updates() -> bool {
    std::env::var_os("UPDATE_TRACES").is_some()
}

/// A recording of random runs in all modes, for the C twin to begin with.
#[test]
fn random_trace_is_what_its_seed_gives() {
    const SEED: u64 = 7;
    let mut text = String::from("# Random runs, one of each mode, from seed 7 of scheduler/tests/support.\n");
    for preemption in [Preemption::None, Preemption::Layer, Preemption::Lanes] {
        let config = Config {
            preemption,
            queue_jobs_max: 8,
            models_max: 8,
            realtime_bound_per_mille: 50,
            ..Config::default()
        };
        let mut daemon = Daemon::new(config, SEED);
        daemon.add_models(5);
        for _ in 0..250 {
            daemon.step();
        }
        daemon.drain();
        text.push_str(&daemon.log);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces/random.trace");
    if updates() {
        fs::write(&path, &text).expect("traces/ can be written");
    }
    let recorded = fs::read_to_string(&path).expect("the random trace is there");
    assert_eq!(recorded.lines().count(), text.lines().count());
    for (index, (was, is)) in recorded.lines().zip(text.lines()).enumerate() {
        assert_eq!(was, is, "line {}", index + 1);
    }
    assert_eq!(
        replayed(&recorded),
        recorded,
        "the player understands all that the daemon wrote"
    );
}

#[test]
fn every_trace_plays_as_recorded() {
    let files = files();
    assert!(files.len() >= 10, "{} traces found", files.len());
    for path in files {
        let recorded = fs::read_to_string(&path).expect("a trace is text");
        let played = replayed(&recorded);
        if updates() {
            fs::write(&path, &played).expect("traces/ can be written");
            continue;
        }
        let difference = recorded
            .lines()
            .zip(played.lines())
            .enumerate()
            .find(|(_, (was, is))| was != is);
        if let Some((index, (was, is))) = difference {
            panic!(
                "{}:{}\n  recorded: {was}\n  played:   {is}",
                path.display(),
                index + 1
            );
        }
        assert_eq!(
            recorded.lines().count(),
            played.lines().count(),
            "{}",
            path.display()
        );
    }
}

#[test]
fn lines_that_say_nothing_are_refused() {
    for (line, error) in [
        ("dance", Error::UnknownCommand),
        ("@5 dance", Error::UnknownCommand),
        ("tick", Error::MissingTime),
        ("@x tick", Error::BadValue),
        ("@5 arrive job=1 colour=2", Error::UnknownKey),
        ("@5 arrive job=1 class=4", Error::BadValue),
        ("@5 arrive job=1 rows=4294967296", Error::BadValue),
        ("config preemption=sometimes", Error::BadValue),
        ("config share_per_mille=1,2,3", Error::BadValue),
        ("config share_per_mille=1,2,3,4,5", Error::BadValue),
        ("model model=256", Error::BadValue),
    ] {
        assert_eq!(
            Player::default().play(line, &mut String::new()),
            Err(error),
            "{line}"
        );
    }
}
