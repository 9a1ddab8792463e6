//! The second walk: numbers, straight from text to the element type.

use half::{bf16, f16};
use mlos_tensor_mem::Element;

use super::decimal::{Decimal, Plain};
use super::{Cursor, Fault, short};

/// An element type that JSON can say.
pub(crate) trait Number: Element {
    /// 1, as an attention mask has it.
    const ONE: Self;

    /// Reads the value at the cursor.
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Fault>;

    /// Reads the value at `at` if it is one of the usual kind; returns where it ends. [`read`](Self::read) does the rest,
    /// and all that is wrong.
    fn read_plain(text: &[u8], at: usize) -> Option<(Self, usize)>;

    /// The same, faster, for less: fractions of few digits. None where the type has no such reader.
    #[inline(always)]
    fn read_short(_: &[u8], _: usize) -> Option<(Self, usize)> {
        None
    }
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

    #[inline(always)]
    fn read_short(text: &[u8], at: usize) -> Option<(Self, usize)> {
        short::read(text, at)
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

    /// Reads a number every way: alone, and for the quick readers with more text after it, and before it too.
    fn read<T: Number + PartialEq>(text: &str) -> Result<T, String> {
        let value = read_alone::<T>(text);
        for (before, after) in [("", "        "), ("1234567890123456", "12345678901234567890")] {
            let around = format!("{before}{text},{after}");
            if let Some((plain, end)) = T::read_plain(around.as_bytes(), before.len()) {
                // What is no number as a whole may start with one.
                assert!(
                    value.is_err() || value.as_ref() == Ok(&plain) && end == before.len() + text.len(),
                    "{text}"
                );
            }
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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn short_numbers_are_the_nearest(text in "-?[0-9]\\.[0-9]{1,20}", usual in "-?[0-9]\\.[0-9]{1,16}") {
            check(&text)?;
            check(&usual)?;
            let around = format!("1234567890123456{usual}]                    ");
            let (plain, end) = f32::read_plain(around.as_bytes(), 16).unwrap_or((f32::NAN, 0));
            let single: f32 = usual.parse().unwrap();
            // None is right, if slow, for the few that lie close to the midpoint of two.
            prop_assert!(end == 0 || (plain.to_bits(), end) == (single.to_bits(), 16 + usual.len()), "{}", usual);
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
