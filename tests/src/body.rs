//! Inputs as a client would write them.

use std::fmt::Write;

use mlos_zoo::Input;

use crate::served::Data;

/// A tensor as nested lists of numbers; floats with the fewest digits that read back as the same.
#[must_use]
pub fn json_of(input: &Input) -> String {
    let words: Vec<String> = match Data::of(input) {
        Data::F32(data) => data.iter().map(|number| format!("{number:?}")).collect(),
        Data::I64(data) => data.iter().map(i64::to_string).collect(),
    };
    let mut text = String::new();
    nest(&input.shape, &words, &mut text);
    text
}

fn nest(shape: &[usize], words: &[String], text: &mut String) {
    let Some((size, inner)) = shape.split_first() else {
        return text.push_str(&words[0]);
    };
    text.push('[');
    let step = words.len() / (*size).max(1);
    for index in 0..*size {
        if index > 0 {
            text.push(',');
        }
        nest(inner, &words[index * step..(index + 1) * step], text);
    }
    text.push(']');
}

/// The body of a request: every input by its name, and what else there is to say, as `"priority":"batch"`.
#[must_use]
pub fn request_of(inputs: &[Input], rest: &[&str]) -> String {
    let mut text = String::from("{");
    for (position, input) in inputs.iter().enumerate() {
        let comma = if position > 0 { "," } else { "" };
        let _ = write!(text, "{comma}\"{}\":{}", input.name, json_of(input));
    }
    for word in rest {
        let _ = write!(text, ",{word}");
    }
    text.push('}');
    text
}
