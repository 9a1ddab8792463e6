//! `kill -9` at random moments: the store is always whole, and the next install goes on.

use std::{
    io::Read as _,
    process::Child,
    sync::mpsc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use mlos_hub::{Fault, FaultKind};

use crate::{
    model_files::safetensors,
    world::{World, noise},
};

/// How many; another number can be asked for by `AXON_TEST_KILLS`.
const KILLS: u64 = 200;

#[test]
fn killed_at_random_moments() {
    let seed = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let kills = std::env::var("AXON_TEST_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    println!("seed {seed}, {kills} kills");
    let world = World::new();
    for file in 0..4 {
        world.publish(
            "acme/tiny",
            &format!("model-{file}.safetensors"),
            &safetensors(4_000_000, file),
        );
    }
    world.publish("acme/tiny", "config.json", b"{}");
    // Otherwise all of it is over before a process is killed once.
    let slow = FaultKind::Slow {
        piece_bytes: 200_000,
        pause: Duration::from_millis(2),
    };
    world.hub.inject(Fault::always("/objects/", slow));
    let started = Instant::now();
    world.axon(&["install", "hf/acme/tiny"]).ok();
    let whole = started.elapsed();
    world.axon(&["uninstall", "hf/acme/tiny"]).ok();
    let (mut killed, mut rounds) = (0, 0);
    while killed < kills {
        rounds += 1;
        assert!(rounds < 10 * kills, "most installs end before they are killed");
        // Partial downloads stay, so most rounds go on with what the last one left.
        let fraction = noise(2, seed.wrapping_add(rounds));
        let moment = whole.mul_f64(f64::from(u16::from_le_bytes([fraction[0], fraction[1]])) / 65536.0);
        if kill_after(world.spawn(&["install", "hf/acme/tiny"]), moment) {
            killed += 1;
        }
        if !world.check_store().is_empty() {
            world.axon(&["uninstall", "hf/acme/tiny"]).ok();
        }
    }
    println!("{killed} killed in {rounds} rounds");
    world.axon(&["install", "hf/acme/tiny"]).ok();
    assert_eq!(world.check_store().len(), 1);
    world.axon(&["cache", "clean"]).ok();
    let stats = world.json(&["cache", "stats"]);
    assert_eq!(stats["partial_bytes"], 0, "{stats}");
    assert_eq!(
        stats["disk_bytes"], stats["model_bytes"],
        "nothing else is left: {stats}"
    );
    assert_eq!(world.check_store().len(), 1);
}

/// Kills the process after this time, or takes note that it ended before.
fn kill_after(mut child: Child, moment: Duration) -> bool {
    let (ended, end) = mpsc::channel();
    let mut errors = child.stderr.take().unwrap();
    thread::spawn(move || {
        let mut text = String::new();
        // Ends with the process, however that ends.
        let _ = errors.read_to_string(&mut text);
        let _ = ended.send(());
    });
    let is_running = end.recv_timeout(moment).is_err();
    child.kill().unwrap();
    child.wait().unwrap();
    is_running
}
