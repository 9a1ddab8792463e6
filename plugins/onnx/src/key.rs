//! The key of a prepared model: everything that its content depends on.

use sha2::{Digest, Sha256};

use crate::error::Result;
use crate::library::Runtime;
use crate::options::LoadOptions;
use crate::source::Source;

/// Model files, runtime build, processor, options, threads, and this plugin's version, in one digest.
pub(crate) fn key(runtime: &Runtime, source: &Source, options: &LoadOptions, threads: u32) -> Result<String> {
    let mut digest = Sha256::new();
    source.digest(&mut digest)?;
    let rest = format!(
        "{}\n{}\n{}\n{} {} {:?}\n{threads}",
        env!("CARGO_PKG_VERSION"),
        runtime.build,
        processor(),
        options.slice_target_us,
        options.yields,
        options.sample_dims,
    );
    digest.update(rest);
    Ok(hex::encode(digest.finalize()))
}

/// Model and abilities of the processor: ONNX Runtime lays weights out for them, and times hold for it only.
fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let first = info.split("\n\n").next().unwrap_or_default();
    let told = ["model name", "flags", "Features", "CPU part"];
    let lines = first
        .lines()
        .filter(|line| told.iter().any(|name| line.starts_with(name)));
    let lines: Vec<&str> = lines.collect();
    format!("{} {}", std::env::consts::ARCH, lines.join("\n"))
}
