//! Latencies of microseconds, for people.

use mlos_benches::histogram::{Samples, median, round};
use mlos_benches::report;
use serde_json::{Value, json};

/// The sample that so many of a thousand are not above, in microseconds.
pub(crate) fn per_mille_us(samples: &Samples, per_mille: f64) -> f64 {
    samples.per_mille_ms(per_mille) * 1e3
}

/// Turns of one kind: all samples together, and the middle of each round. A host that others use too changes its pace
/// between rounds, so what is compared is compared round by round.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    pub(crate) samples: Samples,
    p50_us: Vec<f64>,
}

impl Rounds {
    /// Adds a turn.
    pub(crate) fn push(&mut self, turn: &Samples) {
        self.p50_us.push(per_mille_us(turn, 500.0));
        self.samples.extend(turn);
    }

    /// How many times the other's p50 this one is, in the middle round.
    pub(crate) fn ratio_to(&self, other: &Self) -> f64 {
        self.compared(other, |own, other| own / other)
    }

    /// By how much this p50 is above the other's, in the middle round.
    pub(crate) fn above_us(&self, other: &Self) -> f64 {
        self.compared(other, |own, other| own - other)
    }

    fn compared(&self, other: &Self, compare: impl Fn(f64, f64) -> f64) -> f64 {
        let pairs = self.p50_us.iter().zip(&other.p50_us);
        median(
            &pairs
                .map(|(own, other)| compare(*own, *other))
                .collect::<Vec<_>>(),
        )
    }

    /// All of it, for people to look at.
    pub(crate) fn details(&self) -> Value {
        let mut value = summary(&self.samples);
        value["p50_us_by_round"] = self.p50_us.iter().copied().map(round).collect();
        value
    }
}

/// The figures that every table has, in microseconds.
pub(crate) fn summary(samples: &Samples) -> Value {
    let sorted = samples.sorted();
    let us = |per_mille| round(sorted.per_mille_ms(per_mille) * 1e3);
    json!({
        "p50_us": us(500.0),
        "p99_us": us(990.0),
        "p999_us": us(999.0),
        "max_us": us(1000.0),
        "n": samples.len(),
    })
}

/// The same, as a table.
pub(crate) fn table(rows: &[(String, &Samples)]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|(name, samples)| row(name, samples)).collect();
    report::table(&["us", "p50", "p99", "p99.9", "max", "n"], &rows)
}

/// A row of it.
pub(crate) fn row(name: &str, samples: &Samples) -> Vec<String> {
    let sorted = samples.sorted();
    let mut cells = vec![name.to_owned()];
    cells.extend(
        [500.0, 990.0, 999.0, 1000.0].map(|per_mille| format!("{:.2}", sorted.per_mille_ms(per_mille) * 1e3)),
    );
    cells.push(samples.len().to_string());
    cells
}
