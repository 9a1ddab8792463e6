//! Latencies, every one kept: a percentile is a sample that was seen, not the edge of a bucket.

use std::time::Duration;

use serde_json::{Value, json};

/// Samples of a duration.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    ns: Vec<u64>,
}

impl Samples {
    /// None yet, and room for so many, so that adding them touches no new memory soon.
    #[must_use]
    pub fn with_capacity(samples: usize) -> Self {
        Self {
            ns: Vec::with_capacity(samples),
        }
    }

    /// Adds one.
    pub fn push(&mut self, sample: Duration) {
        self.ns.push(u64::try_from(sample.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds all of another.
    pub fn extend(&mut self, other: &Self) {
        self.ns.extend_from_slice(&other.ns);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ns.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ns.is_empty()
    }

    /// In order, for reading several percentiles.
    #[must_use]
    pub fn sorted(&self) -> Sorted {
        let mut ns = self.ns.clone();
        ns.sort_unstable();
        Sorted { ns }
    }

    /// The sample that so many of a thousand are not above, in milliseconds.
    #[must_use]
    pub fn per_mille_ms(&self, per_mille: f64) -> f64 {
        self.sorted().per_mille_ms(per_mille)
    }

    /// The figures that every table has, in milliseconds.
    #[must_use]
    pub fn summary(&self) -> Value {
        let sorted = self.sorted();
        json!({
            "p50_ms": round(sorted.per_mille_ms(500.0)),
            "p90_ms": round(sorted.per_mille_ms(900.0)),
            "p99_ms": round(sorted.per_mille_ms(990.0)),
            "p999_ms": round(sorted.per_mille_ms(999.0)),
            "max_ms": round(sorted.per_mille_ms(1000.0)),
            "n": self.len(),
        })
    }
}

/// Samples in order.
#[derive(Debug, Clone)]
pub struct Sorted {
    ns: Vec<u64>,
}

impl Sorted {
    /// The sample that so many of a thousand are not above, in milliseconds; not a number where there is none.
    #[must_use]
    pub fn per_mille_ms(&self, per_mille: f64) -> f64 {
        let rank = (per_mille / 1000.0 * self.ns.len() as f64).ceil() as usize;
        let at = rank.clamp(1, self.ns.len().max(1)) - 1;
        self.ns.get(at).map_or(f64::NAN, |ns| *ns as f64 / 1e6)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ns.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ns.is_empty()
    }
}

/// The middle one of some numbers; not a number where there is none.
#[must_use]
pub fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Four digits behind the point: more would say something about the clock only.
#[must_use]
pub fn round(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_sample() {
        let mut samples = Samples::default();
        (1..=1000)
            .rev()
            .for_each(|ms| samples.push(Duration::from_millis(ms)));
        for (per_mille, ms) in [
            (0.0, 1.0),
            (500.0, 500.0),
            (990.0, 990.0),
            (999.0, 999.0),
            (1000.0, 1000.0),
        ] {
            assert_eq!(samples.per_mille_ms(per_mille), ms, "{per_mille}");
        }
        assert!(Samples::default().per_mille_ms(500.0).is_nan());
    }
}
