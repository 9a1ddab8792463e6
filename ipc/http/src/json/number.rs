//! The second walk: numbers, straight from text to the element type.

use half::{bf16, f16};
use mlos_tensor_mem::Element;

use super::{Cursor, Fault};

/// An element type that JSON can say.
pub(crate) trait Number: Element {
    /// 1, as an attention mask has it.
    const ONE: Self;

    /// Reads the value at the cursor.
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Fault>;

    /// Reads the value at `at` if it is one of the usual kind; returns where it ends. [`read`](Self::read) does the rest,
    /// and all that is wrong.
    fn read_plain(text: &[u8], at: usize) -> Option<(Self, usize)>;
}

/// A number without an exponent, of few enough digits: `mantissa / 10^fraction_digits`. Nearly all there are.
struct Plain {
    is_negative: bool,
    mantissa: i64,
    fraction_digits: usize,
    end: usize,
}

impl Plain {
    /// Reads such a number. None for all others, for what is no number, and for the last few bytes of a text: eight
    /// digits are looked at together.
    ///
    /// What limits the speed of a run of numbers is how soon the end of each is known. So the end is computed from as
    /// little as possible, and what a branch can predict is a branch.
    #[inline(always)]
    fn read(text: &[u8], start: usize) -> Option<Self> {
        let is_negative = *text.get(start)? == b'-';
        let first = start + usize::from(is_negative);
        let mut mantissa = u64::from(text.get(first)?.wrapping_sub(b'0'));
        let mut at = first + 1;
        if *text.get(at)? != b'.' {
            (at, mantissa) = (first, 0);
            let digits = take_eight(text, &mut at, &mut mantissa)?;
            // Eight digits before the point may be more: that, leading zeros and no digits are for the other reader.
            if digits == 0 || digits == 8 || (text[first] == b'0' && digits > 1) {
                return None;
            }
        } else if mantissa > 9 {
            return None;
        }
        let mut fraction_digits = 0;
        if *text.get(at)? == b'.' {
            let digits = at - first - usize::from(text[first] == b'0');
            at += 1;
            let point = at;
            while take_eight(text, &mut at, &mut mantissa)? == 8 {}
            fraction_digits = at - point;
            // A u64 holds 19 digits, and a zero before the point is none. (It has wrapped around if there are more.)
            if fraction_digits == 0 || fraction_digits + digits > 19 {
                return None;
            }
        }
        if matches!(*text.get(at)?, b'e' | b'E' | b'.') {
            return None;
        }
        Some(Self {
            is_negative,
            mantissa: i64::try_from(mantissa).ok()?,
            fraction_digits,
            end: at,
        })
    }

    #[inline(always)]
    fn decimal(&self) -> Decimal {
        Decimal {
            is_negative: self.is_negative,
            mantissa: self.mantissa as u64,
            exponent: 0_i32.wrapping_sub(self.fraction_digits as i32),
            is_whole: true,
            is_float: false,
        }
    }

    #[inline(always)]
    fn integer(&self) -> Option<i64> {
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
    let others = (word.wrapping_add(0x7676_7676_7676_7676) | word) & HIGH_BITS;
    if others == 0 {
        *value = value.wrapping_mul(TENS_U64[8]).wrapping_add(eight_digits(word));
        *at += 8;
        return Some(8);
    }
    let digits = (others.trailing_zeros() / 8) as usize;
    if digits > 0 {
        let shift = 64_u32.wrapping_sub(8 * digits as u32);
        *value = value
            .wrapping_mul(TENS_U64[digits])
            .wrapping_add(eight_digits(word.wrapping_shl(shift)));
        *at += digits;
    }
    Some(digits)
}

/// A decimal number as written: `mantissa * 10^exponent`.
struct Decimal {
    is_negative: bool,
    mantissa: u64,
    exponent: i32,
    /// The mantissa holds all digits.
    is_whole: bool,
    /// There was a point or an exponent.
    is_float: bool,
}

/// Digits that a `u64`, and an `i64` too, surely holds.
const MANTISSA_DIGITS_MAX: usize = 18;

/// Far outside of every float, and far from overflow in a sum of two.
const EXPONENT_MAX: i32 = 100_000;

const TENS_U64: [u64; 9] = [
    1,
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
];

/// Powers of ten that an `f32` holds exactly.
const TENS_F32: [f32; 11] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];

/// Powers of ten that an `f64` holds exactly.
const TENS_F64: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

const ASCII_ZEROS: u64 = 0x3030_3030_3030_3030;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

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
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Fault> {
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
    fn to_f32(&self) -> Option<f32> {
        let power = self.exponent.unsigned_abs() as usize;
        if !self.is_whole || power >= TENS_F64.len() {
            return None;
        }
        if self.mantissa <= 1 << 24 && power < TENS_F32.len() {
            // Both are exact, so the one rounding is the right one (Clinger's fast path).
            let mantissa = self.mantissa as f32;
            let value = if self.exponent < 0 {
                mantissa / TENS_F32[power]
            } else {
                mantissa * TENS_F32[power]
            };
            return Some(self.signed(value));
        }
        // At most 18 digits fit an i64, whose conversion is one instruction.
        let mantissa = self.mantissa as i64 as f64;
        let value = if self.exponent < 0 {
            mantissa / TENS_F64[power]
        } else {
            mantissa * TENS_F64[power]
        };
        // Rounded twice so far, so `value` is off by at most 3 units in its last place. Unless the exact value may
        // lie on the other side of the midpoint of two neighbouring f32, rounding it again gives the nearest f32.
        const DROPPED_BITS: u32 = f64::MANTISSA_DIGITS - f32::MANTISSA_DIGITS;
        let dropped = value.to_bits() & ((1 << DROPPED_BITS) - 1);
        let is_safe = dropped.abs_diff(1 << (DROPPED_BITS - 1)) > 8;
        // Smallest here is 1e-22: far from the subnormals, where an f32 has fewer bits.
        is_safe.then(|| self.signed(value as f32))
    }

    /// The nearest `f64`, where it can be had quickly.
    #[inline]
    fn to_f64(&self) -> Option<f64> {
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
    fn signed<T: std::ops::Neg<Output = T>>(&self, value: T) -> T {
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

#[cold]
fn does_not_fit(start: usize, cursor: &Cursor<'_>, wanted: &str) -> Fault {
    let text = String::from_utf8_lossy(&cursor.text[start..cursor.at])
        .chars()
        .take(40)
        .collect::<String>();
    Fault::new(start, format!("{text} does not fit {wanted}"))
}

/// Reads a float: a number, or one of the three strings for what JSON has no number for.
#[inline]
fn read_float<T>(
    cursor: &mut Cursor<'_>,
    wanted: &'static str,
    fast: impl Fn(&Decimal) -> Option<T>,
) -> Result<T, Fault>
where
    T: fast_float2::FastFloat + Into<f64> + Copy,
{
    let start = cursor.at;
    if cursor.peek() == Some(b'"') {
        return read_not_finite(cursor, wanted);
    }
    let decimal = Decimal::read(cursor)?;
    let value = match fast(&decimal) {
        Some(value) => value,
        None => fast_float2::parse(&cursor.text[start..cursor.at])
            .map_err(|_| does_not_fit(start, cursor, wanted))?,
    };
    if !value.into().is_finite() {
        return Err(does_not_fit(start, cursor, wanted));
    }
    Ok(value)
}

#[cold]
fn read_not_finite<T: fast_float2::FastFloat>(cursor: &mut Cursor<'_>, wanted: &str) -> Result<T, Fault> {
    let start = cursor.at;
    let text = cursor.string()?;
    let is_known = ["NaN", "Infinity", "-Infinity"].contains(&&*text);
    let value = is_known
        .then(|| fast_float2::parse(text.as_bytes()).ok())
        .flatten();
    value.ok_or_else(|| {
        Fault::new(
            start,
            format!("a string where {wanted} is expected; only \"NaN\", \"Infinity\" and \"-Infinity\" are"),
        )
    })
}

impl Number for f32 {
    const ONE: Self = 1.0;

    #[inline]
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Fault> {
        read_float(cursor, "float32", Decimal::to_f32)
    }

    #[inline(always)]
    fn read_plain(text: &[u8], at: usize) -> Option<(Self, usize)> {
        let plain = Plain::read(text, at)?;
        Some((plain.decimal().to_f32()?, plain.end))
    }
}

impl Number for f64 {
    const ONE: Self = 1.0;

    #[inline]
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Fault> {
        read_float(cursor, "float64", Decimal::to_f64)
    }

    #[inline(always)]
    fn read_plain(text: &[u8], at: usize) -> Option<(Self, usize)> {
        let plain = Plain::read(text, at)?;
        Some((plain.decimal().to_f64()?, plain.end))
    }
}

macro_rules! half_numbers {
    ($($half:ty, $name:literal;)*) => {$(
        impl Number for $half {
            const ONE: Self = Self::ONE;

            #[inline]
            fn read(cursor: &mut Cursor<'_>) -> Result<Self, Fault> {
                let start = cursor.at;
                let wide = read_float(cursor, $name, Decimal::to_f64)?;
                let value = Self::from_f64(wide);
                if value.is_infinite() && wide.is_finite() {
                    return Err(does_not_fit(start, cursor, $name));
                }
                Ok(value)
            }

            #[inline(always)]
            fn read_plain(text: &[u8], at: usize) -> Option<(Self, usize)> {
                let plain = Plain::read(text, at)?;
                let value = Self::from_f64(plain.decimal().to_f64()?);
                value.is_finite().then_some((value, plain.end))
            }
        }
    )*};
}

half_numbers! {
    f16, "float16";
    bf16, "bfloat16";
}

/// Reads an integer; a float without a fraction, as 3.0 or 1e3, is one too.
#[inline]
fn read_integer(cursor: &mut Cursor<'_>, wanted: &'static str) -> Result<i128, Fault> {
    let start = cursor.at;
    let decimal = Decimal::read(cursor)?;
    if !decimal.is_float && decimal.is_whole {
        return Ok(i128::from(decimal.signed(decimal.mantissa as i64)));
    }
    let text = std::str::from_utf8(&cursor.text[start..cursor.at]).unwrap_or_default();
    if !decimal.is_float {
        return text.parse().map_err(|_| does_not_fit(start, cursor, wanted));
    }
    let value: f64 = fast_float2::parse(text).map_err(|_| does_not_fit(start, cursor, wanted))?;
    // Beyond, not every integer has a float, and the text may mean another one.
    if value.fract() != 0.0 || value.abs() > (1_u64 << f64::MANTISSA_DIGITS) as f64 {
        return Err(does_not_fit(start, cursor, wanted));
    }
    Ok(value as i128)
}

macro_rules! integer_numbers {
    ($($integer:ty, $name:literal;)*) => {$(
        impl Number for $integer {
            const ONE: Self = 1;

            #[inline]
            fn read(cursor: &mut Cursor<'_>) -> Result<Self, Fault> {
                let start = cursor.at;
                const WANTED: &str = $name;
                Self::try_from(read_integer(cursor, WANTED)?).map_err(|_| does_not_fit(start, cursor, WANTED))
            }

            #[inline(always)]
            fn read_plain(text: &[u8], at: usize) -> Option<(Self, usize)> {
                let plain = Plain::read(text, at)?;
                Some((Self::try_from(plain.integer()?).ok()?, plain.end))
            }
        }
    )*};
}

integer_numbers! {
    i8, "int8, whole numbers from -128 to 127";
    i16, "int16, whole numbers from -32768 to 32767";
    i32, "int32, whole numbers from -2^31 to 2^31 - 1";
    i64, "int64, whole numbers from -2^63 to 2^63 - 1";
    u8, "uint8, whole numbers from 0 to 255";
    u16, "uint16, whole numbers from 0 to 65535";
    u32, "uint32, whole numbers from 0 to 2^32 - 1";
    u64, "uint64, whole numbers from 0 to 2^64 - 1";
}

impl Number for bool {
    const ONE: Self = true;

    #[inline]
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Fault> {
        for (word, value) in [("true", true), ("false", false), ("1", true), ("0", false)] {
            if cursor.take_word(word) {
                return Ok(value);
            }
        }
        Err(cursor.unexpected("true, false, 1 or 0"))
    }

    #[inline(always)]
    fn read_plain(_: &[u8], _: usize) -> Option<(Self, usize)> {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a number both ways: alone, and where more text follows, for the quick reader.
    fn read<T: Number + PartialEq>(text: &str) -> Result<T, String> {
        let value = read_alone::<T>(text);
        let followed = format!("{text},        ");
        if let Some((plain, end)) = T::read_plain(followed.as_bytes(), 0) {
            // What is no number as a whole may start with one.
            assert!(
                value.is_err() || value.as_ref() == Ok(&plain) && end == text.len(),
                "{text}"
            );
        }
        value
    }

    fn read_alone<T: Number>(text: &str) -> Result<T, String> {
        let mut cursor = Cursor::new(text.as_bytes(), 0);
        let value = T::read(&mut cursor).map_err(|fault| fault.what.to_string())?;
        if cursor.at == text.len() {
            Ok(value)
        } else {
            Err(format!("stopped at {}", cursor.at))
        }
    }

    #[test]
    fn floats_that_are_hard() {
        for text in [
            "0",
            "-0",
            "0.0",
            "-0.0",
            "1",
            "0.5488",
            "123456789",
            "16777216",
            "16777217",
            "16777219",
            "1e10",
            "1e11",
            "1e-10",
            "3.4028235e38",
            "3.4028234663852886e38",
            "1.17549435e-38",
            "1e-45",
            "7e-46",
            "1e-400",
            // Halfway between two floats, and a digit beside it.
            "1.000000059604644775390625",
            "1.000000059604644775390624",
            "1.000000059604644775390626",
            "8388608.5",
            "8388609.5",
            "8388609.500000001",
            "0.000000000000000000000000000000000000000012",
            "0.00123456789012345678",
            "0.0000000000000000000001",
            "123456789012345678",
            "1234567890123456789",
            "12345678901234567890",
            "0.1234567890123456789012345678901234567890",
            "9007199254740993",
            "1E+2",
            "1e-0",
            "340282350000000000000000000000000000000",
            "340282356779733642748073463979561713663",
        ] {
            let (single, double): (f32, f64) = (text.parse().unwrap(), text.parse().unwrap());
            assert_eq!(
                read::<f32>(text).map(f32::to_bits),
                Ok(single.to_bits()),
                "{text}"
            );
            assert_eq!(
                read::<f64>(text).map(f64::to_bits),
                Ok(double.to_bits()),
                "{text}"
            );
            assert_eq!(
                read::<f16>(text).ok(),
                Some(f16::from_f64(double)).filter(|half| half.is_finite()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_not_a_number() {
        for (text, what) in [
            ("", "ends where a number"),
            ("-", "expected a number"),
            ("+1", "expected a number"),
            ("01", "expected a number, found '01'"),
            (".5", "expected a number"),
            ("1.", "a digit after the point"),
            ("1.e5", "a digit after the point"),
            ("1e", "a digit of the exponent"),
            ("1e+", "a digit of the exponent"),
            ("0x10", "stopped at 1"),
            ("NaN", "write \"NaN\""),
            ("-Infinity", "write \"NaN\""),
            ("Infinity", "write \"NaN\""),
            ("\"1\"", "only \"NaN\""),
            ("\"inf\"", "only \"NaN\""),
            ("null", "found 'null'"),
            ("true", "found 'true'"),
            ("1e39", "1e39 does not fit float32"),
            ("-1e999999999999", "does not fit float32"),
        ] {
            let fault = read::<f32>(text).unwrap_err();
            assert!(fault.contains(what), "{text}: {fault}");
        }
        assert!(read::<f32>("\"NaN\"").unwrap().is_nan());
        assert_eq!(read::<f32>("\"-Infinity\""), Ok(f32::NEG_INFINITY));
        assert_eq!(read::<f16>("\"Infinity\""), Ok(f16::INFINITY));
        assert!(read::<f16>("65520").unwrap_err().contains("does not fit float16"));
        assert!(read::<bf16>("3.38e38").is_ok());
        assert!(
            read::<bf16>("3.4e38")
                .unwrap_err()
                .contains("does not fit bfloat16")
        );
    }

    #[test]
    fn integers_at_their_bounds() {
        assert_eq!(read::<u8>("255"), Ok(255));
        assert_eq!(
            read::<u8>("256").unwrap_err(),
            "256 does not fit uint8, whole numbers from 0 to 255"
        );
        assert_eq!(read::<u8>("-0"), Ok(0));
        assert!(read::<u8>("-1").is_err());
        assert_eq!(read::<i8>("-128"), Ok(-128));
        assert!(read::<i8>("128").is_err());
        assert_eq!(read::<i64>("-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(read::<i64>("9223372036854775807"), Ok(i64::MAX));
        assert!(read::<i64>("9223372036854775808").is_err());
        assert_eq!(read::<u64>("18446744073709551615"), Ok(u64::MAX));
        assert!(read::<u64>("18446744073709551616").is_err());
        assert!(read::<u64>(&"9".repeat(100)).is_err());
        assert_eq!(read::<i32>("3.0"), Ok(3));
        assert_eq!(read::<i32>("1e3"), Ok(1000));
        assert!(
            read::<i32>("3.5")
                .unwrap_err()
                .starts_with("3.5 does not fit int32")
        );
        assert!(read::<i32>("1e300").is_err());
        assert_eq!(read::<bool>("true"), Ok(true));
        assert_eq!(read::<bool>("0"), Ok(false));
        assert!(read::<bool>("2").is_err());
        assert!(read::<bool>("10").is_err());
        assert!(read::<bool>("truex").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn floats_are_the_nearest(bits in any::<u32>(), wide in any::<u64>(), digits in "-?[0-9]{1,25}", exponent in -60_i32..40) {
            let dot = digits.len().div_ceil(2);
            let (whole, fraction) = digits.split_at(dot);
            let text = format!("{}.{fraction}0e{exponent}", trim(whole));
            check(&text)?;
            for value in [f64::from(f32::from_bits(bits)), f64::from_bits(wide)] {
                if value.is_finite() {
                    check(&format!("{value}"))?;
                    check(&format!("{value:e}"))?;
                }
            }
        }
    }

    /// Without the leading zeros that JSON forbids.
    fn trim(whole: &str) -> String {
        let (sign, digits) = whole
            .strip_prefix('-')
            .map_or(("", whole), |digits| ("-", digits));
        let digits = digits.trim_start_matches('0');
        format!("{sign}{}", if digits.is_empty() { "0" } else { digits })
    }

    fn check(text: &str) -> Result<(), TestCaseError> {
        let (single, double): (f32, f64) = (text.parse().unwrap(), text.parse().unwrap());
        prop_assert_eq!(
            read::<f32>(text).ok(),
            Some(single).filter(|value| value.is_finite()),
            "{}",
            text
        );
        prop_assert_eq!(
            read::<f64>(text).ok(),
            Some(double).filter(|value| value.is_finite()),
            "{}",
            text
        );
        Ok(())
    }
}
