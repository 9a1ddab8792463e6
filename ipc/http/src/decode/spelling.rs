//! Messages that say what the model has instead.

use mlos_api::{Error, ModelDetail, Preprocessing, Signature, TensorSpec};

use super::invalid;
use super::shape::Declared;
use crate::json::Cursor;

/// Inputs that a message lists.
const LISTED_MAX: usize = 16;
/// Characters of a client's own word that a message repeats, and that are compared with others.
const WORD_CHARS_MAX: usize = 64;

/// A key that is neither an input nor a control.
pub(super) fn unknown_input(detail: &ModelDetail, signature: &Signature, key: &str) -> Error {
    let key: String = key
        .chars()
        .filter(|c| !c.is_control())
        .take(WORD_CHARS_MAX)
        .collect();
    let nearest = signature
        .inputs
        .iter()
        .map(|spec| (distance(&key, &spec.name), spec))
        .min_by_key(|(edits, _)| *edits);
    let hint = match nearest {
        Some((edits, spec)) if edits <= key.chars().count().div_ceil(3) => {
            format!(" (did you mean '{}'?)", spec.name)
        }
        _ => String::new(),
    };
    let takes = takes(detail, signature);
    Error::InvalidInput {
        name: key,
        reason: format!(
            "model '{}' has no such input{hint}; it takes {takes}",
            detail.model
        ),
    }
}

/// An input that was not given and cannot be filled in.
pub(super) fn missing_input(detail: &ModelDetail, signature: &Signature, spec: &TensorSpec) -> Error {
    invalid(
        spec,
        format!(
            "is missing; model '{}' takes {}",
            detail.model,
            takes(detail, signature)
        ),
    )
}

/// `input` with something that the model does not take.
pub(super) fn no_content(detail: &ModelDetail, signature: &Signature) -> Error {
    Error::InvalidInput {
        name: String::from("input"),
        reason: format!("model '{}' takes {}", detail.model, takes(detail, signature)),
    }
}

/// A body that is something else than an object.
pub(super) fn not_an_object(detail: &ModelDetail, cursor: &Cursor<'_>) -> Error {
    let found = if cursor.peek().is_none() {
        String::from("is empty")
    } else {
        format!("starts with '{}'", cursor.shown())
    };
    let takes = detail
        .signatures
        .first()
        .map(|signature| takes(detail, signature))
        .unwrap_or_default();
    Error::InvalidArgument(format!(
        "the body {found}; it should be a JSON object with what the model takes: {takes}"
    ))
}

/// What a model takes, in words.
fn takes(detail: &ModelDetail, signature: &Signature) -> String {
    let mut words = match detail.preprocessing {
        Preprocessing::None => String::new(),
        Preprocessing::Text => String::from("'input' (a text), or "),
        Preprocessing::Image => String::from("'input' (an image in base64), or "),
    };
    for (position, spec) in signature.inputs.iter().take(LISTED_MAX).enumerate() {
        let comma = if position == 0 { "" } else { ", " };
        words.push_str(&format!("{comma}'{}' ({})", spec.name, Declared(spec)));
    }
    if signature.inputs.len() > LISTED_MAX {
        words.push_str(" and more: see GET /models/{id}");
    }
    words
}

/// How many characters must be changed, added or removed to make one word of the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().take(WORD_CHARS_MAX).collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, from) in from.chars().take(WORD_CHARS_MAX).enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, to) in to.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}
