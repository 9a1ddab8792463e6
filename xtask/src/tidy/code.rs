//! Rust text without what is not code. Not a parser: just enough to not take a comment or a string for code.

/// The text with comments, strings and character literals replaced by spaces; lines stay where they are.
pub fn only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = blank_end(bytes, at);
        match end {
            Some(end) => {
                let blank = code[at..end].iter_mut().filter(|byte| **byte != b'\n');
                blank.for_each(|byte| *byte = b' ');
                at = end;
            }
            None => at += 1,
        }
    }
    String::from_utf8(code).expect("only whole comments and literals are blanked")
}

/// Where the comment or literal ends that begins at `at`, if one does.
fn blank_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let inside_word = at > 0 && is_word(bytes[at - 1]);
    let end = match rest {
        [b'/', b'/', ..] => line_end(rest),
        [b'/', b'*', ..] => block_end(rest),
        [b'"', ..] => string_end(rest),
        [b'r', b'"' | b'#', ..] if !inside_word => raw_end(rest, 1)?,
        [b'b' | b'c', b'r', b'"' | b'#', ..] if !inside_word => raw_end(rest, 2)?,
        [b'\'', ..] => character_end(rest)?,
        _ => return None,
    };
    Some(at + end)
}

fn line_end(rest: &[u8]) -> usize {
    rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
}

fn block_end(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn string_end(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Of `r"…"` or `r#"…"#`; `r#type` is a word and no literal.
fn raw_end(rest: &[u8], prefix: usize) -> Option<usize> {
    let hashes = rest[prefix..].iter().take_while(|byte| **byte == b'#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'#'; hashes + 1];
    close[0] = b'"';
    let body = &rest[open + 1..];
    let length = body.windows(close.len()).position(|window| window == close);
    Some(length.map_or(rest.len(), |length| open + 1 + length + close.len()))
}

/// Of `'a'` or `'\n'`; `'a` is a lifetime and no literal.
fn character_end(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        let close = rest.iter().skip(3).position(|byte| *byte == b'\'')?;
        return Some(close + 4);
    }
    let text = std::str::from_utf8(&rest[1..rest.len().min(6)]);
    // The cut may go through a later character; the first is whole.
    let valid = match text {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&rest[1..1 + error.valid_up_to()]).ok()?,
    };
    let width = valid.chars().next()?.len_utf8();
    (rest.get(1 + width) == Some(&b'\'')).then_some(width + 2)
}

/// Whether the byte may be part of a name.
pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The lines (from 1) on which `token` stands in `code`, not as part of a longer name.
pub fn lines_with<'a>(code: &'a str, token: &'a str) -> impl Iterator<Item = usize> + 'a {
    let lines = code.lines().enumerate();
    lines
        .filter(move |(_, line)| has_token(line, token))
        .map(|(at, _)| at + 1)
}

fn has_token(line: &str, token: &str) -> bool {
    let bytes = line.as_bytes();
    line.match_indices(token).any(|(at, _)| {
        let free_before = at == 0 || !is_word(bytes[at - 1]) || !is_word(token.as_bytes()[0]);
        let end = at + token.len();
        let free_after = end == bytes.len() || !is_word(bytes[end]) || !is_word(bytes[end - 1]);
        free_before && free_after
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_code_is_blanked() {
        let cases = [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            ("a \"b \\\" c\" d", "a          d"),
            ("a r#\"b\" c\"# d", "a           d"),
            ("br\"b\" d", "      d"),
            ("for\"b\" d", "for    d"),
            ("r#type b", "r#type b"),
            ("a 'b' '\\'' '\\u{1}' '\u{e4}' c", "a                       c"),
            ("<'a> &'b str", "<'a> &'b str"),
            ("'\u{1f600}' a", "       a"),
            ("/// \"\nunsafe", "     \nunsafe"),
            ("\"a\nb\" c", "  \n   c"),
            ("\"open", "     "),
        ];
        for (text, expect) in cases {
            assert_eq!(only(text), expect, "{text}");
        }
    }

    #[test]
    fn a_token_is_a_whole_name() {
        let code = "unsafe_code\nmut unsafe {\nmake_unsafe\n#[allow(x)]\nstd::thread::sleep(t)";
        assert_eq!(lines_with(code, "unsafe").collect::<Vec<_>>(), [2]);
        assert_eq!(lines_with(code, "#[allow(").collect::<Vec<_>>(), [4]);
        assert_eq!(lines_with(code, "thread::sleep").collect::<Vec<_>>(), [5]);
    }
}
