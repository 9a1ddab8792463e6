//! Inputs that do not lie in one piece, as a view of a larger tensor may not.

use mlos_smi::TensorRef;

/// A copy in C order of a tensor with strides; `None` if it is in C order already.
pub(crate) fn copy(tensor: &TensorRef, element_bytes: usize) -> Result<Option<Vec<u64>>, String> {
    let Some(strides) = tensor.strides() else {
        return Ok(None);
    };
    let shape = tensor.shape();
    if is_c_order(shape, strides, element_bytes) {
        return Ok(None);
    }
    let data = tensor.data().map_err(|e| e.message)?;
    gather(data, shape, strides, element_bytes).map(Some)
}

fn is_c_order(shape: &[i64], strides: &[i64], element_bytes: usize) -> bool {
    let mut expect = element_bytes as i64;
    for (size, stride) in shape.iter().zip(strides).rev() {
        if *size > 1 && *stride != expect {
            return false;
        }
        expect *= size;
    }
    true
}

/// Collects the elements; words, so that every element type is aligned.
fn gather(data: &[u8], shape: &[i64], strides: &[i64], element_bytes: usize) -> Result<Vec<u64>, String> {
    let count: i64 = shape.iter().product();
    let mut bytes = Vec::with_capacity(count as usize * element_bytes);
    let mut index = vec![0_i64; shape.len()];
    for _ in 0..count {
        let at: i64 = index
            .iter()
            .zip(strides)
            .map(|(index, stride)| index * stride)
            .sum();
        let element = usize::try_from(at)
            .ok()
            .and_then(|at| data.get(at..at.checked_add(element_bytes)?));
        bytes.extend_from_slice(element.ok_or("has strides that lead outside of its data")?);
        advance(&mut index, shape);
    }
    Ok(words(&bytes))
}

/// The next index in C order.
fn advance(index: &mut [i64], shape: &[i64]) {
    for (place, size) in index.iter_mut().zip(shape).rev() {
        *place += 1;
        if *place < *size {
            return;
        }
        *place = 0;
    }
}

fn words(bytes: &[u8]) -> Vec<u64> {
    let word = |chunk: &[u8]| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_ne_bytes(word)
    };
    // One more, so that an empty tensor has an address too.
    bytes.chunks(8).map(word).chain([0]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_gathered_in_c_order() {
        let data: Vec<u8> = (0..12).collect();
        let cases: [(&[i64], &[i64], &[u8]); 4] = [
            (&[3, 2], &[2, 6], &[0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11]),
            (&[2, 2], &[8, 4], &[0, 1, 4, 5, 8, 9, 12, 13]),
            (&[2], &[0], &[0, 1, 0, 1]),
            (&[0, 2], &[2, 2], &[]),
        ];
        for (shape, strides, expect) in cases {
            match gather(&data, shape, strides, 2) {
                Ok(words) => assert_eq!(
                    &words
                        .iter()
                        .flat_map(|word| word.to_ne_bytes())
                        .collect::<Vec<_>>()[..expect.len()],
                    expect
                ),
                Err(error) => assert!(
                    error.contains("outside") && expect.contains(&13),
                    "{shape:?} {strides:?}"
                ),
            }
        }
        assert!(gather(&data, &[2], &[-2], 2).is_err());
    }

    #[test]
    fn c_order_is_recognised() {
        let cases: [(&[i64], &[i64], bool); 5] = [
            (&[2, 3], &[12, 4], true),
            (&[2, 1], &[4, 999], true),
            (&[2, 3], &[4, 8], false),
            (&[2, 3], &[16, 4], false),
            (&[], &[], true),
        ];
        for (shape, strides, expect) in cases {
            assert_eq!(is_c_order(shape, strides, 4), expect, "{shape:?} {strides:?}");
        }
    }
}
