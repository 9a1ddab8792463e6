//! The first walk: where things are, how deep, and how many.

use std::borrow::Cow;
use std::ops::Range;

use mlos_api::limits::BREATHE_BYTES;
use mlos_tensor_mem::limits::RANK_MAX;

use super::{Cursor, Fault};

/// Bytes looked at together where a text is mostly numbers; a multiple of every vector register.
const CHUNK_BYTES: usize = 64;

/// Objects and arrays inside each other where no tensor is expected. Such a value is refused anyway; this only bounds
/// how it is walked.
const NESTING_MAX: usize = 64;

/// A member of an object.
#[derive(Debug)]
pub(crate) struct Member<'a> {
    pub(crate) key: Cow<'a, str>,
    pub(crate) value: Value,
    /// Where the value lies in the text.
    pub(crate) span: Range<usize>,
}

/// What a value looks like from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text,
    Array(Outline),
    Object,
    /// A number, `true`, `false`, `null`, or what is none of them: the second walk will say.
    Scalar,
}

/// The members of the object at the cursor, at most `members_max`.
pub(crate) async fn members<'a>(
    cursor: &mut Cursor<'a>,
    members_max: usize,
    breathe: &impl AsyncFn(),
) -> Result<Vec<Member<'a>>, Fault> {
    let mut members = Vec::new();
    cursor.expect(b'{')?;
    if cursor.take(b'}') {
        return Ok(members);
    }
    loop {
        if members.len() == members_max {
            return Err(Fault::new(
                cursor.at,
                format!("the object has more than {members_max} members"),
            ));
        }
        let key = cursor.string()?;
        cursor.expect(b':')?;
        let start = cursor.at;
        let value = skip(cursor, breathe).await?;
        members.push(Member {
            key,
            value,
            span: start..cursor.at,
        });
        cursor.skip_space();
        if cursor.take(b'}') {
            return Ok(members);
        }
        cursor.expect(b',')?;
    }
}

/// Steps over a value.
async fn skip(cursor: &mut Cursor<'_>, breathe: &impl AsyncFn()) -> Result<Value, Fault> {
    match cursor.peek() {
        Some(b'"') => cursor.skip_string().map(|_| Value::Text),
        Some(b'[') => Outline::read(cursor, breathe).await.map(Value::Array),
        Some(b'{') => skip_object(cursor).map(|()| Value::Object),
        _ => skip_scalar(cursor).map(|()| Value::Scalar),
    }
}

fn skip_scalar(cursor: &mut Cursor<'_>) -> Result<(), Fault> {
    let start = cursor.at;
    while cursor
        .peek()
        .is_some_and(|byte| !matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'))
    {
        cursor.at += 1;
    }
    if cursor.at == start {
        return Err(cursor.unexpected("a value"));
    }
    Ok(())
}

fn skip_object(cursor: &mut Cursor<'_>) -> Result<(), Fault> {
    let (start, mut depth) = (cursor.at, 0);
    while let Some(byte) = cursor.peek() {
        match byte {
            b'"' => {
                cursor.skip_string()?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        cursor.at += 1;
        if depth == 0 {
            return Ok(());
        }
        if depth > NESTING_MAX {
            return Err(Fault::new(
                cursor.at,
                format!("nested deeper than {NESTING_MAX} levels"),
            ));
        }
    }
    Err(Fault::new(start, "the object does not end"))
}

/// How an array is nested, and how much it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outline {
    /// Arrays at each depth; the first is the outermost, and one.
    arrays: [usize; RANK_MAX],
    /// Elements that are no arrays.
    scalars: usize,
    /// The first of them is a string.
    first_is_text: bool,
}

impl Outline {
    /// How deep it is nested; 1 for a flat list.
    pub(crate) fn depth(&self) -> usize {
        self.arrays.iter().take_while(|arrays| **arrays > 0).count()
    }

    /// Elements that are no arrays.
    pub(crate) const fn scalars(&self) -> usize {
        self.scalars
    }

    /// Whether it holds strings, by the first one.
    pub(crate) const fn is_text(&self) -> bool {
        self.first_is_text
    }

    /// The sizes of its dimensions, as far as a regular array has them; whether it is one, the second walk finds.
    pub(crate) fn dims(&self) -> Option<Vec<usize>> {
        let depth = self.depth();
        let inner = self.arrays[1..depth].iter().copied().chain([self.scalars]);
        self.arrays
            .iter()
            .zip(inner)
            .map(|(outer, inner)| (inner % outer == 0).then_some(inner / outer))
            .collect()
    }

    /// Steps over the array at the cursor.
    async fn read(cursor: &mut Cursor<'_>, breathe: &impl AsyncFn()) -> Result<Self, Fault> {
        let mut walk = Walk {
            start: cursor.at,
            just_opened: true,
            ..Walk::default()
        };
        // This walk takes a tenth of the second one's time for the same bytes.
        while !walk.go_to(cursor, cursor.at + 8 * BREATHE_BYTES)? {
            breathe().await;
        }
        Ok(walk.finish())
    }
}

/// The commas in a chunk of nothing but numbers, commas and space; none for any other chunk.
///
/// No branch depends on a byte and no sum is checked, so the compiler turns it into vector instructions.
#[inline]
fn commas_of_numbers(chunk: &[u8; CHUNK_BYTES]) -> Option<usize> {
    let (mut commas, mut others) = (0_u8, 0_u8);
    for byte in chunk {
        commas = commas.wrapping_add(u8::from(*byte == b','));
        // All brackets, braces and quotes, and nothing that a number is made of.
        others |= u8::from(*byte | 0x20 == b'{') | u8::from(*byte | 0x20 == b'}') | u8::from(*byte == b'"');
    }
    (others == 0).then_some(usize::from(commas))
}

/// What [`Outline::read`] has seen so far.
#[derive(Default)]
struct Walk {
    start: usize,
    depth: usize,
    arrays: [usize; RANK_MAX],
    commas: usize,
    empty: usize,
    texts: bool,
    /// Only space has followed the last opening bracket.
    just_opened: bool,
    seen_scalar: bool,
}

impl Walk {
    /// Walks on to `stop` or a little further; true at the end of the array.
    fn go_to(&mut self, cursor: &mut Cursor<'_>, stop: usize) -> Result<bool, Fault> {
        while cursor.at < stop {
            // Right after a bracket, space and elements must be told apart: byte by byte.
            let rest = if self.just_opened {
                &[]
            } else {
                &cursor.text[cursor.at..]
            };
            match rest.first_chunk::<CHUNK_BYTES>().and_then(commas_of_numbers) {
                Some(commas) => {
                    self.commas += commas;
                    cursor.at += CHUNK_BYTES;
                }
                None if self.chunk(cursor)? => return Ok(true),
                None => {}
            }
        }
        Ok(false)
    }

    /// Walks a chunk byte by byte; true at the end of the array.
    fn chunk(&mut self, cursor: &mut Cursor<'_>) -> Result<bool, Fault> {
        let end = (cursor.at + CHUNK_BYTES).min(cursor.text.len());
        while cursor.at < end {
            match cursor.text[cursor.at] {
                b'[' => self.open(cursor.at)?,
                b']' => {
                    self.empty += usize::from(self.just_opened);
                    self.just_opened = false;
                    self.depth -= 1;
                    if self.depth == 0 {
                        cursor.at += 1;
                        return Ok(true);
                    }
                }
                b',' => self.commas += 1,
                b'"' => {
                    self.scalar(true);
                    cursor.skip_string()?;
                    continue;
                }
                b' ' | b'\t' | b'\n' | b'\r' => {}
                b'{' | b'}' => {
                    return Err(Fault::new(
                        cursor.at,
                        "an array may hold numbers, strings and arrays only",
                    ));
                }
                _ => self.scalar(false),
            }
            cursor.at += 1;
        }
        if cursor.at >= cursor.text.len() {
            return Err(Fault::new(self.start, "the array does not end"));
        }
        Ok(false)
    }

    fn open(&mut self, at: usize) -> Result<(), Fault> {
        if self.depth == RANK_MAX {
            return Err(Fault::new(at, format!("nested deeper than {RANK_MAX} levels")));
        }
        self.arrays[self.depth] += 1;
        self.depth += 1;
        self.just_opened = true;
        Ok(())
    }

    fn scalar(&mut self, is_text: bool) {
        if !self.seen_scalar {
            self.seen_scalar = true;
            self.texts = is_text;
        }
        self.just_opened = false;
    }

    /// Every array that is not empty has one element more than commas; all elements but the scalars are arrays.
    fn finish(self) -> Outline {
        let arrays: usize = self.arrays.iter().sum();
        let elements = self.commas + (arrays - self.empty);
        Outline {
            arrays: self.arrays,
            scalars: elements.saturating_sub(arrays - 1),
            first_is_text: self.texts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breath::ready;

    fn outline(text: &str) -> Result<(Option<Vec<usize>>, usize), String> {
        let mut cursor = Cursor::new(text.as_bytes(), 0);
        let outline =
            ready(Outline::read(&mut cursor, &async || ())).map_err(|fault| fault.what.to_string())?;
        Ok((outline.dims(), cursor.at))
    }

    #[test]
    fn dims_of_arrays() {
        let long: String = (0..1000).map(|n| format!("{n}, ")).collect();
        for (text, dims) in [
            ("[]", Some(vec![0])),
            ("[ ]", Some(vec![0])),
            ("[1]", Some(vec![1])),
            ("[1, 2,3]", Some(vec![3])),
            ("[[]]", Some(vec![1, 0])),
            ("[[],[]]", Some(vec![2, 0])),
            ("[[1,2],[3,4],[5,6]]", Some(vec![3, 2])),
            ("[[[1],[2]]]", Some(vec![1, 2, 1])),
            ("[[1,2],[3]]", None),
            (r#"["a,]","b\"","c"]"#, Some(vec![3])),
            ("[[[[[[[[1]]]]]]]]", Some(vec![1; 8])),
            (&format!("[{long}1]"), Some(vec![1001])),
            (&format!("[[{long}1],\n\n[{long}2]]"), Some(vec![2, 1001])),
            (&format!("[{}]", " ".repeat(200)), Some(vec![0])),
            (
                &format!("[{}1{}]", " ".repeat(200), " ".repeat(200)),
                Some(vec![1]),
            ),
        ] {
            assert_eq!(outline(text).unwrap(), (dims, text.len()), "{text}");
        }
    }

    #[test]
    fn arrays_that_are_refused() {
        for (text, what) in [
            ("[", "does not end"),
            ("[1,2", "does not end"),
            ("[[1]", "does not end"),
            (r#"["abc]"#, "the string does not end"),
            (r#"["abc\"]"#, "the string does not end"),
            ("[{}]", "numbers, strings and arrays only"),
            ("[[[[[[[[[1]]]]]]]]]", "deeper than 8"),
        ] {
            let fault = outline(text).unwrap_err();
            assert!(fault.contains(what), "{text}: {fault}");
        }
    }

    #[test]
    fn members_of_objects() {
        let text = r#" { "a" : [1, 2] , "b\n":"x}", "c":{"d":[{}]}, "e":-1.5e3} "#;
        let mut cursor = Cursor::new(text.as_bytes(), 0);
        let members = ready(members(&mut cursor, 4, &async || ())).unwrap();
        let found: Vec<_> = members
            .iter()
            .map(|member| (&*member.key, &text[member.span.clone()]))
            .collect();
        assert_eq!(
            found,
            [
                ("a", "[1, 2]"),
                ("b\n", "\"x}\""),
                ("c", r#"{"d":[{}]}"#),
                ("e", "-1.5e3")
            ]
        );
        assert!(
            ready(super::members(
                &mut Cursor::new(text.as_bytes(), 0),
                3,
                &async || ()
            ))
            .is_err()
        );
    }
}
