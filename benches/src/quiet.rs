//! Sees whether something else took the machine while a turn was measured, and measures such a turn again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::histogram::round;
use crate::report;

/// Processor time that others may take in a turn, in parts of one processor.
const FOREIGN_MAX: f64 = 0.05;
/// Length of the unit that `/proc` counts processor time in: `USER_HZ` is 100 on every architecture in use.
const TICK_S: f64 = 0.01;
/// What is counted may be off by a tick of each of its three parts, of each processor even; in a shorter turn that is
/// more than the others may take.
const JUDGED_MIN: Duration = Duration::from_secs(1);

/// Patience with a machine that others use too, and what was seen of them.
#[derive(Debug)]
pub struct Quiet(Mutex<Seen>);

#[derive(Debug)]
struct Seen {
    patience: Duration,
    repeated: usize,
    /// The share that others had in each turn that counts.
    kept: Vec<f64>,
}

impl Quiet {
    /// Spends at most this long on turns that are thrown away.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        Self(Mutex::new(Seen {
            patience,
            repeated: 0,
            kept: Vec::new(),
        }))
    }

    /// Measures a turn, and again as long as it was disturbed and there is patience. `processes` are those that belong
    /// to it, beside this one. A turn of less than a second is not judged: that is finer than the clock.
    ///
    /// # Errors
    /// As the turn.
    pub fn turn<T>(&self, processes: &[u32], mut measure: impl FnMut() -> Result<T>) -> Result<T> {
        let mut thrown_away: Vec<f64> = Vec::new();
        loop {
            let (begun, before) = (Instant::now(), foreign_s(processes)?);
            let measured = measure()?;
            let took = begun.elapsed();
            let share = (foreign_s(processes)? - before) / took.as_secs_f64();
            let mut seen = self.seen();
            if !is_disturbed(share, took) || seen.patience < took {
                seen.kept.push(if took < JUDGED_MIN { 0.0 } else { share });
                seen.repeated += thrown_away.len();
                report(&thrown_away);
                return Ok(measured);
            }
            seen.patience -= took;
            thrown_away.push(share);
        }
    }

    /// What others did, for the results: `disturbed` are turns that count though they did take the machine.
    #[must_use]
    pub fn details(&self) -> Value {
        let seen = self.seen();
        json!({
            "turns": seen.kept.len(),
            "repeated": seen.repeated,
            "disturbed": seen.kept.iter().filter(|share| **share > FOREIGN_MAX).count(),
            "others_share_max": round(seen.kept.iter().copied().fold(0.0, f64::max)),
            "load_average": report::load_average(),
        })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One line for all times that a turn was measured again.
fn report(thrown_away: &[f64]) {
    if let Some(most) = thrown_away.iter().copied().reduce(f64::max) {
        let (times, percent) = (thrown_away.len(), most * 100.0);
        eprintln!("  a turn was repeated {times} times: others took up to {percent:.0} % of a processor");
    }
}

fn is_disturbed(share: f64, took: Duration) -> bool {
    took >= JUDGED_MIN && share > FOREIGN_MAX
}

/// Processor seconds of everything but these processes and this one, since the machine started.
fn foreign_s(processes: &[u32]) -> Result<f64> {
    let own = processes
        .iter()
        .map(|id| process_ticks(&id.to_string()))
        .sum::<Result<f64>>()?;
    Ok((machine_ticks()? - own - process_ticks("self")?) * TICK_S)
}

/// Ticks in which a processor worked, or was taken from the machine by its host.
fn machine_ticks() -> Result<f64> {
    const IDLE: usize = 3;
    const IOWAIT: usize = 4;
    /// Time of guests is counted in `user` already.
    const GUEST: usize = 8;
    let text = std::fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("/proc/stat is empty")?;
    let ticks = line.split_whitespace().skip(1).enumerate();
    let busy = ticks.filter(|(field, _)| ![IDLE, IOWAIT].contains(field) && *field < GUEST);
    Ok(busy.filter_map(|(_, ticks)| ticks.parse::<f64>().ok()).sum())
}

fn process_ticks(id: &str) -> Result<f64> {
    /// `utime`, `stime`, and those of children that have ended: fields 14 to 17, counted behind the name.
    const TIMES: std::ops::Range<usize> = 11..15;
    let text = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    let (_, fields) = text.rsplit_once(')').context("/proc/PID/stat has no name")?;
    let ticks = fields.split_whitespace().skip(TIMES.start).take(TIMES.len());
    Ok(ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_without_patience_is_measured_once() {
        let mut turns = 0;
        let quiet = Quiet::new(Duration::ZERO);
        quiet
            .turn(&[], || {
                turns += 1;
                Ok(())
            })
            .unwrap();
        assert_eq!((turns, quiet.details()["turns"].as_u64()), (1, Some(1)));
    }

    #[test]
    fn a_turn_shorter_than_the_clock_can_tell_is_not_judged() {
        for (share, took_ms, expect) in [
            (0.0, 10_000, false),
            (0.05, 10_000, false),
            (0.06, 10_000, true),
            (0.06, 1_000, true),
            // One tick of somebody else in a turn of 35 ms.
            (0.29, 35, false),
        ] {
            assert_eq!(
                is_disturbed(share, Duration::from_millis(took_ms)),
                expect,
                "{share} of {took_ms} ms"
            );
        }
    }

    #[test]
    fn the_machine_has_worked_longer_than_this_process() {
        assert!(machine_ticks().unwrap() >= process_ticks("self").unwrap());
    }
}
