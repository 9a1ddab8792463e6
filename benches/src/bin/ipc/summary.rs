//! Latencies of microseconds, for people.

use mlos_benches::histogram::{Samples, round};
use mlos_benches::report;
use serde_json::{Value, json};

/// The sample that so many of a thousand are not above, in microseconds.
pub(crate) fn per_mille_us(samples: &Samples, per_mille: f64) -> f64 {
    samples.per_mille_ms(per_mille) * 1e3
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

fn row(name: &str, samples: &Samples) -> Vec<String> {
    let sorted = samples.sorted();
    let mut cells = vec![name.to_owned()];
    cells.extend([500.0, 990.0, 999.0, 1000.0].map(|per_mille| format!("{:.2}", sorted.per_mille_ms(per_mille) * 1e3)));
    cells.push(samples.len().to_string());
    cells
}
