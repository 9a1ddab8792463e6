//! NumPy's `.npy` files as JSON arrays.

use mlos_client::DType;
use serde_json::Value;

use crate::tensor;

/// Reads a whole file; the error says what is wrong with it.
pub(crate) fn read(bytes: &[u8]) -> Result<Value, String> {
    let (header, data) = split(bytes).ok_or("it is cut, or is no .npy file")?;
    let descr = quoted(header, "'descr':").ok_or("its header has no element type")?;
    if field(header, "'fortran_order':").is_some_and(|text| text.starts_with("True")) {
        return Err("it is in Fortran order; save it with numpy.ascontiguousarray".into());
    }
    let shape = shape(header).ok_or("its header has no shape")?;
    let count = shape
        .iter()
        .try_fold(1_usize, |count, &dim| count.checked_mul(dim))
        .ok_or("its shape is too large")?;
    let flat = elements(descr, data)?;
    if flat.len() != count {
        return Err(format!(
            "its shape has {count} elements and its data {}",
            flat.len()
        ));
    }
    Ok(nested(flat, &shape))
}

fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    let (&[major, _minor], rest) = rest.split_first_chunk()?;
    let (len, rest) = if major == 1 {
        let (len, rest) = rest.split_first_chunk()?;
        (usize::from(u16::from_le_bytes(*len)), rest)
    } else {
        let (len, rest) = rest.split_first_chunk()?;
        (usize::try_from(u32::from_le_bytes(*len)).ok()?, rest)
    };
    let (header, data) = rest.split_at_checked(len)?;
    Some((std::str::from_utf8(header).ok()?, data))
}

fn field<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    header.split_once(key).map(|(_, rest)| rest.trim_start())
}

fn quoted<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    field(header, key)?.strip_prefix('\'')?.split('\'').next()
}

fn shape(header: &str) -> Option<Vec<usize>> {
    let inside = field(header, "'shape':")?.strip_prefix('(')?.split(')').next()?;
    inside
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(|text| text.parse().ok())
        .collect()
}

fn elements(descr: &str, data: &[u8]) -> Result<Vec<Value>, String> {
    let dtype = match descr {
        "<f4" => DType::F32,
        "<f8" => DType::F64,
        "<f2" => DType::F16,
        "|b1" => DType::Bool,
        "|u1" => DType::U8,
        "|i1" => DType::I8,
        "<u2" => DType::U16,
        "<i2" => DType::I16,
        "<u4" => DType::U32,
        "<i4" => DType::I32,
        "<u8" => DType::U64,
        "<i8" => DType::I64,
        other => {
            return Err(format!(
                "its element type `{other}` is not supported; convert it with .astype first"
            ));
        }
    };
    Ok(tensor::values(dtype, data))
}

fn nested(flat: Vec<Value>, shape: &[usize]) -> Value {
    let Some((_, inner)) = shape.split_first() else {
        return flat.into_iter().next().unwrap_or(Value::Null);
    };
    if inner.is_empty() {
        return Value::Array(flat);
    }
    let row_len: usize = inner.iter().product();
    let mut rest = flat.into_iter();
    let row = |_| nested(rest.by_ref().take(row_len).collect(), inner);
    Value::Array((0..shape[0]).map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn arrays_are_read() {
        let floats: Vec<u8> = [0.1_f32, -2.0, f32::NAN, 4.0]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        assert_eq!(
            read(&npy("<f4", "(2, 2)", &floats)),
            Ok(json!([[0.1, -2.0], ["NaN", 4.0]]))
        );
        let ints: Vec<u8> = [1_i64, -1].iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(read(&npy("<i8", "(2,)", &ints)), Ok(json!([1, -1])));
        assert_eq!(read(&npy("|b1", "()", &[1])), Ok(json!(true)));
        assert_eq!(read(&npy("|u1", "(1, 0)", &[])), Ok(json!([[]])));
        assert_eq!(read(&npy("<f2", "(1,)", &[0, 0x3c])), Ok(json!([1.0])));
    }

    #[test]
    fn damaged_files_are_refused() {
        for bytes in [
            vec![],
            b"PK\x03\x04".to_vec(),
            b"\x93NUMPY\x01\x00\xff\xff{".to_vec(),
            npy("<f4", "(3,)", &[0; 8]),
            npy(">f4", "(1,)", &[0; 4]),
            npy("<c8", "(1,)", &[0; 8]),
            npy("<f4", "(99999999999, 99999999999)", &[]),
        ] {
            assert!(read(&bytes).is_err(), "{bytes:?}");
        }
    }
}
