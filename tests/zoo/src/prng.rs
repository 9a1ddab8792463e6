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
