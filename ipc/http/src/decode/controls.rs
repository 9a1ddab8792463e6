//! What a request says beside its inputs.

use std::time::Duration;

use http::HeaderMap;
use mlos_api::{Class, Error, OnMiss, limits};
use serde::de::DeserializeOwned;

use crate::json::{Cursor, Fault};

/// The keys. The last three are tolerated: what they ask for is what happens anyway.
pub(crate) const KEYS: [&str; 8] = [
    "priority",
    "deadline_ms",
    "on_miss",
    "component",
    "outputs",
    "include_outputs",
    "batch_size",
    "input_format",
];

const NANOSECONDS_PER_MS: f64 = 1e6;

/// Urgency and choice of outputs.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Controls {
    pub(crate) class: Option<Class>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) on_miss: OnMiss,
    pub(crate) component: Option<String>,
    pub(crate) outputs: Vec<String>,
}

impl Controls {
    /// Reads the headers that say the same as the keys, for bodies that are no JSON. A key in the body wins.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Self, Error> {
        let mut controls = Self::default();
        for (header, key) in [
            ("x-mlos-priority", "priority"),
            ("x-mlos-deadline-ms", "deadline_ms"),
            ("x-mlos-on-miss", "on_miss"),
            ("x-mlos-component", "component"),
        ] {
            if let Some(value) = headers.get(header) {
                let text = value.to_str().unwrap_or_default();
                controls
                    .set_text(key, text)
                    .map_err(|what| Error::InvalidArgument(format!("header {header}: {what}")))?;
            }
        }
        Ok(controls)
    }

    /// Sets one of [`KEYS`] from the JSON value at the cursor, which ends the text.
    pub(crate) fn set(&mut self, key: &str, value: Cursor<'_>) -> Result<(), Fault> {
        let fault = |what: String| Fault::new(value.at, format!("{key}: {what}"));
        let json = &value.text[value.at..];
        match key {
            "outputs" => self.outputs = read(json, "a list of names").map_err(fault)?,
            "include_outputs" => drop(read::<bool>(json, "true or false").map_err(fault)?),
            "batch_size" => drop(read::<u64>(json, "a whole number").map_err(fault)?),
            // A number or a string, whatever the key: clients differ in it, and the meaning is plain.
            _ if json.first() == Some(&b'"') => {
                let text: String = read(json, "a string").map_err(fault)?;
                self.set_text(key, &text).map_err(fault)?;
            }
            "priority" | "deadline_ms" => {
                let number: f64 = read(json, "a name or a number").map_err(fault)?;
                self.set_text(key, &number.to_string()).map_err(fault)?;
            }
            _ => return Err(value.unexpected(&format!("a string for '{key}'"))),
        }
        Ok(())
    }

    fn set_text(&mut self, key: &str, text: &str) -> Result<(), String> {
        match key {
            "priority" => {
                self.class = Class::parse(text).ok_or_else(|| {
                    format!(
                        "'{}' is none of realtime, high, normal, batch, or 0 to 4",
                        shown(text)
                    )
                })?;
            }
            "deadline_ms" => self.deadline = Some(deadline(text)?),
            "on_miss" => {
                self.on_miss = match text.to_ascii_lowercase().as_str() {
                    "reject" => OnMiss::Reject,
                    "degrade" => OnMiss::Degrade,
                    _ => return Err(format!("'{}' is neither reject nor degrade", shown(text))),
                }
            }
            "component" => self.component = Some(text.to_owned()),
            // `input_format` only repeats what the manifest declares.
            _ => {}
        }
        Ok(())
    }
}

fn read<T: DeserializeOwned>(json: &[u8], expected: &str) -> Result<T, String> {
    serde_json::from_slice(json).map_err(|_| format!("expected {expected}"))
}

fn deadline(text: &str) -> Result<Duration, String> {
    let ms: f64 = text
        .trim()
        .parse()
        .map_err(|_| format!("'{}' is not a number of milliseconds", shown(text)))?;
    if !(ms > 0.0 && ms <= limits::DEADLINE_MAX_MS as f64) {
        return Err(format!(
            "{ms} ms is not above 0 and at most {}",
            limits::DEADLINE_MAX_MS
        ));
    }
    Ok(Duration::from_nanos((ms * NANOSECONDS_PER_MS) as u64))
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(32).collect()
}
