//! The random numbers of the zoo.
//!
//! SplitMix64: a counter and a mixer, so every tensor starts its own stream from (seed, index) and can be produced
//! alone, in any order, while the file is written. Only exact float operations follow, so a seed gives the same
//! bytes on every machine.

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// A seeded stream of random numbers.
#[derive(Clone, Debug)]
pub struct Prng {
    state: u64,
}

impl Prng {
    /// The stream `stream` of `seed`.
    pub fn new(seed: u64, stream: u64) -> Self {
        // Mixed once, so that (1, 2) and (2, 1) are unrelated streams.
        let base = mix(seed.wrapping_add(GOLDEN));
        Self {
            state: mix(base ^ stream.wrapping_mul(GOLDEN)),
        }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// A number in `0..below`. The bias of the multiply-shift is under 2^-32 for the sizes used here.
    pub fn below(&mut self, below: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(below)) >> 64) as u64
    }

    /// Two independent numbers, uniform in [-1, 1).
    pub fn signed_pair(&mut self) -> (f32, f32) {
        let bits = self.bits();
        (signed_unit((bits >> 32) as i32), signed_unit(bits as i32))
    }
}

/// The upper 24 bits as a fraction: exact in f32.
fn signed_unit(bits: i32) -> f32 {
    (bits >> 8) as f32 * (1.0 / 8_388_608.0)
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::Prng;

    const DRAWS: u32 = 100_000;

    #[test]
    fn signed_numbers_are_uniform() {
        let mut random = Prng::new(1, 2);
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..DRAWS {
            let (a, b) = random.signed_pair();
            assert!((-1.0..1.0).contains(&a) && (-1.0..1.0).contains(&b));
            sum += f64::from(a + b);
            squares += f64::from(a * a + b * b);
        }
        let count = f64::from(2 * DRAWS);
        // Five standard errors of a uniform distribution on [-1, 1), whose variance is 1/3.
        assert!((sum / count).abs() < 0.0065, "mean {}", sum / count);
        assert!(
            (squares / count - 1.0 / 3.0).abs() < 0.0034,
            "variance {}",
            squares / count
        );
    }

    #[test]
    fn every_number_below_the_bound_comes() {
        let mut random = Prng::new(3, 0);
        let mut counts = [0_u32; 7];
        for _ in 0..DRAWS {
            counts[random.below(7) as usize] += 1;
        }
        // Six standard deviations.
        let expected = DRAWS / 7;
        assert!(
            counts.iter().all(|count| count.abs_diff(expected) < 660),
            "{counts:?}"
        );
    }

    #[test]
    fn streams_differ() {
        let first = |seed, stream| Prng::new(seed, stream).bits();
        let all = [
            first(0, 0),
            first(0, 1),
            first(1, 0),
            first(1, 1),
            first(2, 1),
            first(1, 2),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(one), "two streams begin with {one:x}");
        }
    }
}
