//! Which of two versions is the higher.

use std::cmp::Ordering;

/// A part of a version: digits count as the number they are, whatever their length; all else is text.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Token<'a> {
    Text(&'a str),
    /// How many digits without leading zeros, then the digits: the order of numbers without a largest one.
    Number(usize, &'a str),
}

/// What stands before a release (`-rc.1`), as semantic versioning orders it: any is lower than none.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage<'a> {
    Before(Vec<Identifier<'a>>),
    Release,
}

/// Numbers are lower than words, and words go by their bytes.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier<'a> {
    Number(usize, &'a str),
    Word(&'a str),
}

/// Semantic versions by their precedence, others in natural order (`v2` before `v10`). A total order: one key for both,
/// since versions of either kind may meet under one model.
pub(crate) fn compare(left: &str, right: &str) -> Ordering {
    key(left).cmp(&key(right)).then_with(|| left.cmp(right))
}

fn key(version: &str) -> (Vec<Token<'_>>, Stage<'_>) {
    // Build metadata have no precedence.
    let precedence = version.split_once('+').map_or(version, |(before, _)| before);
    let (release, stage) = match precedence.split_once('-') {
        Some((release, stage)) => (release, Some(stage)),
        None => (precedence, None),
    };
    if !is_semantic(release) {
        return (tokens(version), Stage::Release);
    }
    let stage = stage.map_or(Stage::Release, |stage| {
        Stage::Before(stage.split('.').map(identifier).collect())
    });
    (tokens(release), stage)
}

/// Whether it is three numbers with dots between them.
fn is_semantic(release: &str) -> bool {
    let mut parts = 0;
    let numbers = release.split('.').all(|part| {
        parts += 1;
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
    });
    numbers && parts == 3
}

fn identifier(text: &str) -> Identifier<'_> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let digits = text.trim_start_matches('0');
        Identifier::Number(digits.len(), digits)
    } else {
        Identifier::Word(text)
    }
}

fn tokens(mut text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    while let Some(first) = text.chars().next() {
        let digits = first.is_ascii_digit();
        let end = text
            .find(|c: char| c.is_ascii_digit() != digits)
            .unwrap_or(text.len());
        let (token, rest) = text.split_at(end);
        tokens.push(if digits {
            let token = token.trim_start_matches('0');
            Token::Number(token.len(), token)
        } else {
            Token::Text(token)
        });
        text = rest;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_one_order() {
        // Ascending; the third line is the example of semver.org.
        for ascending in [
            &["1", "2", "10", "10.1", "10.2", "10.10"][..],
            &["1.2.3", "1.2.10", "1.10.0", "2.0.0-rc.1", "2.0.0", "10.0.0"],
            &[
                "1.0.0-alpha",
                "1.0.0-alpha.1",
                "1.0.0-alpha.beta",
                "1.0.0-beta",
                "1.0.0-beta.2",
                "1.0.0-beta.11",
                "1.0.0-rc.1",
                "1.0.0",
            ],
            &["v2", "v10", "v10a"],
            &["2024-01-15", "2024-2-1", "2024-11-30", "2025-01-01"],
            &["1.0.0", "1.0.0+a", "1.0.0+b", "1.0.1"],
            &[
                "99999999999999999998",
                "99999999999999999999",
                "100000000000000000000",
            ],
            &["main", "main-2", "main-10"],
        ] {
            for (index, low) in ascending.iter().enumerate() {
                assert_eq!(compare(low, low), Ordering::Equal, "{low}");
                for high in &ascending[index + 1..] {
                    assert_eq!(compare(low, high), Ordering::Less, "{low} {high}");
                    assert_eq!(compare(high, low), Ordering::Greater, "{high} {low}");
                }
            }
        }
    }
}
