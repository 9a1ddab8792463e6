//! A bound on what YAML aliases multiply.
//!
//! `*alias` repeats a whole subtree, and subtrees hold aliases, so a few kilobytes can stand for terabytes. The
//! parser bounds how many aliases it follows, but not how much each one repeats. Without aliases a document has no
//! more nodes than bytes, so one walk that counts, and keeps nothing, tells whether it is safe to keep.

use serde::de::{
    Deserialize as _, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};
use std::{cell::Cell, fmt};

/// How many times longer than written a manifest may be once its aliases are followed.
const EXPANSION_MAX: u64 = 4;

/// Walks `text` with its aliases followed; an error when they multiply, or when it is no YAML.
pub(super) fn check(text: &str) -> Result<(), serde_norway::Error> {
    let left = Cell::new(EXPANSION_MAX * text.len() as u64 + 256);
    Count(&left).deserialize(serde_norway::Deserializer::from_str(text))
}

/// Counts one node and everything below it.
#[derive(Clone, Copy)]
struct Count<'a>(&'a Cell<u64>);

impl Count<'_> {
    fn take<E: Error>(self, cost: usize) -> Result<(), E> {
        let left = self.0.get().checked_sub(1 + cost as u64);
        self.0
            .set(left.ok_or_else(|| E::custom("its aliases repeat too much; write it without `*`"))?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Count<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Count<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.take(0)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.take(0)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.take(0)
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<(), E> {
        self.take(0)
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<(), E> {
        self.take(0)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.take(0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.take(text.len())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.take(0)
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.take(0)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.deserialize(from)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.take(0)?;
        while seq.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.take(0)?;
        while map.next_entry_seed(self, self)?.is_some() {}
        Ok(())
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<(), A::Error> {
        let (tag, content) = tagged.variant_seed(Tag)?;
        self.take(tag.len())?;
        content.newtype_variant_seed(self)
    }
}

/// The name of a tag, `!like-this`.
struct Tag;

impl<'de> DeserializeSeed<'de> for Tag {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<String, D::Error> {
        String::deserialize(from)
    }
}
