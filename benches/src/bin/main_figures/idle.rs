//! How soon a daemon is there, and what it takes when nobody asks it anything.

use std::time::Duration;

use anyhow::Result;
use mlos_benches::daemon::Mode;
use mlos_benches::histogram::{median, round};
use serde_json::json;

use crate::{Bench, Measured};

/// As many as take longer than a second together: a shorter turn is not judged. Odd, for a median that was measured.
const STARTS: usize = 31;
/// After the start, so that what belongs to it is over.
const SETTLING: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(10);

/// From the start of the process to `/health`; memory and processor time of an idle daemon.
pub(crate) fn start_and_idle(bench: &Bench) -> Result<Measured> {
    let starts_ms = bench.setting.quiet.turn(&[], || starts_ms(bench))?;
    let daemon = bench.daemon(Mode::Lanes, &[bench.setting.server])?;
    std::thread::sleep(SETTLING);
    let before = daemon.cpu_time()?;
    std::thread::sleep(IDLE);
    let cpu = daemon.cpu_time()?.saturating_sub(before);
    let cpu_pct = cpu.as_secs_f64() / IDLE.as_secs_f64() * 100.0;
    let rss_mib = daemon.status_mib("VmRSS")?;
    let details = json!({
        "starts_ms": starts_ms.iter().map(|ms| round(*ms)).collect::<Vec<_>>(),
        "rss_file_mib": round(daemon.status_mib("RssFile")?),
        "rss_anon_mib": round(daemon.status_mib("RssAnon")?),
        "rss_shmem_mib": round(daemon.status_mib("RssShmem")?),
        "library_is_loaded": daemon.maps("onnxruntime")?,
        "idle_cpu_ms": round(cpu.as_secs_f64() * 1e3),
    });
    Ok((vec![median(&starts_ms), rss_mib, cpu_pct], details))
}

/// From the start of the process to `/health`, again and again.
fn starts_ms(bench: &Bench) -> Result<Vec<f64>> {
    (0..STARTS)
        .map(|_| {
            let daemon = bench.daemon(Mode::Lanes, &[bench.setting.server])?;
            Ok(daemon.started_in.as_secs_f64() * 1e3)
        })
        .collect()
}
