//! String tensors, honest and lying.
#![cfg(not(loom))]
#![expect(
    clippy::unwrap_used,
    reason = "a test's own helpers, where a panic is the message"
)]

use mlos_tensor_mem::{DType, Error, Pool, PoolConfig, Shape, Tensor};
use proptest::prelude::*;

fn pool() -> Pool {
    Pool::new(PoolConfig::default()).unwrap()
}

fn shape(dims: &[usize]) -> Shape {
    Shape::new(dims).unwrap()
}

fn raw(dims: &[usize], bytes: &[u8]) -> Tensor {
    pool()
        .loan_bytes(DType::String, shape(dims), bytes.len())
        .unwrap()
        .copy_from(bytes)
        .unwrap()
        .freeze()
}

#[test]
fn packed_as_the_protocol_says() {
    let tensor = Tensor::from_strings(&pool(), shape(&[2, 2]), [&b"a"[..], b"", b"\0\xff", b"long"]).unwrap();
    assert_eq!(
        tensor.bytes().unwrap(),
        b"\x01\0\0\0a\0\0\0\0\x02\0\0\0\0\xff\x04\0\0\0long"
    );
    let strings = tensor.strings().unwrap();
    assert_eq!(strings.len(), 4);
    assert_eq!(strings.collect::<Vec<_>>(), [&b"a"[..], b"", b"\0\xff", b"long"]);
    let second = tensor.rows(1..2).unwrap();
    assert_eq!(second.shape().dims(), [1, 2]);
    assert_eq!(
        second.strings().unwrap().collect::<Vec<_>>(),
        [&b"\0\xff"[..], b"long"]
    );
    assert_eq!(tensor.rows(2..2).unwrap().strings().unwrap().count(), 0);
}

#[test]
fn as_many_as_the_shape_says() {
    let pool = pool();
    for (dims, given) in [(&[3][..], 2), (&[1], 2), (&[0], 1), (&[], 0)] {
        let error = Tensor::from_strings(&pool, shape(dims), vec![&b"x"[..]; given]).unwrap_err();
        assert!(
            matches!(error, Error::ElementsMismatch { from, .. } if from == given),
            "{dims:?}"
        );
    }
    assert_eq!(
        Tensor::from_strings(&pool, shape(&[0, 5]), [])
            .unwrap()
            .strings()
            .unwrap()
            .len(),
        0
    );
    let scalar = Tensor::from_strings(&pool, Shape::SCALAR, [&b"one"[..]]).unwrap();
    assert_eq!(scalar.strings().unwrap().next().unwrap(), b"one");
}

#[test]
fn lies_are_found_at_the_door() {
    for (elements, bytes, at_element, problem) in [
        (1, &b"\x05\0\0\0abcd"[..], 0, "its length reaches past the end"),
        (1, b"\xff\xff\xff\xffabcd", 0, "its length reaches past the end"),
        (1, b"\x03\0\0\0abcd", 1, "bytes follow the last element"),
        (2, b"\x04\0\0\0abcd", 1, "its length is cut off"),
        (2, b"\x02\0\0\0ab\x01\0\0", 1, "its length is cut off"),
        (2, b"\x01\0\0\0ab\0\0\0", 1, "its length reaches past the end"),
    ] {
        let tensor = raw(&[elements], bytes);
        match tensor.strings() {
            Err(Error::Strings {
                element, problem: p, ..
            }) => assert_eq!((element, p), (at_element, problem)),
            other => panic!("{bytes:?}: {other:?}"),
        }
        assert!(tensor.rows(0..1).is_err(), "no view of what cannot be walked");
    }
}

#[test]
fn the_length_in_bytes_must_be_possible() {
    let pool = pool();
    assert!(matches!(
        pool.loan(DType::String, shape(&[2])),
        Err(Error::StringsNeedByteLen)
    ));
    for (dims, byte_len, expected) in [
        (&[2][..], 7, 8),
        (&[0], 1, 0),
        (&[], 3, 4),
        (&[1 << 45], 1 << 20, 1 << 47),
    ] {
        let error = pool.loan_bytes(DType::String, shape(dims), byte_len).unwrap_err();
        assert!(
            matches!(error, Error::SizeMismatch { expected: e, got } if (e, got) == (expected, byte_len))
        );
    }
    let huge = pool
        .loan_bytes(DType::String, shape(&[1]), usize::MAX)
        .unwrap_err();
    assert!(matches!(huge, Error::ShapeOverflow { .. }));
    assert_eq!(
        raw(&[3], &[0; 12]).strings().unwrap().collect::<Vec<_>>(),
        [b""; 3]
    );
}

#[test]
fn an_iterator_that_changes_its_mind_is_refused() {
    // The first walk counts four bytes of text, the walk of the clone yields other lengths.
    #[derive(Debug)]
    struct Liar(bool, usize);
    impl Clone for Liar {
        fn clone(&self) -> Self {
            Self(false, self.1)
        }
    }
    impl Iterator for Liar {
        type Item = &'static [u8];
        fn next(&mut self) -> Option<Self::Item> {
            self.1 = self.1.checked_sub(1)?;
            Some(if self.0 { b"four, and more" } else { b"four" })
        }
    }
    assert!(Tensor::from_strings(&pool(), shape(&[3]), Liar(true, 3)).is_err());
    assert!(Tensor::from_strings(&pool(), shape(&[3]), Liar(false, 3)).is_ok());
}

proptest! {
    #[test]
    fn any_strings_round_trip(texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
        let tensor = Tensor::from_strings(&pool(), shape(&[texts.len()]), texts.iter().map(Vec::as_slice)).unwrap();
        prop_assert_eq!(tensor.strings().unwrap().collect::<Vec<_>>(), texts.clone());
        for (row, text) in texts.iter().enumerate() {
            let view = tensor.rows(row..row + 1).unwrap();
            prop_assert_eq!(view.strings().unwrap().next().unwrap(), &text[..]);
        }
    }

    #[test]
    fn any_bytes_are_read_whole_or_refused(bytes in prop::collection::vec(0_u8..6, 0..64), elements in 0_usize..8) {
        let loan = pool().loan_bytes(DType::String, shape(&[elements]), bytes.len());
        let Ok(loan) = loan else { return Ok(()) };
        let tensor = loan.copy_from(&bytes).unwrap().freeze();
        if let Ok(strings) = tensor.strings() {
            prop_assert_eq!(strings.clone().count(), elements);
            prop_assert_eq!(strings.map(|s| s.len() + 4).sum::<usize>(), bytes.len());
        }
    }
}
