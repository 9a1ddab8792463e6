//! How long a model takes: a moving mean, deviation and longest slice for each batch size, in powers of two.

use crate::limits::{COST_BUCKETS, RUN_NS_MAX};

/// Deviations added to the mean for a bound.
const DEVIATIONS: u64 = 3;
/// Weight of a new measurement: an eighth in means, a quarter in deviations, as TCP does for round trips (RFC 6298).
const MEAN_WEIGHT: i64 = 8;
const DEVIATION_WEIGHT: i64 = 4;

/// What a run is expected to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Estimate {
    pub mean_ns: u64,
    pub deviation_ns: u64,
    /// Measured at this size; else an extrapolation or a default.
    pub known: bool,
}

impl Estimate {
    pub fn new(mean_ns: u64, deviation_ns: u64, known: bool) -> Self {
        Self {
            mean_ns: mean_ns.min(RUN_NS_MAX),
            deviation_ns: deviation_ns.min(RUN_NS_MAX),
            known,
        }
    }

    pub fn bound_ns(&self) -> u64 {
        self.mean_ns
            .saturating_add(self.deviation_ns.saturating_mul(DEVIATIONS))
    }

    pub fn times(self, runs: u64) -> Self {
        Self::new(
            self.mean_ns.saturating_mul(runs),
            self.deviation_ns.saturating_mul(runs),
            self.known,
        )
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    mean_ns: u64,
    deviation_ns: u64,
    slice_ns: u64,
}

impl Bucket {
    fn scaled(self, shift: u32) -> Self {
        let up = |value: u64| value.saturating_mul(1 << shift);
        Self {
            mean_ns: up(self.mean_ns),
            deviation_ns: up(self.deviation_ns),
            slice_ns: up(self.slice_ns),
        }
    }
}

/// The cost model of one model.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    buckets: [Bucket; COST_BUCKETS],
    /// Bit b is set when bucket b has been measured.
    seen: u32,
}

/// The bucket of a batch size: the exponent of the next power of two.
pub(crate) fn bucket_of(rows: u32) -> usize {
    let exponent = u32::BITS - rows.saturating_sub(1).leading_zeros();
    (exponent as usize).min(COST_BUCKETS - 1)
}

impl Cost {
    /// What a run of so many rows takes.
    ///
    /// A size not seen is taken from the next smaller one that was, as if time grew with the rows, or else from the next
    /// larger one as it is: both err on the long side.
    pub fn estimate(&self, rows: u32, unknown_ns: u64) -> Estimate {
        let bucket = bucket_of(rows);
        let known = self.seen >> bucket & 1 == 1;
        match self.nearest(bucket) {
            Some(Bucket {
                mean_ns,
                deviation_ns,
                ..
            }) => Estimate::new(mean_ns, deviation_ns, known),
            None => Estimate::new(unknown_ns, 0, known),
        }
    }

    /// The mean time of so many rows, extrapolated; `None` if nothing was ever measured.
    pub fn mean_ns(&self, rows: u32) -> Option<u64> {
        self.nearest(bucket_of(rows))
            .map(|bucket| bucket.mean_ns.min(RUN_NS_MAX))
    }

    /// The longest slice of a run of so many rows, extrapolated like the time; `None` if nothing was ever measured.
    pub fn slice_ns(&self, rows: u32) -> Option<u64> {
        self.nearest(bucket_of(rows))
            .map(|bucket| bucket.slice_ns.min(RUN_NS_MAX))
    }

    /// Sets a size from a measurement at load time. Its deviation is not known yet and taken as an eighth.
    pub fn seed(&mut self, rows: u32, total_ns: u64, slice_ns: u64) {
        let bucket = bucket_of(rows);
        self.buckets[bucket] = Bucket {
            mean_ns: total_ns,
            deviation_ns: total_ns / 8,
            slice_ns,
        };
        self.seen |= 1 << bucket;
    }

    /// Learns from a run.
    pub fn observe(&mut self, rows: u32, total_ns: u64, slice_ns: u64) {
        let index = bucket_of(rows);
        if self.seen >> index & 1 == 0 {
            self.seed(rows, total_ns, slice_ns);
            return;
        }
        let bucket = &mut self.buckets[index];
        let error_ns = total_ns.abs_diff(bucket.mean_ns);
        bucket.deviation_ns = moved(bucket.deviation_ns, error_ns, DEVIATION_WEIGHT);
        bucket.mean_ns = moved(bucket.mean_ns, total_ns, MEAN_WEIGHT);
        bucket.slice_ns = moved(bucket.slice_ns, slice_ns, MEAN_WEIGHT);
    }

    fn nearest(&self, bucket: usize) -> Option<Bucket> {
        let upto = self.seen & ((2u32 << bucket) - 1);
        if upto != 0 {
            let lower = upto.ilog2() as usize;
            return Some(self.buckets[lower].scaled((bucket - lower) as u32));
        }
        (self.seen != 0).then(|| self.buckets[self.seen.trailing_zeros() as usize])
    }
}

/// `old` moved towards `new` by one part in `weight`. Division truncates towards zero, as in C.
fn moved(old: u64, new: u64, weight: i64) -> u64 {
    let (old, new) = (clamped(old), clamped(new));
    (old + (new - old) / weight) as u64
}

fn clamped(value: u64) -> i64 {
    // Half the range, so that differences fit.
    value.min(i64::MAX as u64 / 2) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_powers_of_two() {
        for (rows, bucket) in [
            (0, 0),
            (1, 0),
            (2, 1),
            (3, 2),
            (4, 2),
            (5, 3),
            (32, 5),
            (33, 6),
            (32_768, 15),
            (u32::MAX, 15),
        ] {
            assert_eq!(bucket_of(rows), bucket, "{rows} rows");
        }
    }

    #[test]
    fn nothing_seen_is_the_default() {
        let cost = Cost::default();
        let expected = Estimate {
            mean_ns: 77,
            deviation_ns: 0,
            known: false,
        };
        assert_eq!(cost.estimate(4, 77), expected);
        assert_eq!(cost.slice_ns(4), None);
    }

    #[test]
    fn unseen_sizes_err_on_the_long_side() {
        let mut cost = Cost::default();
        cost.seed(4, 800, 100);
        // (rows, mean, slice, known)
        for (rows, mean_ns, slice_ns, known) in [
            (1, 800, 100, false),
            (3, 800, 100, true),
            (4, 800, 100, true),
            (5, 1_600, 200, false),
            (16, 3_200, 400, false),
        ] {
            let estimate = cost.estimate(rows, 0);
            assert_eq!(
                (estimate.mean_ns, estimate.known),
                (mean_ns, known),
                "{rows} rows"
            );
            assert_eq!(cost.slice_ns(rows), Some(slice_ns), "{rows} rows");
        }
    }

    #[test]
    fn the_mean_follows_and_a_constant_has_no_deviation() {
        let mut cost = Cost::default();
        cost.observe(1, 1_000_000, 10_000);
        for _ in 0..100 {
            cost.observe(1, 2_000_000, 10_000);
        }
        let estimate = cost.estimate(1, 0);
        assert!(estimate.mean_ns.abs_diff(2_000_000) < 100, "{estimate:?}");
        assert!(estimate.deviation_ns < 100, "{estimate:?}");
        assert!(estimate.bound_ns() >= estimate.mean_ns);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut cost = Cost::default();
        cost.observe(1, u64::MAX, u64::MAX);
        cost.observe(1, 0, 0);
        cost.observe(1, u64::MAX, u64::MAX);
        assert!(cost.estimate(u32::MAX, 0).bound_ns() >= cost.estimate(1, 0).mean_ns);
    }
}
