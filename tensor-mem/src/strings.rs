//! String tensors: elements of any length, packed as the Open Inference Protocol's `BYTES`.

use std::ops::Range;

use crate::tensor::Tensor;
use crate::{DType, Error, Pool, Shape};

const LEN_BYTES: usize = size_of::<u32>();

/// The elements of a string tensor, in order. Cheap to clone and to restart.
#[derive(Clone, Debug)]
pub struct Strings<'a> {
    rest: &'a [u8],
    remaining: usize,
}

impl<'a> Strings<'a> {
    /// Checks that the bytes are exactly `elements` strings.
    pub(crate) fn parse(bytes: &'a [u8], elements: usize) -> Result<Self, Error> {
        let mut rest = bytes;
        for element in 0..elements {
            let at = bytes.len() - rest.len();
            let malformed = |problem| Error::Strings { element, at, problem };
            let (len, after) = split_len(rest).ok_or_else(|| malformed("its length is cut off"))?;
            rest = after
                .get(len..)
                .ok_or_else(|| malformed("its length reaches past the end"))?;
        }
        if rest.is_empty() {
            return Ok(Self {
                rest: bytes,
                remaining: elements,
            });
        }
        Err(Error::Strings {
            element: elements,
            at: bytes.len() - rest.len(),
            problem: "bytes follow the last element",
        })
    }

    /// Where elements of this list lie in its bytes, lengths included.
    pub(crate) fn byte_range(&self, elements: Range<usize>) -> Range<usize> {
        let total = self.rest.len();
        let mut walk = self.clone();
        walk.by_ref().take(elements.start).for_each(drop);
        let start = total - walk.rest.len();
        walk.by_ref().take(elements.len()).for_each(drop);
        start..total - walk.rest.len()
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.remaining = self.remaining.checked_sub(1)?;
        let (len, after) = split_len(self.rest)?;
        let (element, rest) = after.split_at_checked(len)?;
        self.rest = rest;
        Some(element)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl ExactSizeIterator for Strings<'_> {}

fn split_len(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<LEN_BYTES>()?;
    Some((u32::from_le_bytes(*len) as usize, rest))
}

/// Packs strings into a tensor.
pub(crate) fn write<'a>(
    pool: &Pool,
    shape: Shape,
    elements: impl Iterator<Item = &'a [u8]> + Clone,
) -> Result<Tensor, Error> {
    let expected = shape.elements()?;
    let (mut count, mut byte_len) = (0_usize, 0_usize);
    for element in elements.clone() {
        if u32::try_from(element.len()).is_err() {
            return Err(Error::Strings {
                element: count,
                at: byte_len,
                problem: "it is longer than 4 GiB",
            });
        }
        count += 1;
        byte_len += LEN_BYTES + element.len();
    }
    if count != expected {
        return Err(Error::ElementsMismatch {
            from: count,
            to: expected,
        });
    }
    let mut tensor = pool.loan_bytes(DType::String, shape, byte_len)?.zeroed();
    let mut rest = tensor.bytes_mut();
    for element in elements {
        // An iterator whose second walk differs from its first runs out of room here, and is refused below.
        let Some((slot, after)) = rest.split_at_mut_checked(LEN_BYTES + element.len()) else {
            break;
        };
        let (len, body) = slot.split_at_mut(LEN_BYTES);
        len.copy_from_slice(&(element.len() as u32).to_le_bytes());
        body.copy_from_slice(element);
        rest = after;
    }
    let tensor = tensor.freeze();
    tensor.strings()?;
    Ok(tensor)
}
