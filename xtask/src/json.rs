//! JSON, as much of it as a script reads and writes: what cargo, mlosd and the benchmarks print.

use std::fmt;
use std::ops::Index;

use crate::error::Result;

/// How deep values may lie in each other.
const DEPTH_MAX: usize = 64;

/// A JSON value. An object keeps the order of its members.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`, and what an index that leads nowhere gives.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Value>),
    /// An object.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// Reads one value and nothing after it.
    pub fn parse(text: &str) -> Result<Self> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value(0)?;
        reader.skip_space();
        if reader.at < text.len() {
            return Err(reader.wrong("the end"));
        }
        Ok(value)
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The elements of an array; of anything else, none.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// The members of an object; of anything else, none.
    pub fn members(&self) -> &[(String, Self)] {
        match self {
            Self::Object(members) => members,
            _ => &[],
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Index<&str> for Value {
    type Output = Self;

    fn index(&self, name: &str) -> &Self {
        let member = self.members().iter().find(|(key, _)| key == name);
        member.map_or(&Self::Null, |(_, value)| value)
    }
}

impl Index<usize> for Value {
    type Output = Self;

    fn index(&self, at: usize) -> &Self {
        self.items().get(at).unwrap_or(&Self::Null)
    }
}

impl fmt::Display for Value {
    /// On one line; with `{:#}`, a member or element a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_value(self, f, 0)
    }
}

fn write_value(value: &Value, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
    match value {
        Value::Null => f.write_str("null"),
        Value::Bool(value) => write!(f, "{value}"),
        // JSON has no word for these.
        Value::Number(number) if !number.is_finite() => f.write_str("null"),
        Value::Number(number) => write!(f, "{number}"),
        Value::Text(text) => write_text(text, f),
        Value::List(items) => write_all(items.iter(), f, depth, ('[', ']'), |item, f| {
            write_value(item, f, depth + 1)
        }),
        Value::Object(members) => write_all(members.iter(), f, depth, ('{', '}'), |(name, value), f| {
            write_text(name, f)?;
            f.write_str(": ")?;
            write_value(value, f, depth + 1)
        }),
    }
}

fn write_all<T>(
    parts: impl ExactSizeIterator<Item = T>,
    f: &mut fmt::Formatter<'_>,
    depth: usize,
    (open, close): (char, char),
    write_one: impl Fn(T, &mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    let broken = f.alternate() && parts.len() > 0;
    write!(f, "{open}")?;
    for (at, part) in parts.enumerate() {
        if at > 0 {
            f.write_str(if broken { "," } else { ", " })?;
        }
        if broken {
            write!(f, "\n{:1$}", "", 2 * (depth + 1))?;
        }
        write_one(part, f)?;
    }
    if broken {
        write!(f, "\n{:1$}", "", 2 * depth)?;
    }
    write!(f, "{close}")
}

fn write_text(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            c if c < ' ' => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Value> {
        if depth > DEPTH_MAX {
            return Err(format!("json: deeper than {DEPTH_MAX} at byte {}", self.at).into());
        }
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => Ok(Value::Text(self.string()?)),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => self.number(),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value> {
        let mut members = Vec::new();
        self.sequence(b'}', |reader| {
            let name = reader.string()?;
            reader.skip_space();
            reader.take(b':')?;
            members.push((name, reader.value(depth + 1)?));
            Ok(())
        })?;
        Ok(Value::Object(members))
    }

    fn list(&mut self, depth: usize) -> Result<Value> {
        let mut items = Vec::new();
        self.sequence(b']', |reader| {
            items.push(reader.value(depth + 1)?);
            Ok(())
        })?;
        Ok(Value::List(items))
    }

    /// What stands between an opening byte, commas, and `close`.
    fn sequence(&mut self, close: u8, mut one: impl FnMut(&mut Self) -> Result) -> Result {
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.skip_space();
            one(self)?;
            self.skip_space();
            if self.peek() == Some(close) {
                self.at += 1;
                return Ok(());
            }
            self.take(b',')?;
        }
    }

    fn string(&mut self) -> Result<String> {
        self.take(b'"')?;
        let mut string = String::new();
        loop {
            let rest = &self.text[self.at..];
            let end = rest.find(['"', '\\']).ok_or_else(|| self.wrong("a quote"))?;
            string.push_str(&rest[..end]);
            self.at += end + 1;
            if rest.as_bytes()[end] == b'"' {
                return Ok(string);
            }
            string.push(self.escape()?);
        }
    }

    /// The character of an escape, whose backslash was read.
    fn escape(&mut self) -> Result<char> {
        let byte = self.peek().ok_or_else(|| self.wrong("an escape"))?;
        self.at += 1;
        Ok(match byte {
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'"' | b'\\' | b'/' => char::from(byte),
            b'u' => self.unicode()?,
            _ => return Err(self.wrong("an escape")),
        })
    }

    fn unicode(&mut self) -> Result<char> {
        let first = self.hex()?;
        let code = match first {
            0xd800..0xdc00 => {
                self.take(b'\\')?;
                self.take(b'u')?;
                0x10000 + ((first - 0xd800) << 10) + (self.hex()?.wrapping_sub(0xdc00) & 0x3ff)
            }
            _ => first,
        };
        char::from_u32(code).ok_or_else(|| self.wrong("a character"))
    }

    fn hex(&mut self) -> Result<u32> {
        let digits = self
            .text
            .get(self.at..self.at + 4)
            .ok_or_else(|| self.wrong("four hex digits"))?;
        let code = u32::from_str_radix(digits, 16).map_err(|_| self.wrong("four hex digits"))?;
        self.at += 4;
        Ok(code)
    }

    fn number(&mut self) -> Result<Value> {
        let rest = &self.text[self.at..];
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && !"+-.eE".contains(c))
            .unwrap_or(rest.len());
        let number = rest[..end].parse().map_err(|_| self.wrong("a value"))?;
        self.at += end;
        Ok(Value::Number(number))
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.wrong(word));
        }
        self.at += word.len();
        Ok(value)
    }

    fn take(&mut self, byte: u8) -> Result {
        if self.peek() != Some(byte) {
            return Err(self.wrong(&format!("`{}`", char::from(byte))));
        }
        self.at += 1;
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| b" \t\r\n".contains(&byte)) {
            self.at += 1;
        }
    }

    fn wrong(&self, expected: &str) -> Box<dyn std::error::Error> {
        format!("json: expected {expected} at byte {}", self.at).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written() {
        let cases = [
            "null",
            "[true, false, null]",
            r#"{"a": 1, "b": [], "c": {}, "d": -2.5}"#,
            r#""a\"\\\n\u0001ä""#,
            "[[1, 2], [3]]",
        ];
        for text in cases {
            assert_eq!(Value::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn escapes_are_read() {
        let value = Value::parse(r#""\u00e4\ud83d\ude00\/\t""#).unwrap();
        assert_eq!(value.as_str(), Some("ä😀/\t"));
    }

    #[test]
    fn an_index_that_leads_nowhere_is_null() {
        let value = Value::parse(r#"{"a": [1, {"b": "x"}]}"#).unwrap();
        assert_eq!(value["a"][1]["b"].as_str(), Some("x"));
        assert_eq!(value["a"][0].as_f64(), Some(1.0));
        assert_eq!(value["z"][7]["b"], Value::Null);
    }

    #[test]
    fn what_is_no_json_is_an_error_that_says_where() {
        let deep = "[".repeat(DEPTH_MAX + 2);
        let cases = [
            ("", "expected a value at byte 0"),
            ("{", "expected `\"` at byte 1"),
            ("[1 2]", "expected `,` at byte 3"),
            (r#"{"a" 1}"#, "expected `:` at byte 5"),
            ("nul", "expected null at byte 0"),
            ("1 1", "expected the end at byte 2"),
            (r#""a"#, "expected a quote"),
            (r#""\ud800x""#, "expected `\\`"),
            (r#""\u12"#, "four hex digits"),
            (r#""\udc00""#, "expected a character"),
            (&deep, "deeper than 64"),
        ];
        for (text, expect) in cases {
            let error = Value::parse(text).unwrap_err().to_string();
            assert!(error.contains(expect), "{text}: {error}");
        }
    }

    #[test]
    fn the_long_form_is_indented() {
        let value = Value::parse(r#"{"a": [1, 2], "b": {}}"#).unwrap();
        assert_eq!(
            format!("{value:#}"),
            "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {}\n}"
        );
    }
}
