//! How fast files go into a store: `ingest <directory> [files] [MiB per file] [threads]`. The bytes come from memory,
//! in pieces of 64 KiB as a network would deliver them; hashing, writing and syncing are what is measured.

use axon_package::{Manifest, ModelId, Sha256, Stage, Store};
use std::{
    env,
    error::Error,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let root = arguments
        .next()
        .ok_or("usage: ingest <directory> [files] [MiB per file] [threads]")?;
    let mut number = |default| arguments.next().map_or(Ok(default), |text| text.parse::<usize>());
    let (files, mib, threads) = (number(8)?, number(128)?, number(2)?);
    let store = Store::open(root)?;
    let id = ModelId::parse("bench/ingest@1")?;
    let Stage::New(staging) = store.stage(&id)? else {
        return Err("it is installed already".into());
    };
    let contents: Vec<Vec<u8>> = (0..files).map(|i| random(i as u64 + 1, mib << 20)).collect();
    let digests: Vec<Sha256> = contents.iter().map(|content| Sha256::of(content)).collect();

    let started = Instant::now();
    let next = AtomicUsize::new(0);
    let work = || -> axon_package::Result<()> {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let (Some(content), Some(&sha256)) = (contents.get(i), digests.get(i)) else {
                return Ok(());
            };
            let mut part = staging.file(&format!("part-{i}"), Some(sha256), Some(content.len() as u64))?;
            content
                .chunks(64 << 10)
                .try_for_each(|chunk| part.append(chunk))?;
            part.finish()?;
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })?;
    let mut manifest = Manifest::new(&id, "none", "none");
    manifest.spec.format.files = staging.files();
    let installed = staging.commit(&manifest)?;
    let seconds = started.elapsed().as_secs_f64();
    let bytes = installed.size_bytes() as f64;
    println!(
        "installed {:.0} MB in {seconds:.2} s: {:.2} GB/s",
        bytes / 1e6,
        bytes / 1e9 / seconds
    );

    let started = Instant::now();
    let report = installed.verify(&mut |_| {})?;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "verified in {seconds:.2} s: {:.2} GB/s, intact: {}",
        bytes / 1e9 / seconds,
        report.is_intact()
    );
    drop(staging);
    store.remove(&id)?;
    Ok(())
}

/// Bytes that do not compress and do not repeat (xorshift).
fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len / 8).flat_map(|_| next()).collect()
}
