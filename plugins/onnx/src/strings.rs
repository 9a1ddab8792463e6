//! Text tensors: the interface packs them (per element a little-endian `u32` length and the bytes), ONNX Runtime has
//! objects.

/// The texts of a packed tensor of `count` elements.
pub(crate) fn unpack(mut packed: &[u8], count: usize) -> Result<Vec<&[u8]>, String> {
    // Bounded by what is there: each element takes four bytes at least.
    if packed.len() / 4 < count {
        return Err(format!("{count} texts do not fit into {} bytes", packed.len()));
    }
    let mut texts = Vec::with_capacity(count);
    for index in 0..count {
        let short = || format!("text {index} of {count} ends beyond the tensor");
        let (length, rest) = packed.split_first_chunk::<4>().ok_or_else(short)?;
        let (text, rest) = rest
            .split_at_checked(u32::from_le_bytes(*length) as usize)
            .ok_or_else(short)?;
        texts.push(text);
        packed = rest;
    }
    if packed.is_empty() {
        Ok(texts)
    } else {
        Err(format!("{} bytes follow the last text", packed.len()))
    }
}

/// Packs texts given one after the other, with where each begins.
pub(crate) fn pack(text: &[u8], starts: &[usize]) -> Result<Vec<u8>, String> {
    let mut packed = Vec::with_capacity(text.len() + 4 * starts.len());
    for (index, start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(text.len());
        let one = &text[*start..end];
        let length = u32::try_from(one.len()).map_err(|_| format!("text {index} is longer than 4 GiB"))?;
        packed.extend(length.to_le_bytes());
        packed.extend_from_slice(one);
    }
    Ok(packed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_survive_packing() {
        let texts: [&[u8]; 4] = [b"", b"a\0b", "ü".as_bytes(), b""];
        let mut starts = Vec::new();
        let mut all = Vec::new();
        for text in texts {
            starts.push(all.len());
            all.extend_from_slice(text);
        }
        assert_eq!(unpack(&pack(&all, &starts).unwrap(), 4).unwrap(), texts);
        assert_eq!(pack(&[], &[]).unwrap(), b"");
    }

    #[test]
    fn damaged_tensors_are_refused() {
        let cases: [(&[u8], usize); 5] = [
            (b"", 1),
            (b"\x02\0\0\0a", 1),
            (b"\x01\0\0\0ab", 1),
            (b"\xff\xff\xff\xff", 1),
            (b"\0\0\0\0", 2),
        ];
        for (packed, count) in cases {
            assert!(unpack(packed, count).is_err(), "{packed:?}");
        }
        assert!(unpack(b"", usize::MAX).is_err());
    }
}
