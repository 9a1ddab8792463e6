//! A disk that is full: a clear error, and everything that was installed is still there.

use std::{path::PathBuf, process::Command};

use crate::{
    model_files::safetensors,
    world::{Run, World},
};

/// A small file system of its own; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None without the right to mount.
    fn mount(directory: PathBuf, bytes: u64) -> Option<SmallDisk> {
        std::fs::create_dir_all(&directory).unwrap();
        let option = format!("size={bytes}");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &option, "tmpfs"])
            .arg(&directory)
            .status();
        status
            .is_ok_and(|status| status.success())
            .then_some(SmallDisk(directory))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_harms_nothing() {
    let world = World::new();
    let Some(disk) = SmallDisk::mount(world.path("disk"), 4 << 20) else {
        println!("not tried: mounting a small file system needs root");
        return;
    };
    let home = disk.0.join("home");
    world.publish("acme/small", "model.safetensors", &safetensors(1_000_000, 1));
    world.publish("acme/large", "model.safetensors", &safetensors(8_000_000, 2));
    let axon = |arguments: &[&str]| Run::of(world.command(arguments).env("AXON_HOME", &home));
    axon(&["install", "hf/acme/small"]).ok();
    let run = axon(&["install", "hf/acme/large", "--json"]).fails(9, &["no space left", "axon cache clean"]);
    assert_eq!(run.json()["error"]["kind"], "no_space");
    axon(&["verify", "--all"])
        .ok()
        .says(&["hf/acme/small@", "intact"]);
    assert_eq!(axon(&["list", "--names"]).ok().stdout.lines().count(), 1);
    // Cleaning helps: what came of the large one is in the way of another small one.
    world.publish("acme/other", "model.safetensors", &safetensors(2_000_000, 3));
    axon(&["install", "hf/acme/other"]).fails(9, &["no space left"]);
    axon(&["cache", "clean"]).ok();
    axon(&["install", "hf/acme/other"]).ok();
    axon(&["verify", "--all"]).ok();
}
