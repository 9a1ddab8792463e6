//! JSON arrays as tensors, and tensors as JSON arrays, by the daemon's own rules.
//!
//! What `mlosd` makes of a body over HTTP is made here of the same input before it goes into shared memory, so that both
//! ways give the model the same bits.

use half::{bf16, f16};
use mlos_client::{DType, TensorInfo};
use serde_json::{Number, Value};

/// An array and the shape that it means for a declared input.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    pub(crate) dims: Vec<usize>,
    pub(crate) elements: Vec<&'a Value>,
}

/// Reads a value for an input; the error says what is wrong with it.
///
/// Lists nested as deep as the input has dimensions say their shape themselves; nested one less, they are one row. A flat
/// list is shaped by the declaration: one size that is open follows from its length; of two, the first is the batch, and 1.
pub(crate) fn given<'a>(info: &TensorInfo, value: &'a Value) -> Result<Given<'a>, String> {
    let mut elements = Vec::new();
    flatten(value, &mut elements);
    let rank = info.dims.len();
    let nested = nested(value).ok_or("its lists differ in length")?;
    let dims = if !value.is_array() || nested.len() == 1 && rank != 1 {
        sized(info, elements.len())?
    } else if nested.len() == rank && fits(&info.dims, &nested) {
        nested
    } else if nested.len() > 1 && nested.len() + 1 == rank && is_one_row(info, &nested) {
        [&[1], nested.as_slice()].concat()
    } else {
        return Err(format!("got the shape {nested:?}, expected {}", declared(info)));
    };
    Ok(Given { dims, elements })
}

/// A declared tensor as messages show it: `float32 [?, 64]`.
pub(crate) fn declared(info: &TensorInfo) -> String {
    let dims = info
        .dims
        .iter()
        .map(|dim| dim.map_or("?".to_owned(), |dim| dim.to_string()));
    format!("{} [{}]", info.dtype, dims.collect::<Vec<_>>().join(", "))
}

/// The lengths of nested lists; none if they differ.
fn nested(value: &Value) -> Option<Vec<usize>> {
    let Value::Array(items) = value else {
        return Some(Vec::new());
    };
    let mut inner = items.iter().map(nested);
    let first = inner.next().unwrap_or(Some(Vec::new()))?;
    let are_alike = inner.all(|other| other.as_ref() == Some(&first));
    are_alike.then(|| [&[items.len()], first.as_slice()].concat())
}

fn flatten<'a>(value: &'a Value, into: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| flatten(item, into)),
        other => into.push(other),
    }
}

fn fits(declared: &[Option<u64>], sizes: &[usize]) -> bool {
    let mut pairs = declared.iter().zip(sizes);
    pairs.all(|(dim, size)| dim.is_none_or(|dim| dim == *size as u64))
}

fn is_one_row(info: &TensorInfo, row: &[usize]) -> bool {
    matches!(info.dims[0], None | Some(1)) && fits(&info.dims[1..], row)
}

/// The sizes for a number of elements without structure.
fn sized(info: &TensorInfo, elements: usize) -> Result<Vec<usize>, String> {
    let expected = || {
        let plural = if elements == 1 { "element" } else { "elements" };
        format!("got {elements} {plural}, expected {}", declared(info))
    };
    let dims = info.dims.iter().map(|dim| usize::try_from(dim.unwrap_or(1)));
    let mut dims: Vec<usize> = dims.collect::<Result<_, _>>().map_err(|_| expected())?;
    let fixed = dims
        .iter()
        .try_fold(1_usize, |product, size| product.checked_mul(*size))
        .ok_or_else(expected)?;
    let open: Vec<usize> = (0..dims.len())
        .filter(|axis| info.dims[*axis].is_none())
        .collect();
    let axis = match open.as_slice() {
        [] if fixed == elements => return Ok(dims),
        [] => return Err(expected()),
        [axis] | [0, axis] => *axis,
        _ => {
            return Err(format!(
                "{}; several sizes are open, so give nested lists",
                expected()
            ));
        }
    };
    if fixed == 0 || !elements.is_multiple_of(fixed) {
        return Err(format!(
            "{}: the number must be a multiple of {fixed}",
            expected()
        ));
    }
    dims[axis] = elements / fixed;
    Ok(dims)
}

/// Writes elements of any type but text to where they shall lie.
pub(crate) fn write(elements: &[&Value], dtype: DType, to: &mut [u8]) -> Result<(), String> {
    let target = Target { elements, dtype };
    match dtype {
        DType::Bool => target.fill(to, |value| truth(value).map(|truth| [u8::from(truth)])),
        DType::U8 => target.fill(to, |value| whole(value).map(u8::to_ne_bytes)),
        DType::U16 => target.fill(to, |value| whole(value).map(u16::to_ne_bytes)),
        DType::U32 => target.fill(to, |value| whole(value).map(u32::to_ne_bytes)),
        DType::U64 => target.fill(to, |value| whole(value).map(u64::to_ne_bytes)),
        DType::I8 => target.fill(to, |value| whole(value).map(i8::to_ne_bytes)),
        DType::I16 => target.fill(to, |value| whole(value).map(i16::to_ne_bytes)),
        DType::I32 => target.fill(to, |value| whole(value).map(i32::to_ne_bytes)),
        DType::I64 => target.fill(to, |value| whole(value).map(i64::to_ne_bytes)),
        DType::F16 => target.fill(to, |value| {
            narrow(value, f16::from_f64, f16::is_infinite).map(f16::to_ne_bytes)
        }),
        DType::BF16 => target.fill(to, |value| {
            narrow(value, bf16::from_f64, bf16::is_infinite).map(bf16::to_ne_bytes)
        }),
        DType::F32 => target.fill(to, |value| float(value, f32::is_finite).map(f32::to_ne_bytes)),
        DType::F64 => target.fill(to, |value| float(value, f64::is_finite).map(f64::to_ne_bytes)),
        DType::String => Err("is text".to_owned()),
    }
}

/// Elements that are text.
pub(crate) fn strings<'a>(elements: &[&'a Value]) -> Result<Vec<&'a str>, String> {
    let text =
        |(at, value): (usize, &&'a Value)| value.as_str().ok_or_else(|| misfit(at, value, DType::String));
    elements.iter().enumerate().map(text).collect()
}

struct Target<'a> {
    elements: &'a [&'a Value],
    dtype: DType,
}

impl Target<'_> {
    fn fill<const N: usize>(
        &self,
        to: &mut [u8],
        read: impl Fn(&Value) -> Option<[u8; N]>,
    ) -> Result<(), String> {
        for (at, (value, place)) in self.elements.iter().zip(to.as_chunks_mut().0).enumerate() {
            *place = read(value).ok_or_else(|| misfit(at, value, self.dtype))?;
        }
        Ok(())
    }
}

fn misfit(at: usize, value: &Value, dtype: DType) -> String {
    let shown: String = value.to_string().chars().take(40).collect();
    format!("element {at}: {shown} does not fit {dtype}")
}

fn truth(value: &Value) -> Option<bool> {
    value.as_bool().or(match value.as_u64() {
        Some(0) => Some(false),
        Some(1) => Some(true),
        _ => None,
    })
}

/// A float without a fraction, as 3.0, is whole too.
fn whole<T: TryFrom<i128>>(value: &Value) -> Option<T> {
    let Value::Number(number) = value else { return None };
    let exact = number
        .as_i64()
        .map(i128::from)
        .or(number.as_u64().map(i128::from));
    let whole = exact.or_else(|| {
        let float = number.as_f64()?;
        // Beyond, not every integer has a float, and the text may mean another one.
        let is_sure = float.fract() == 0.0 && float.abs() <= (1_u64 << f64::MANTISSA_DIGITS) as f64;
        is_sure.then_some(float as i128)
    })?;
    T::try_from(whole).ok()
}

/// From the number's text: rounded once, not to a double first.
fn float<T: std::str::FromStr + Copy>(value: &Value, is_finite: fn(T) -> bool) -> Option<T> {
    match value {
        Value::Number(number) => number.to_string().parse().ok().filter(|float| is_finite(*float)),
        // JSON has no number for these.
        Value::String(text) if ["NaN", "Infinity", "-Infinity"].contains(&text.as_str()) => text.parse().ok(),
        _ => None,
    }
}

fn narrow<T: Copy>(value: &Value, from: fn(f64) -> T, is_infinite: fn(T) -> bool) -> Option<T> {
    let wide = float::<f64>(value, f64::is_finite)?;
    let narrow = from(wide);
    (wide.is_infinite() || !is_infinite(narrow)).then_some(narrow)
}

/// Little-endian elements of any type but text as JSON: floats with the fewest digits that read back as the same value.
pub(crate) fn values(dtype: DType, data: &[u8]) -> Vec<Value> {
    fn each<const N: usize>(data: &[u8], value: impl Fn([u8; N]) -> Value) -> Vec<Value> {
        data.as_chunks().0.iter().map(|chunk| value(*chunk)).collect()
    }
    match dtype {
        DType::Bool => each(data, |[b]: [u8; 1]| Value::Bool(b != 0)),
        DType::U8 => each(data, |[b]: [u8; 1]| b.into()),
        DType::U16 => each(data, |b| u16::from_le_bytes(b).into()),
        DType::U32 => each(data, |b| u32::from_le_bytes(b).into()),
        DType::U64 => each(data, |b| u64::from_le_bytes(b).into()),
        DType::I8 => each(data, |b| i8::from_le_bytes(b).into()),
        DType::I16 => each(data, |b| i16::from_le_bytes(b).into()),
        DType::I32 => each(data, |b| i32::from_le_bytes(b).into()),
        DType::I64 => each(data, |b| i64::from_le_bytes(b).into()),
        DType::F16 => each(data, |b| number(shortest(f16::from_le_bytes(b).to_f32()))),
        DType::BF16 => each(data, |b| number(shortest(bf16::from_le_bytes(b).to_f32()))),
        DType::F32 => each(data, |b| number(shortest(f32::from_le_bytes(b)))),
        DType::F64 => each(data, |b| number(f64::from_le_bytes(b))),
        DType::String => Vec::new(),
    }
}

/// JSON has no number for these; the daemon reads and writes them as text.
fn number(x: f64) -> Value {
    match Number::from_f64(x) {
        Some(number) => Value::Number(number),
        None if x.is_nan() => "NaN".into(),
        None if x > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

/// The shortest number that reads back as the same `f32`: 0.1, not 0.10000000149011612.
fn shortest(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn info(dtype: DType, dims: &[Option<u64>]) -> TensorInfo {
        TensorInfo {
            name: "x".to_owned(),
            dtype,
            dims: dims.to_vec(),
        }
    }

    #[test]
    fn lists_have_the_shape_that_the_declaration_gives_them() {
        let (image, any) = (
            [None, Some(2), Some(2)].as_slice(),
            [None, None, Some(2)].as_slice(),
        );
        for (dims, value, expect) in [
            (image, json!([[[1, 2], [3, 4]]]), Ok(&[1, 2, 2][..])),
            (image, json!([[1, 2], [3, 4]]), Ok(&[1, 2, 2])),
            (image, json!([1, 2, 3, 4, 5, 6, 7, 8]), Ok(&[2, 2, 2])),
            (any, json!([1, 2, 3, 4]), Ok(&[1, 2, 2])),
            (&[], json!(7), Ok(&[])),
            (&[None], json!(7), Ok(&[1])),
            (&[None], json!([]), Ok(&[0])),
            (&[Some(1), Some(1)], json!(7), Ok(&[1, 1])),
            (
                image,
                json!([1, 2, 3]),
                Err("got 3 elements, expected float32 [?, 2, 2]: the number must be a multiple of 4"),
            ),
            (
                &[Some(2)],
                json!([1, 2, 3]),
                Err("got the shape [3], expected float32 [2]"),
            ),
            (
                &[Some(2), Some(2)],
                json!([1]),
                Err("got 1 element, expected float32 [2, 2]"),
            ),
            (
                &[None, None, None],
                json!([1]),
                Err(
                    "got 1 element, expected float32 [?, ?, ?]; several sizes are open, so give nested lists",
                ),
            ),
            (image, json!([[1, 2], [3]]), Err("its lists differ in length")),
            (image, json!([[1], 2]), Err("its lists differ in length")),
        ] {
            let given = given(&info(DType::F32, dims), &value).map(|given| given.dims);
            assert_eq!(given.as_deref().map_err(String::as_str), expect, "{value}");
        }
    }

    /// Every type, with its ends; what is written is read back.
    #[test]
    fn numbers_go_into_memory_and_come_back() {
        for (dtype, value) in [
            (DType::Bool, json!([true, false])),
            (DType::U8, json!([0, 255])),
            (DType::U16, json!([0, 65535])),
            (DType::U32, json!([0, u32::MAX])),
            (DType::U64, json!([0, u64::MAX])),
            (DType::I8, json!([-128, 127])),
            (DType::I16, json!([-32768, 32767])),
            (DType::I32, json!([i32::MIN, i32::MAX])),
            (DType::I64, json!([i64::MIN, i64::MAX])),
            (DType::F16, json!([0.5, 65504.0, "NaN", "-Infinity"])),
            (DType::BF16, json!([0.5, -2.0, "Infinity"])),
            (DType::F32, json!([0.1, -0.0, 1e-45, 3.4028235e38, "NaN"])),
            (
                DType::F64,
                json!([0.1, 5e-324, 1.7976931348623157e308, "Infinity"]),
            ),
        ] {
            let given = given(&info(dtype, &[None]), &value).unwrap();
            let mut bytes = vec![0; given.elements.len() * dtype.size_bytes().unwrap()];
            write(&given.elements, dtype, &mut bytes).unwrap();
            assert_eq!(json!(values(dtype, &bytes)), value, "{dtype}");
        }
    }

    /// Just below the middle between two floats, where the nearest double is the middle itself.
    #[test]
    fn a_float_is_rounded_once() {
        let value: Value = serde_json::from_str("1.934281657259858e25").unwrap();
        let mut bytes = [0; 4];
        write(&[&value], DType::F32, &mut bytes).unwrap();
        let written = f32::from_ne_bytes(bytes);
        assert_eq!(written, 1.934_281_5e25);
        assert_ne!(written, value.as_f64().unwrap() as f32);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (dtype, value, expect) in [
            (DType::U8, json!([1, 256]), "element 1: 256 does not fit uint8"),
            (DType::I64, json!([1.5]), "element 0: 1.5 does not fit int64"),
            (DType::I64, json!([1e300]), "element 0: 1e+300 does not fit int64"),
            (
                DType::F32,
                json!(["one"]),
                "element 0: \"one\" does not fit float32",
            ),
            (DType::F32, json!([1e39]), "element 0: 1e+39 does not fit float32"),
            (
                DType::F16,
                json!([65520.0]),
                "element 0: 65520.0 does not fit float16",
            ),
            (DType::Bool, json!([2]), "element 0: 2 does not fit bool"),
            (DType::F32, json!([null]), "element 0: null does not fit float32"),
        ] {
            let elements: Vec<&Value> = value.as_array().unwrap().iter().collect();
            let mut bytes = vec![0; 8 * elements.len()];
            assert_eq!(write(&elements, dtype, &mut bytes), Err(expect.to_owned()));
        }
        assert_eq!(
            strings(&[&json!("a"), &json!(1)]),
            Err("element 1: 1 does not fit string".to_owned())
        );
        let mut bytes = [0; 16];
        write(&[&json!(3.0), &json!(1e3)], DType::I64, &mut bytes).unwrap();
        assert_eq!(values(DType::I64, &bytes), [json!(3), json!(1000)]);
    }
}
