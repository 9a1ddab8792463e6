//! Names of models: `namespace/name` or `namespace/name@version`.
//!
//! Names are what hubs have, so upper and lower case, `.`, `_` and `-` are all allowed and case is kept: a rule
//! of `[a-z0-9-]+` would refuse `hf/FacebookAI/roberta-base` and most of what people install. What is refused is
//! what could mean something to a file system or a shell: empty segments, a leading `.` or `-`, `..`, controls.

use crate::{Error, Result, limits};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::{fmt, str::FromStr};

/// What stays as it is in [`ModelId::to_percent`]: the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The name of a model. The namespace says which hub it comes from; the name may contain `/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelId {
    namespace: String,
    name: String,
    version: Option<String>,
}

impl ModelId {
    /// An id from its parts.
    ///
    /// # Errors
    /// [`Error::Id`] when a part breaks a rule.
    pub fn new(namespace: &str, name: &str, version: Option<&str>) -> Result<Self> {
        let refuse = |reason: String| Error::Id {
            text: shown(namespace, name, version),
            reason,
        };
        check_namespace(namespace).map_err(|what| refuse(format!("namespace {what}")))?;
        check_name(name).map_err(|what| refuse(format!("name {what}")))?;
        if let Some(version) = version {
            check_version(version).map_err(|what| refuse(format!("version {what}")))?;
        }
        Ok(Self {
            namespace: namespace.into(),
            name: name.into(),
            version: version.map(Into::into),
        })
    }

    /// Reads `namespace/name[@version]`.
    ///
    /// # Errors
    /// [`Error::Id`] that says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self> {
        let (path, version) = match text.split_once('@') {
            Some((path, version)) => (path, Some(version)),
            None => (text, None),
        };
        let Some((namespace, name)) = path.split_once('/') else {
            return Err(Error::Id {
                text: text.into(),
                reason: "it has no namespace".into(),
            });
        };
        Self::new(namespace, name, version)
    }

    /// Reads an id out of a URL: percent-encoded (`hf%2Fbert%40main`) or plain.
    ///
    /// # Errors
    /// [`Error::Id`], also when the escapes are not UTF-8.
    pub fn parse_percent(text: &str) -> Result<Self> {
        let decoded = percent_decode_str(text).decode_utf8();
        let decoded = decoded.map_err(|_| Error::Id {
            text: text.into(),
            reason: "its escapes are not UTF-8".into(),
        })?;
        Self::parse(&decoded)
    }

    /// The id as one URL path segment.
    #[must_use]
    pub fn to_percent(&self) -> String {
        utf8_percent_encode(&self.to_string(), RESERVED).to_string()
    }

    /// The hub, such as `hf` or `local`.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name inside the namespace; may contain `/`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version, when one is named.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// `namespace/name`, without the version.
    #[must_use]
    pub fn base(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The same model at `version`.
    ///
    /// # Errors
    /// [`Error::Id`] when the version breaks a rule.
    pub fn with_version(&self, version: &str) -> Result<Self> {
        Self::new(&self.namespace, &self.name, Some(version))
    }

    /// The same model without a version.
    #[must_use]
    pub fn without_version(&self) -> Self {
        Self {
            version: None,
            ..self.clone()
        }
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.namespace, &self.name, self.version.as_deref()))
    }
}

impl FromStr for ModelId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

fn shown(namespace: &str, name: &str, version: Option<&str>) -> String {
    match version {
        Some(version) => format!("{namespace}/{name}@{version}"),
        None => format!("{namespace}/{name}"),
    }
}

/// The rule for a namespace: one segment.
pub(crate) fn check_namespace(namespace: &str) -> Result<(), String> {
    check_segment(namespace)
}

/// The rule for a name: one or more segments between `/`.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if name.split('/').count() > limits::ID_SEGMENTS_MAX {
        return Err(format!("has more than {} segments", limits::ID_SEGMENTS_MAX));
    }
    name.split('/').try_for_each(check_segment)
}

/// The rule for a version: a tag, a semantic version or a commit.
pub(crate) fn check_version(version: &str) -> Result<(), String> {
    check_word(version, limits::VERSION_BYTES_MAX, "+")
}

fn check_segment(segment: &str) -> Result<(), String> {
    check_word(segment, limits::ID_SEGMENT_BYTES_MAX, "")
}

fn check_word(word: &str, bytes_max: usize, also: &str) -> Result<(), String> {
    if word.is_empty() {
        return Err("has an empty part".into());
    }
    if word.len() > bytes_max {
        return Err(format!("has a part of more than {bytes_max} bytes"));
    }
    if let Some(c) = word
        .chars()
        .find(|&c| !c.is_ascii_alphanumeric() && !"._-".contains(c) && !also.contains(c))
    {
        return Err(format!(
            "contains {c:?}; letters, digits, `.`, `_`, `-`{} are allowed",
            listed(also)
        ));
    }
    if word.starts_with(['.', '-']) || word.ends_with('.') || word.contains("..") {
        return Err(format!(
            "part `{word}` starts with `.` or `-`, ends with `.`, or contains `..`"
        ));
    }
    Ok(())
}

fn listed(also: &str) -> String {
    also.chars().map(|c| format!(", `{c}`")).collect()
}

/// The at most `max` names of `known` that look most like `wanted`, best first; nothing when none is close
/// (more than a third of the letters differ). Case does not count, and a name that contains `wanted` is close.
#[must_use]
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>, max: usize) -> Vec<String> {
    let wanted: String = wanted
        .to_lowercase()
        .chars()
        .take(limits::SUGGEST_BYTES_MAX)
        .collect();
    let mut scored: Vec<(usize, &str)> = known
        .into_iter()
        .filter(|name| name.len() <= limits::SUGGEST_BYTES_MAX)
        .filter_map(|name| score(&wanted, &name.to_lowercase()).map(|score| (score, name)))
        .collect();
    scored.sort_unstable();
    scored.dedup();
    scored
        .into_iter()
        .take(max)
        .map(|(_, name)| name.into())
        .collect()
}

fn score(wanted: &str, name: &str) -> Option<usize> {
    let distance = edit_distance(wanted, name);
    let close = distance <= wanted.chars().count().max(3) / 3;
    let part = wanted.len() >= 3 && (name.contains(wanted) || last_segment(name) == last_segment(wanted));
    (close || part).then_some(distance)
}

fn last_segment(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or(name);
    name.rsplit('/').next().unwrap_or(name)
}

/// Levenshtein distance in one row of memory.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_refuses() {
        let check = |text: &str, expect: Option<(&str, &str, Option<&str>)>| {
            let id = ModelId::parse(text);
            match (id, expect) {
                (Ok(id), Some((namespace, name, version))) => {
                    assert_eq!(
                        (id.namespace(), id.name(), id.version()),
                        (namespace, name, version),
                        "{text}"
                    );
                    assert_eq!(id.to_string(), text);
                    assert_eq!(ModelId::parse_percent(&id.to_percent()).unwrap(), id);
                }
                (Err(e), None) => assert!(e.to_string().contains("is not a model id"), "{e}"),
                (got, expect) => panic!("{text}: {got:?}, expected {expect:?}"),
            }
        };
        check("hf/bert-base-uncased", Some(("hf", "bert-base-uncased", None)));
        check(
            "hf/FacebookAI/roberta_base@main",
            Some(("hf", "FacebookAI/roberta_base", Some("main"))),
        );
        check(
            "local/digits@1.0.0+build.5",
            Some(("local", "digits", Some("1.0.0+build.5"))),
        );
        check("hf/_name", Some(("hf", "_name", None)));
        for bad in [
            "",
            "bert",
            "/bert",
            "hf/",
            "hf//x",
            "hf/../etc",
            "hf/x/..",
            "hf/.x",
            "hf/-x",
            "hf/x@",
            "hf/x@../y",
            "hf/x@a/b",
            "hf/x@1@2",
            "hf/a b",
            "hf/a\0b",
            "hf/naïve",
            "hf/a\\b",
            "hf/a..b",
            "hf/a.",
            "hf/1/2/3/4/5/6/7/8/9",
            "../x/y",
        ] {
            check(bad, None);
        }
        check(&format!("hf/{}", "a".repeat(97)), None);
        check(&format!("hf/x@{}", "a".repeat(129)), None);
    }

    #[test]
    fn percent_form_decodes() {
        let check =
            |text: &str, expect: &str| assert_eq!(ModelId::parse_percent(text).unwrap().to_string(), expect);
        check("hf%2Fbert-base%40latest", "hf/bert-base@latest");
        check("hf/bert-base@latest", "hf/bert-base@latest");
        assert_eq!(ModelId::parse("hf/a/b@1").unwrap().to_percent(), "hf%2Fa%2Fb%401");
        assert!(ModelId::parse_percent("hf%2F%ff").is_err());
        assert!(ModelId::parse_percent("hf%2F..%2Fx").is_err());
    }

    #[test]
    fn suggests_what_is_close() {
        let known = [
            "hf/bert-base-uncased",
            "hf/gpt2",
            "local/digits",
            "hf/org/bert-base-uncased",
        ];
        let check = |wanted: &str, expect: &[&str]| assert_eq!(nearest(wanted, known, 3), expect, "{wanted}");
        check(
            "hf/bert-base-uncsed",
            &["hf/bert-base-uncased", "hf/org/bert-base-uncased"],
        );
        check("hf/GPT2", &["hf/gpt2"]);
        check("hf/digits", &["local/digits"]);
        check("hf/whisper-large", &[]);
        check("", &[]);
    }
}
