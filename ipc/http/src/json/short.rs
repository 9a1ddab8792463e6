//! Short decimal fractions to `f32`, with vector instructions: what megabytes of pixels and embeddings are written as.
//!
//! [`super::decimal`] reads any number and gets its digits exactly; this reads one digit, a point and up to sixteen
//! digits, straight to a value that is near enough to be rounded to the nearest `f32`, in half of the time. The vectors
//! are those that every processor of the target has; `wide` has plain code where there are none.

use wide::bytemuck::cast;
use wide::{f64x2, i8x16, i16x8, i32x4, i32x8, u8x16, u16x8};

/// Digits that one vector holds.
const DIGITS_MAX: usize = 16;
/// What is looked at of a text: a sign, a digit, a point, the digits, and what ends them.
const WINDOW_BYTES: usize = DIGITS_MAX + 4;

/// The first `n` bytes of a vector.
const FIRST_BYTES: [[u8; DIGITS_MAX]; DIGITS_MAX + 1] = {
    let mut masks = [[0; DIGITS_MAX]; DIGITS_MAX + 1];
    let mut n = 0;
    while n < masks.len() {
        let mut byte = 0;
        while byte < n {
            masks[n][byte] = 0xFF;
            byte += 1;
        }
        n += 1;
    }
    masks
};

/// Reads such a number; returns where it ends. None for all others, for the few whose rounding is in doubt, for what is
/// no number, and for the last few bytes of a text.
///
/// What limits the speed of a run of numbers is how soon the end of each is known: by one load at a place that does not
/// depend on the sign, and without a branch on how many digits there are.
#[inline(always)]
pub(super) fn read(text: &[u8], start: usize) -> Option<(f32, usize)> {
    let window: &[u8; WINDOW_BYTES] = text.get(start..)?.first_chunk()?;
    let is_negative = window[0] == b'-';
    let sign = usize::from(is_negative);
    // With a sign, three bytes hold no more than the point; without, they hold the first digit behind it too.
    let digits = leading_digits(window[3..].first_chunk()?);
    if digits == DIGITS_MAX {
        return None;
    }
    let whole = window[sign].wrapping_sub(b'0');
    let first = window[sign + 2].wrapping_sub(b'0');
    if whole > 9 || window[sign + 1] != b'.' || first > 9 {
        return None;
    }
    let after = window[3 + digits];
    // A comma, mostly: one comparison for it, in place of three.
    if after != b',' && matches!(after, b'e' | b'E' | b'.') {
        return None;
    }
    let fraction = u8x16::new(*window[sign + 2..].first_chunk()?) ^ u8x16::splat(b'0');
    let fraction = fraction & u8x16::new(FIRST_BYTES[digits + 1 - sign]);
    let value = nearest(fraction_of(fraction) + f64::from(whole))?;
    // The sign as a bit: a branch on it would be mispredicted at every other number.
    let bits = value.to_bits() | u32::from(is_negative) << 31;
    Some((f32::from_bits(bits), start + 3 + digits))
}

/// How many digits come first.
#[inline(always)]
fn leading_digits(bytes: &[u8; DIGITS_MAX]) -> usize {
    // The digits become the ten smallest numbers there are.
    let shifted = cast::<_, i8x16>(*bytes) + i8x16::splat((0x80 - b'0') as i8);
    let others = shifted.simd_gt(i8x16::splat(i8::MIN + 9)).to_bitmask();
    (others | 1 << DIGITS_MAX).trailing_zeros() as usize
}

/// The fraction that sixteen digits behind a point write: pairs, fours, then two numbers of eight.
#[inline(always)]
fn fraction_of(digits: u8x16) -> f64 {
    let digits: u16x8 = cast(digits);
    // The first digit of a pair lies in the lower byte. The product with 256 is a shift that needs no register.
    let pairs = digits * u16x8::splat(10) + digits.mul_keep_high(u16x8::splat(256));
    let pairs: i16x8 = cast(pairs & u16x8::splat(0xFF));
    let fours = pairs.dot(i16x8::new([100, 1, 100, 1, 100, 1, 100, 1]));
    let fours = i16x8::from_i32x8_saturate(cast::<[i32x4; 2], i32x8>([fours, fours]));
    let eights = fours.dot(i16x8::new([10_000, 1, 10_000, 1, 10_000, 1, 10_000, 1]));
    let [high, low] = (f64x2::from_i32x4_lower2(eights) * f64x2::new([1e-8, 1e-16])).to_array();
    high + low
}

/// Rounds to `f32`, unless the exact value, a few units in the last place away, may round to another one.
///
/// Each part has been rounded twice (its scale, the product), their sum once, and the sum with the whole once. All are
/// positive, so `value` is off by at most four of its units.
#[inline(always)]
fn nearest(value: f64) -> Option<f32> {
    const DROPPED_BITS: u32 = f64::MANTISSA_DIGITS - f32::MANTISSA_DIGITS;
    const MIDPOINT: u32 = 1 << (DROPPED_BITS - 1);
    const MARGIN: u32 = 8;
    let dropped = value.to_bits() as u32 & ((1 << DROPPED_BITS) - 1);
    // Smallest here is 1e-16: far from the subnormals, where an f32 has fewer bits.
    (dropped.wrapping_sub(MIDPOINT - MARGIN) > 2 * MARGIN).then_some(value as f32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The number, and where it ends, with `after` behind it.
    fn read_before(number: &str, after: &str) -> Option<(f32, usize)> {
        read(format!("{number}{after}                    ").as_bytes(), 0)
    }

    #[test]
    fn numbers_that_are_read() {
        for (text, value) in [
            ("0.5", 0.5_f32),
            ("-0.5", -0.5),
            ("0.0", 0.0),
            ("-0.0", -0.0),
            ("9.0000000", 9.0),
            ("-0.98334765", -0.983_347_65),
            ("0.034179807", 0.034_179_807),
            ("0.0000000000000001", 1e-16),
            ("9.9999999999999999", 10.0),
        ] {
            for after in [",", "]", " ", "}", "\n"] {
                let (read, end) = read_before(text, after).unwrap();
                assert_eq!(
                    (read.to_bits(), end),
                    (value.to_bits(), text.len()),
                    "{text}{after}"
                );
            }
        }
    }

    #[test]
    fn what_is_left_to_others() {
        for text in [
            "",
            "-",
            ".",
            "1",
            "1.",
            "-1.",
            "12.5",
            "-12.5",
            ".5",
            "-.5",
            "--.5",
            "+0.5",
            "a.5",
            "0.a",
            "-0.a",
            "0,5",
            "0.5e3",
            "0.5E3",
            "0.5.",
            "0..5",
            "\u{e9}.5",
            "0.12345678901234567",
            "-0.1234567890123456",
            // Halfway between two floats, and next to it.
            "1.000000059604645",
            "0.0000000000000000",
        ] {
            if let Some((value, end)) = read_before(text, ",") {
                assert_eq!((Ok(value), end), (text.parse(), text.len()), "{text}");
                assert!(["-0.1234567890123456", "0.0000000000000000", "1.000000059604645"].contains(&text));
            }
        }
        assert_eq!(read(b"0.5,", 0), None, "too near to the end");
        assert_eq!(read(b"0.5,", 9), None, "behind the end");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50_000))]

        #[test]
        fn all_are_the_nearest(text in "-?[0-9]\\.[0-9]{1,16}", bits in any::<u32>(), shift in 0..4_u32) {
            // Halfway between two floats, as written with up to sixteen digits, and one off.
            let value = f32::from_bits(bits & 0x007F_FFFF | (127 - shift) << 23);
            let middle = f64::from(value) + f64::from(f32::EPSILON) / f64::from(2 << shift);
            let middle = format!("{middle:.16}");
            let mut off = middle.clone().into_bytes();
            if let Some(last @ b'0'..=b'8') = off.last_mut() {
                *last += 1;
            }
            for text in [text.clone(), middle, String::from_utf8(off).unwrap(), value.to_string(), format!("{value:?}")] {
                let single: f32 = text.parse().unwrap();
                match read_before(&text, ",") {
                    Some((value, end)) => {
                        prop_assert_eq!((value.to_bits(), end), (single.to_bits(), text.len()), "{}", text);
                    }
                    // Right, if slow.
                    None => prop_assert!(text.len() > 17 || is_in_doubt(&text), "{}", text),
                }
            }
        }
    }

    /// Whether a number lies close to the midpoint of two floats, or has no point.
    fn is_in_doubt(text: &str) -> bool {
        let wide: f64 = text.parse().unwrap();
        let dropped = wide.to_bits() & 0x1FFF_FFFF;
        !text.contains('.') || dropped.abs_diff(1 << 28) < 20
    }
}
