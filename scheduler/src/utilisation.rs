//! How much of the last window admitted REALTIME work fills.

/// A window is this many buckets long.
const WINDOW_BUCKETS: u64 = 16;
/// One more is kept, so that the sum never covers less than a window.
const BUCKETS: usize = WINDOW_BUCKETS as usize + 1;

/// A sliding sum over a window.
#[derive(Clone, Debug)]
pub(crate) struct Utilisation {
    buckets: [u64; BUCKETS],
    sum_ns: u64,
    bucket_ns: u64,
    bound_ns: u64,
    /// Number of the newest bucket since time 0.
    newest: u64,
}

impl Utilisation {
    pub fn new(window_ns: u64, bound_per_mille: u16) -> Self {
        let bound_ns = (u128::from(window_ns) * u128::from(bound_per_mille) / 1_000) as u64;
        let bucket_ns = (window_ns / WINDOW_BUCKETS).max(1);
        Self {
            buckets: [0; BUCKETS],
            sum_ns: 0,
            bucket_ns,
            bound_ns,
            newest: 0,
        }
    }

    /// Whether work of this length would still fit under the bound.
    pub fn fits(&self, now_ns: u64, work_ns: u64) -> bool {
        let mut current = self.clone();
        current.advance(now_ns);
        current.sum_ns.saturating_add(work_ns) <= self.bound_ns
    }

    /// Counts work of this length.
    pub fn add(&mut self, now_ns: u64, work_ns: u64) {
        self.advance(now_ns);
        let bucket = &mut self.buckets[(self.newest % BUCKETS as u64) as usize];
        *bucket = bucket.saturating_add(work_ns);
        self.sum_ns = self.sum_ns.saturating_add(work_ns);
    }

    /// Replaces what was counted for some work by what it took.
    pub fn correct(&mut self, now_ns: u64, counted_ns: u64, taken_ns: u64) {
        if taken_ns >= counted_ns {
            self.add(now_ns, taken_ns - counted_ns);
            return;
        }
        self.advance(now_ns);
        // From the newest backwards: which bucket it was counted in is forgotten, and so room returns late, not early.
        let mut excess_ns = counted_ns - taken_ns;
        for age in 0..BUCKETS as u64 {
            let at = self.newest + BUCKETS as u64 - age;
            let bucket = &mut self.buckets[(at % BUCKETS as u64) as usize];
            let less = excess_ns.min(*bucket);
            *bucket -= less;
            self.sum_ns -= less;
            excess_ns -= less;
        }
    }

    fn advance(&mut self, now_ns: u64) {
        let newest = now_ns / self.bucket_ns;
        let steps = newest.saturating_sub(self.newest).min(BUCKETS as u64);
        for step in 1..=steps {
            let bucket = &mut self.buckets[((newest - steps + step) % BUCKETS as u64) as usize];
            self.sum_ns = self.sum_ns.saturating_sub(*bucket);
            *bucket = 0;
        }
        self.newest = self.newest.max(newest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_and_slides() {
        let mut load = Utilisation::new(1_600, 500);
        assert!(load.fits(0, 800));
        assert!(!load.fits(0, 801));
        load.add(0, 500);
        load.add(150, 300);
        // (now, work, fits)
        for (now_ns, work_ns, fits) in [
            (150, 1, false),
            (1_699, 1, false),
            (1_700, 500, true),
            (1_700, 501, false),
            (1_800, 800, true),
        ] {
            assert_eq!(load.fits(now_ns, work_ns), fits, "{work_ns} at {now_ns}");
        }
    }

    #[test]
    fn what_took_less_makes_room() {
        let mut load = Utilisation::new(1_600, 500);
        load.add(10, 800);
        load.correct(20, 800, 300);
        assert!(load.fits(30, 500));
        load.correct(30, 0, 400);
        assert!(!load.fits(30, 101));
        assert!(load.fits(30, 100));
    }

    #[test]
    fn a_long_silence_empties_it() {
        let mut load = Utilisation::new(1_600, 500);
        load.add(0, 800);
        assert!(load.fits(u64::MAX, 800));
    }
}
