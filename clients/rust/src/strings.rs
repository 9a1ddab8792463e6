//! String tensors: each element is a little-endian `u32` length and that many bytes, packed.

const LEN_BYTES: usize = size_of::<u32>();

/// Bytes that these strings take.
pub(crate) fn packed_len<S: AsRef<[u8]>>(strings: &[S]) -> usize {
    strings
        .iter()
        .map(|string| LEN_BYTES + string.as_ref().len())
        .sum()
}

/// Packs strings to the start of `into`, which has room for them.
pub(crate) fn pack<S: AsRef<[u8]>>(strings: &[S], into: &mut [u8]) {
    let mut rest = into;
    for string in strings.iter().map(AsRef::as_ref) {
        let (slot, after) = rest.split_at_mut(LEN_BYTES + string.len());
        let (len, body) = slot.split_at_mut(LEN_BYTES);
        // A string of 4 GiB does not fit an arena's loan of strings; the room was checked before.
        len.copy_from_slice(&(string.len() as u32).to_le_bytes());
        body.copy_from_slice(string);
        rest = after;
    }
}

/// The first `elements` strings of packed bytes, where they lie.
pub(crate) fn unpack(bytes: &[u8], elements: usize) -> Result<Vec<&[u8]>, &'static str> {
    let mut rest = bytes;
    let mut strings = Vec::new();
    for _ in 0..elements {
        let (len, after) = rest
            .split_first_chunk::<LEN_BYTES>()
            .ok_or("a string's length is cut off")?;
        let len = u32::from_le_bytes(*len) as usize;
        let (string, after) = after
            .split_at_checked(len)
            .ok_or("a string reaches past the end")?;
        strings.push(string);
        rest = after;
    }
    Ok(strings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_round_trip() {
        for strings in [&[][..], &["", "a", "ünï", ""]] {
            let mut bytes = vec![0xff; packed_len(strings) + 3];
            pack(strings, &mut bytes);
            let back = unpack(&bytes, strings.len()).unwrap();
            assert_eq!(
                back,
                strings.iter().map(|string| string.as_bytes()).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        for (bytes, elements) in [
            (&[][..], 1),
            (&[1, 0, 0], 1),
            (&[1, 0, 0, 0], 1),
            (&[0, 0, 0, 0], 2),
        ] {
            assert!(unpack(bytes, elements).is_err(), "{bytes:?}");
        }
        assert!(unpack(&[255, 255, 255, 255, 1], 1).is_err());
    }
}
