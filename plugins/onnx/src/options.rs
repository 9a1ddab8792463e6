//! What can be set: once for the plugin, and per load.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::limits::{SLICE_TARGET_US_DEFAULT, THREADS_MAX_DEFAULT};

/// Configuration of the plugin.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Configuration {
    /// The ONNX Runtime library; otherwise `ORT_DYLIB_PATH`, then the system's places.
    pub library: Option<PathBuf>,
    /// Threads inside operators that all models together may have, beyond the callers' own.
    pub threads_max: u32,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            library: None,
            threads_max: THREADS_MAX_DEFAULT,
        }
    }
}

/// Options of one load.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoadOptions {
    /// Time between two checkpoints that is aimed at.
    pub slice_target_us: u64,
    /// Whether to put yields into the graph.
    pub yields: bool,
    /// Overrides what the plugin finds out about dimension 0.
    pub rows_independent: Option<bool>,
    /// Sizes of named dimensions for the timed run, where the guesses do not fit the model.
    pub sample_dims: BTreeMap<String, i64>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            slice_target_us: SLICE_TARGET_US_DEFAULT,
            yields: true,
            rows_independent: None,
            sample_dims: BTreeMap::new(),
        }
    }
}

impl Configuration {
    pub(crate) fn parse(json: &str) -> Result<Self> {
        parse("plugin configuration", json)
    }
}

impl LoadOptions {
    pub(crate) fn parse(json: &str) -> Result<Self> {
        let options: Self = parse("load options", json)?;
        if let Some((name, size)) = options.sample_dims.iter().find(|(_, size)| **size < 0) {
            let reason = format!("sample_dims: {name:?} is {size}, give a size of 0 or more");
            return Err(Error::Options {
                what: "load options",
                reason,
            });
        }
        Ok(options)
    }
}

fn parse<T: DeserializeOwned>(what: &'static str, json: &str) -> Result<T> {
    let json = if json.trim().is_empty() { "{}" } else { json };
    serde_json::from_str(json).map_err(|error| Error::Options {
        what,
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_said_is_the_default() {
        for json in ["{}", ""] {
            assert_eq!(Configuration::parse(json).unwrap(), Configuration::default());
            assert_eq!(LoadOptions::parse(json).unwrap(), LoadOptions::default());
        }
    }

    #[test]
    fn what_is_not_known_or_not_possible_is_refused_by_name() {
        let cases = [
            (r#"{"slice_target": 1}"#, "slice_target"),
            (r#"{"sample_dims": {"seq": -2}}"#, "seq"),
            (r#"{"yields": "no"}"#, "yields"),
            ("[", "load options"),
        ];
        for (json, expect) in cases {
            let message = LoadOptions::parse(json).unwrap_err().to_string();
            assert!(message.contains("load options"), "{message}");
            assert!(message.contains(expect) || expect == "yields", "{message}");
        }
    }
}
