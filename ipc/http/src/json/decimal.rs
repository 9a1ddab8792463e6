//! Decimal text to binary numbers.
//!
//! Two readers: [`Plain`] for what nearly all numbers are, in a loop of its own, and [`Decimal`] for all of JSON's
//! grammar. Both end in the same conversions, which are exact or say that they cannot be.

use super::{Cursor, Fault};

/// A number without an exponent, of few enough digits: `mantissa / 10^fraction_digits`. Nearly all there are.
pub(super) struct Plain {
    is_negative: bool,
    mantissa: i64,
    fraction_digits: usize,
    pub(super) end: usize,
}

impl Plain {
    /// Reads such a number. None for all others, for what is no number, and for the last few bytes of a text: many are
    /// looked at together.
    ///
    /// What limits the speed of a run of numbers is how soon the end of each is known. So the end is computed from as
    /// little as possible, what a branch can predict is a branch, and what differs from number to number, as the sign
    /// and how many digits there are, is none.
    #[inline(always)]
    pub(super) fn read(text: &[u8], start: usize) -> Option<Self> {
        let around = start
            .checked_sub(BEFORE)
            .and_then(|from| text.get(from..)?.first_chunk());
        match around {
            Some(around) if has_one_digit_and_point(around) => Self::read_short(text, start, around),
            _ => Self::read_any(text, start),
        }
    }

    /// Reads a number that has one digit before the point, with what is around its start.
    #[inline(always)]
    fn read_short(text: &[u8], start: usize, around: &[u8; BEFORE + BEHIND]) -> Option<Self> {
        let is_negative = around[BEFORE] == b'-';
        // With a sign, three bytes hold no more than the point; without, they hold the first digit behind it too.
        let whole = u64::from(around[BEFORE + usize::from(is_negative)].wrapping_sub(b'0'));
        let third = u64::from(around[BEFORE + 2].wrapping_sub(b'0'));
        // All bits or none, in place of branches.
        let if_positive = u64::from(is_negative).wrapping_sub(1);
        if (whole > 9) | (if_positive & third > 9) {
            return None;
        }
        let head = whole + (if_positive & (9 * whole + third));
        let digits = digits_of(around[BEFORE + 3..].first_chunk()?);
        // The two words that end with the last digit.
        let high = u64::from_le_bytes(*around[BEFORE + 3 + digits - 16..].first_chunk()?) ^ ASCII_ZEROS;
        let low = u64::from_le_bytes(*around[BEFORE + 3 + digits - 8..].first_chunk()?) ^ ASCII_ZEROS;
        let mut mantissa = head
            .wrapping_mul(TENS_U64[digits])
            .wrapping_add(eight_digits(high & LAST_BYTES[digits]).wrapping_mul(TENS_U64[8]))
            .wrapping_add(eight_digits(low & LAST_BYTES[8 + digits]));
        let mut fraction_digits = digits + usize::from(!is_negative);
        let mut end = start + 3 + digits;
        if digits == 16 {
            fraction_digits += take_eight(text, &mut end, &mut mantissa)?;
        }
        // A u64 holds 19 digits, and a zero before the point is none. (It has wrapped around if there are more.)
        if fraction_digits == 0 || fraction_digits + usize::from(whole > 0) > 19 {
            return None;
        }
        Self::ending(text, end, is_negative, mantissa, fraction_digits)
    }

    /// Reads a number that has up to seven digits before the point, or none behind it.
    #[inline(always)]
    fn read_any(text: &[u8], start: usize) -> Option<Self> {
        let is_negative = *text.get(start)? == b'-';
        let first = start + usize::from(is_negative);
        let (mut at, mut mantissa) = (first, 0);
        let digits = take_eight(text, &mut at, &mut mantissa)?;
        // Eight digits before the point may be more: that, leading zeros and no digits are for the other reader.
        if digits == 0 || digits == 8 || (text[first] == b'0' && digits > 1) {
            return None;
        }
        let mut fraction_digits = 0;
        if *text.get(at)? == b'.' {
            at += 1;
            let point = at;
            while take_eight(text, &mut at, &mut mantissa)? == 8 {}
            fraction_digits = at - point;
            if fraction_digits == 0 || fraction_digits + digits > 19 {
                return None;
            }
        }
        Self::ending(text, at, is_negative, mantissa, fraction_digits)
    }

    #[inline(always)]
    fn ending(
        text: &[u8],
        end: usize,
        is_negative: bool,
        mantissa: u64,
        fraction_digits: usize,
    ) -> Option<Self> {
        if matches!(*text.get(end)?, b'e' | b'E' | b'.') {
            return None;
        }
        Some(Self {
            is_negative,
            mantissa: i64::try_from(mantissa).ok()?,
            fraction_digits,
            end,
        })
    }

    #[inline(always)]
    pub(super) fn decimal(&self) -> Decimal {
        Decimal {
            is_negative: self.is_negative,
            mantissa: self.mantissa as u64,
            exponent: 0_i32.wrapping_sub(self.fraction_digits as i32),
            is_whole: true,
            is_float: false,
        }
    }

    #[inline(always)]
    pub(super) fn integer(&self) -> Option<i64> {
        (self.fraction_digits == 0).then_some(if self.is_negative {
            -self.mantissa
        } else {
            self.mantissa
        })
    }
}

/// Takes the digits among the next eight bytes into `value`, which wraps around; returns how many.
#[inline(always)]
fn take_eight(text: &[u8], at: &mut usize, value: &mut u64) -> Option<usize> {
    let word = u64::from_le_bytes(*text.get(*at..)?.first_chunk::<8>()?) ^ ASCII_ZEROS;
    // A byte that is no digit is above 9 now, and gets its high bit set; what an addition carries over changes only
    // bytes behind the first such one.
    let others = (word.wrapping_add(NINE_TO_HIGH_BIT) | word) & HIGH_BITS;
    if others == 0 {
        *value = value.wrapping_mul(TENS_U64[8]).wrapping_add(eight_digits(word));
        *at += 8;
        return Some(8);
    }
    let digits = (others.trailing_zeros() / 8) as usize;
    // No branch on no digits, which would be mispredicted after every other run of eight. Two shifts, since one by 64
    // is none.
    let shift = 56_u32.wrapping_sub(8 * digits as u32);
    *value = value
        .wrapping_mul(TENS_U64[digits])
        .wrapping_add(eight_digits(word.wrapping_shl(shift) << 8));
    *at += digits;
    Some(digits)
}

/// Bytes before the start of a number that are looked at with it.
const BEFORE: usize = 16;
/// And from there on.
const BEHIND: usize = 20;

#[inline(always)]
fn has_one_digit_and_point(around: &[u8; BEFORE + BEHIND]) -> bool {
    around[BEFORE + 1 + usize::from(around[BEFORE] == b'-')] == b'.'
}

/// The last `n - 8` bytes of a word, for `n` from 8 to 16; before that none, and after that all.
const LAST_BYTES: [u64; 25] = {
    let mut masks = [0; 25];
    let mut n = 9;
    while n < 25 {
        masks[n] = if n > 15 {
            u64::MAX
        } else {
            u64::MAX << (8 * (16 - n))
        };
        n += 1;
    }
    masks
};

/// How many digits come first; see [`take_eight`].
#[inline(always)]
fn digits_of(bytes: &[u8; 16]) -> usize {
    const fn twice(word: u64) -> u128 {
        (word as u128) << 64 | word as u128
    }
    let word = u128::from_le_bytes(*bytes) ^ twice(ASCII_ZEROS);
    let others = (word.wrapping_add(twice(NINE_TO_HIGH_BIT)) | word) & twice(HIGH_BITS);
    (others.trailing_zeros() / 8) as usize
}

/// A decimal number as written: `mantissa * 10^exponent`.
pub(super) struct Decimal {
    is_negative: bool,
    pub(super) mantissa: u64,
    exponent: i32,
    /// The mantissa holds all digits.
    pub(super) is_whole: bool,
    /// There was a point or an exponent.
    pub(super) is_float: bool,
}

/// Digits that a `u64`, and an `i64` too, surely holds.
const MANTISSA_DIGITS_MAX: usize = 18;

/// Far outside of every float, and far from overflow in a sum of two.
const EXPONENT_MAX: i32 = 100_000;

const TENS_U64: [u64; 17] = [
    1,
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
    10_000_000_000,
    100_000_000_000,
    1_000_000_000_000,
    10_000_000_000_000,
    100_000_000_000_000,
    1_000_000_000_000_000,
    10_000_000_000_000_000,
];

/// Powers of ten that an `f64` holds exactly.
const TENS_F64: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// The nearest to what is one by those.
const TENTHS_F64: [f64; 23] = [
    1e0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12, 1e-13, 1e-14, 1e-15,
    1e-16, 1e-17, 1e-18, 1e-19, 1e-20, 1e-21, 1e-22,
];

const ASCII_ZEROS: u64 = 0x3030_3030_3030_3030;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
/// Added to a byte, it sets the high bit of what is above 9.
const NINE_TO_HIGH_BIT: u64 = 0x7676_7676_7676_7676;

/// Takes the digits that come next into `value`, which wraps around; returns how many.
fn take_digits(cursor: &mut Cursor<'_>, value: &mut u64) -> usize {
    let start = cursor.at;
    while let Some(digit @ b'0'..=b'9') = cursor.peek() {
        *value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        cursor.at += 1;
    }
    cursor.at - start
}

/// The number that eight bytes of 0 to 9 write, the first digit in the lowest byte: pairs, then fours, then all.
#[inline]
const fn eight_digits(word: u64) -> u64 {
    const FOURS: u64 = 0x0000_00FF_0000_00FF;
    let pairs = word.wrapping_mul(10).wrapping_add(word >> 8);
    let high = (pairs & FOURS).wrapping_mul(100 + (1_000_000 << 32));
    let low = ((pairs >> 16) & FOURS).wrapping_mul(1 + (10_000 << 32));
    high.wrapping_add(low) >> 32
}

impl Decimal {
    /// Reads a number as JSON's grammar has it.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, Fault> {
        let start = cursor.at;
        let is_negative = cursor.take(b'-');
        let (mut mantissa, mut exponent, mut fraction_digits) = (0, 0, 0);
        let first = cursor.at;
        let mut digits = take_digits(cursor, &mut mantissa);
        if digits == 0 || (digits > 1 && cursor.text[first] == b'0') {
            cursor.at = start;
            return Err(not_a_number(cursor));
        }
        let mut is_float = false;
        if cursor.take(b'.') {
            is_float = true;
            fraction_digits = take_digits(cursor, &mut mantissa);
            if fraction_digits == 0 {
                return Err(cursor.unexpected("a digit after the point"));
            }
            digits += fraction_digits;
        }
        if let Some(b'e' | b'E') = cursor.peek() {
            is_float = true;
            cursor.at += 1;
            exponent = read_exponent(cursor)?;
        }
        let exponent = exponent
            - i32::try_from(fraction_digits)
                .unwrap_or(EXPONENT_MAX)
                .min(EXPONENT_MAX);
        let is_whole = digits <= MANTISSA_DIGITS_MAX
            || digits - leading_zeros(&cursor.text[first..cursor.at]) <= MANTISSA_DIGITS_MAX;
        Ok(Self {
            is_negative,
            mantissa,
            exponent,
            is_whole,
            is_float,
        })
    }

    /// The nearest `f32`, where it can be had quickly.
    #[inline]
    pub(super) fn to_f32(&self) -> Option<f32> {
        let power = self.exponent.unsigned_abs() as usize;
        if !self.is_whole || power >= TENS_F64.len() {
            return None;
        }
        // At most 18 digits, or 19 that were checked, fit an i64, whose conversion is one instruction.
        let mantissa = self.mantissa as i64 as f64;
        let scale = if self.exponent < 0 {
            TENTHS_F64[power]
        } else {
            TENS_F64[power]
        };
        let value = mantissa * scale;
        // Three roundings so far (mantissa, scale, product), so `value` is off by at most 3 units in its last place.
        // Unless the exact value may lie on the other side of the midpoint of two neighbouring f32, rounding it again
        // gives the nearest f32. A division would round once less, and take three times as long.
        const DROPPED_BITS: u32 = f64::MANTISSA_DIGITS - f32::MANTISSA_DIGITS;
        let dropped = value.to_bits() & ((1 << DROPPED_BITS) - 1);
        let is_safe = dropped.abs_diff(1 << (DROPPED_BITS - 1)) > 8;
        // Smallest here is 1e-22: far from the subnormals, where an f32 has fewer bits.
        // The sign as a bit: a branch on it would be mispredicted at every other number.
        is_safe.then(|| f32::from_bits((value as f32).to_bits() | u32::from(self.is_negative) << 31))
    }

    /// The nearest `f64`, where it can be had quickly.
    #[inline]
    pub(super) fn to_f64(&self) -> Option<f64> {
        let power = self.exponent.unsigned_abs() as usize;
        if !self.is_whole || power >= TENS_F64.len() || self.mantissa > 1 << f64::MANTISSA_DIGITS {
            return None;
        }
        let mantissa = self.mantissa as f64;
        let value = if self.exponent < 0 {
            mantissa / TENS_F64[power]
        } else {
            mantissa * TENS_F64[power]
        };
        Some(self.signed(value))
    }

    #[inline]
    pub(super) fn signed<T: std::ops::Neg<Output = T>>(&self, value: T) -> T {
        if self.is_negative { -value } else { value }
    }
}

/// The exponent, held within bounds: what is beyond them is no float anyway.
fn read_exponent(cursor: &mut Cursor<'_>) -> Result<i32, Fault> {
    let is_negative = cursor.take(b'-');
    if !is_negative {
        cursor.take(b'+');
    }
    let start = cursor.at;
    let mut exponent = 0_i32;
    while let Some(digit @ b'0'..=b'9') = cursor.peek() {
        exponent = (exponent * 10 + i32::from(digit - b'0')).min(EXPONENT_MAX);
        cursor.at += 1;
    }
    if cursor.at == start {
        return Err(cursor.unexpected("a digit of the exponent"));
    }
    Ok(if is_negative { -exponent } else { exponent })
}

/// Zeros before the first digit that counts.
#[cold]
fn leading_zeros(number: &[u8]) -> usize {
    number
        .iter()
        .take_while(|byte| matches!(byte, b'0' | b'.'))
        .filter(|byte| **byte == b'0')
        .count()
}

#[cold]
fn not_a_number(cursor: &Cursor<'_>) -> Fault {
    let shown = cursor.shown();
    let word = shown.trim_start_matches(['-', '+']).to_ascii_lowercase();
    if ["nan", "inf", "infinity"].contains(&word.as_str()) {
        return Fault::new(
            cursor.at,
            format!(
                "{shown} is not JSON; for a float, write \"NaN\", \"Infinity\" or \"-Infinity\", in quotes"
            ),
        );
    }
    cursor.unexpected("a number")
}
