//! A histogram of times with three significant bits more than its power of two.

const SUB_BITS: u32 = 5;

/// Counts of times. Quantiles are exact to one part in 32.
#[derive(Clone, Debug)]
pub struct Latency {
    counts: Vec<u64>,
    count: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            counts: vec![0; bucket_of(u64::MAX) + 1],
            count: 0,
        }
    }
}

fn bucket_of(value: u64) -> usize {
    let exponent = (u64::BITS - value.leading_zeros()).saturating_sub(SUB_BITS + 1);
    ((u64::from(exponent) << SUB_BITS) + (value >> exponent)) as usize
}

fn lowest_in(bucket: usize) -> u64 {
    let exponent = (bucket >> SUB_BITS).saturating_sub(1);
    ((bucket - (exponent << SUB_BITS)) as u64) << exponent
}

impl Latency {
    pub fn add(&mut self, value_ns: u64) {
        self.counts[bucket_of(value_ns)] += 1;
        self.count += 1;
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// The time that so many per mille do not exceed, rounded down; 0 if there are none.
    pub fn quantile_ns(&self, per_mille: u64) -> u64 {
        let rank = (self.count * per_mille).div_ceil(1_000).max(1);
        let mut seen = 0;
        let at = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        at.map_or(0, lowest_in)
    }
}
