//! A place in the text.

use std::borrow::Cow;

/// Characters of the text that a message shows.
const SHOWN_CHARS_MAX: usize = 32;

/// What is wrong with the text, and where. Boxed, so that a result of reading a number fits two registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault(Box<Place>);

/// The content of a [`Fault`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) at: usize,
    pub(crate) what: Cow<'static, str>,
}

impl Fault {
    #[cold]
    pub(crate) fn new(at: usize, what: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Place {
            at,
            what: what.into(),
        }))
    }
}

impl std::ops::Deref for Fault {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.0
    }
}

/// A place in a JSON text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(text: &'a [u8], at: usize) -> Self {
        Self { text, at }
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    pub(crate) fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Steps over `byte` if it comes next.
    #[inline]
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Steps over `byte`, with space around it.
    #[inline]
    pub(crate) fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        self.skip_space();
        if !self.take(byte) {
            return Err(self.unexpected(&format!("'{}'", char::from(byte))));
        }
        self.skip_space();
        Ok(())
    }

    /// Steps over `word` if it comes next and is not the start of a longer one.
    pub(crate) fn take_word(&mut self, word: &str) -> bool {
        let rest = &self.text[self.at..];
        let ends = !rest.get(word.len()).is_some_and(u8::is_ascii_alphanumeric);
        let found = rest.starts_with(word.as_bytes()) && ends;
        if found {
            self.at += word.len();
        }
        found
    }

    /// Reads a string; without escapes it is the text itself.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, Fault> {
        let start = self.at;
        let has_escape = self.skip_string()?;
        let quoted = &self.text[start..self.at];
        let not_text = |_| {
            Fault::new(
                start,
                "the string is not valid: is it utf-8, without control characters?",
            )
        };
        if has_escape {
            return serde_json::from_slice::<String>(quoted)
                .map(Cow::Owned)
                .map_err(not_text);
        }
        // Escapes are needed for control characters; serde_json says the same, slower.
        let inside = &quoted[1..quoted.len() - 1];
        if inside.iter().any(|byte| *byte < 0x20) {
            return Err(Fault::new(
                start,
                "the string has a raw control character; escape it",
            ));
        }
        std::str::from_utf8(inside)
            .map(Cow::Borrowed)
            .map_err(|error| not_text(serde_error(error)))
    }

    /// Steps over a string; true where it has escapes.
    pub(crate) fn skip_string(&mut self) -> Result<bool, Fault> {
        let start = self.at;
        if !self.take(b'"') {
            return Err(self.unexpected("a string"));
        }
        let mut has_escape = false;
        while let Some(found) = memchr::memchr2(b'"', b'\\', self.text.get(self.at..).unwrap_or_default()) {
            self.at += found + 1;
            if self.text[self.at - 1] == b'"' {
                return Ok(has_escape);
            }
            has_escape = true;
            self.at += 1;
        }
        self.at = self.text.len();
        Err(Fault::new(start, "the string does not end"))
    }

    /// What comes next, short enough to be shown.
    pub(crate) fn shown(&self) -> String {
        let rest = &self.text[self.at.min(self.text.len())..];
        let end = rest
            .iter()
            .position(|byte| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r'));
        // Enough bytes for the characters, whatever their width.
        let rest = &rest[..end
            .unwrap_or(rest.len())
            .min(4 * SHOWN_CHARS_MAX)
            .max(usize::from(!rest.is_empty()))];
        String::from_utf8_lossy(rest)
            .chars()
            .filter(|c| !c.is_control())
            .take(SHOWN_CHARS_MAX)
            .collect()
    }

    /// The fault that something else was expected here.
    #[cold]
    pub(crate) fn unexpected(&self, expected: &str) -> Fault {
        if self.at >= self.text.len() {
            return Fault::new(self.at, format!("the text ends where {expected} is expected"));
        }
        Fault::new(self.at, format!("expected {expected}, found '{}'", self.shown()))
    }
}

/// `from_utf8` and `serde_json` fail alike for the reader of the message.
fn serde_error(error: std::str::Utf8Error) -> serde_json::Error {
    serde::de::Error::custom(error)
}
