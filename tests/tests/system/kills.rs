//! Power cuts: SIGKILL at random moments of the registry's life.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use mlos_tests::{Client, Daemon, Home, Options, Package, count};
use mlos_zoo::Prng;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

const MODELS: u64 = 6;
const VERSIONS: u64 = 2;
/// One cut in so many comes while the daemon starts, reads its registry back and loads its models.
const STARTS_ONE_IN: u64 = 4;
/// About twice what a start takes, with the loading.
const START_MAX_US: u64 = 60_000;
/// A few changes, or many, or none.
const CHANGES_MAX_US: u64 = 150_000;

/// What is known of a version: whether it was registered or not, or nothing, when the cut came before the answer.
type Known = BTreeMap<String, Option<bool>>;

fn package(number: u64, version: u64) -> Package {
    Package::affine(
        &format!("test/model-{number}"),
        &version.to_string(),
        &format!("a {}", number * 10 + version),
    )
}

/// Registers, removes and activates at random until the daemon does not answer any more.
fn change_until_cut(client: &mut Client, home: &Home, random: &mut Prng, known: &mut Known) -> usize {
    let mut changes = 0;
    loop {
        let (number, version) = (random.below(MODELS), 1 + random.below(VERSIONS));
        let package = package(number, version);
        let id = format!("{}@{version}", package.id);
        let is_there = known.get(&id).copied().flatten();
        let (method, path, body) = match is_there {
            Some(true) if random.below(3) == 0 => ("POST", format!("/models/{id}/activate"), String::new()),
            Some(true) => ("DELETE", format!("/models/{id}"), String::new()),
            _ => {
                let root = home.models().join(&package.id).join(&package.version);
                (
                    "POST",
                    String::from("/models/register"),
                    json!({ "path": root }).to_string(),
                )
            }
        };
        let after = match (method, path.ends_with("activate")) {
            (_, true) => is_there,
            ("DELETE", _) => Some(false),
            _ => Some(true),
        };
        if is_there != after {
            known.insert(id, None);
        }
        let Ok(answer) = client.try_ask(method, &path, &[], body.as_bytes()) else {
            return changes;
        };
        // A version that is still being loaded cannot be activated.
        let expected: &[u16] = if path.ends_with("activate") {
            &[200, 409, 503]
        } else {
            &[200, 201]
        };
        assert!(
            expected.contains(&answer.status),
            "{method} {path}: {}",
            answer.text()
        );
        known.insert(format!("{}@{version}", package.id), after);
        changes += 1;
    }
}

/// Holds what a new daemon finds against what the old one had answered.
fn check(daemon: &Daemon, known: &mut Known) {
    let mut client = daemon.client();
    let listed = client.get("/models").expect(200);
    let listed: Vec<&str> = listed["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    for (id, state) in known.iter_mut() {
        let is_there = listed.contains(&id.as_str());
        assert!(
            state.is_none_or(|state| state == is_there),
            "{id}: {state:?}, but found: {is_there}"
        );
        *state = Some(is_there);
    }
    assert!(listed.iter().all(|id| known.contains_key(*id)), "{listed:?}");
    for id in listed {
        // Ready, so its files were as the manifest says, and it computes what it should.
        let model = daemon.wait_ready(id);
        let (name, version) = id.rsplit_once('@').unwrap();
        let number: f64 = name.rsplit_once('-').unwrap().1.parse().unwrap();
        let factor = number * 10.0 + version.parse::<f64>().unwrap();
        let answer = client.infer(id, &json!({ "x": [[1.0]] })).expect(200);
        assert_eq!(answer["outputs"][0]["data"][0].as_f64(), Some(factor), "{id}");
        let versions = model["versions"].as_array().unwrap();
        let actives = versions.iter().filter(|version| {
            let id = format!("{name}@{}", version.as_str().unwrap());
            client.get(&format!("/models/{id}")).expect(200)["active"] == true
        });
        assert_eq!(actives.count(), 1, "{name} has one active version");
    }
}

/// Starts a daemon and kills it soon, whatever it is doing by then.
fn cut_a_start(home: Home, options: &Options, moment: Duration) -> Home {
    let mut command = options.command(&home);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    std::thread::park_timeout(moment);
    assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
    home
}

/// Kills a daemon while it is told to change; counts the changes that it had answered.
fn cut_changes(daemon: Daemon, moment: Duration, random: &mut Prng, known: &mut Known) -> (Home, usize) {
    let pid = i32::try_from(daemon.pid()).ok().and_then(Pid::from_raw).unwrap();
    let killer = std::thread::spawn(move || {
        std::thread::park_timeout(moment);
        kill_process(pid, Signal::KILL).unwrap();
    });
    let changes = change_until_cut(&mut daemon.client(), daemon.home(), random, known);
    killer.join().unwrap();
    (daemon.kill(), changes)
}

#[test]
fn the_registry_survives_kills_at_random_moments() {
    let (kills, seed) = (count("MLOS_TESTS_KILLS", 200), count("MLOS_TESTS_SEED", 1) as u64);
    println!("{kills} kills, seed {seed}");
    let mut random = Prng::new(seed, 0);
    let (mut known, mut home, mut changes) = (Known::new(), Home::new(), 0);
    for (number, version) in
        (0..MODELS).flat_map(|number| (1..=VERSIONS).map(move |version| (number, version)))
    {
        let _ = package(number, version).write(&home.models());
    }
    let options = Options::default().flag("--log", "warn,mlosd=info");
    for _ in 0..kills {
        if random.below(STARTS_ONE_IN) == 0 {
            let moment = Duration::from_micros(random.below(START_MAX_US));
            home = cut_a_start(home, &options, moment);
            continue;
        }
        let daemon = Daemon::start_in(home, &options);
        check(&daemon, &mut known);
        let moment = Duration::from_micros(random.below(CHANGES_MAX_US));
        let (left, answered) = cut_changes(daemon, moment, &mut random, &mut known);
        (home, changes) = (left, changes + answered);
    }
    let daemon = Daemon::start_in(home, &options);
    check(&daemon, &mut known);
    println!("{changes} changes were answered");
    assert!(changes > kills, "{changes}");
    let _ = daemon.stop();
}
