//! `config.yaml`. It may hold a token, so only its owner may read it.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_norway::{Mapping, Value};

use crate::{
    error::{Error, Result, io},
    limits,
};

/// The file, every field with its default. Fields of other versions are kept, and written back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    /// Where the store is, if not in the home directory of axon.
    pub(crate) cache_dir: Option<PathBuf>,
    pub(crate) registry: Registry,
    pub(crate) download: Download,
    pub(crate) mlos: Mlos,
    #[serde(flatten)]
    extra: Mapping,
}

/// Where models come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Registry {
    /// A directory of models that is asked before any hub.
    pub(crate) url: Option<String>,
    pub(crate) enable_huggingface: bool,
    pub(crate) huggingface_endpoint: Option<String>,
    pub(crate) huggingface_token: Option<String>,
    /// Longest silence of a server, seconds.
    pub(crate) timeout: u64,
    #[serde(flatten)]
    extra: Mapping,
}

/// How they come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Download {
    /// Files at the same time.
    pub(crate) parallel: usize,
    /// Tries again without progress.
    pub(crate) max_retries: u32,
    #[serde(flatten)]
    extra: Mapping,
}

/// Where the daemon is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Mlos {
    pub(crate) endpoint: Option<String>,
    #[serde(flatten)]
    extra: Mapping,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            cache_dir: None,
            registry: Registry::default(),
            download: Download::default(),
            mlos: Mlos::default(),
            extra: Mapping::new(),
        }
    }
}

impl Default for Registry {
    fn default() -> Registry {
        Registry {
            url: None,
            enable_huggingface: true,
            huggingface_endpoint: None,
            huggingface_token: None,
            timeout: axon_adapters::limits::READ_TIMEOUT.as_secs(),
            extra: Mapping::new(),
        }
    }
}

impl Default for Download {
    fn default() -> Download {
        Download {
            parallel: axon_adapters::limits::PARALLEL_DEFAULT,
            max_retries: axon_adapters::limits::RETRIES_DEFAULT,
            extra: Mapping::new(),
        }
    }
}

/// Where the file is.
pub(crate) fn path(home: &Path) -> PathBuf {
    home.join("config.yaml")
}

impl Config {
    /// The keys that mean something, as they are named on the command line.
    pub(crate) const KEYS: [&str; 9] = [
        "cache_dir",
        "registry.url",
        "registry.enable_huggingface",
        "registry.huggingface_endpoint",
        "registry.huggingface_token",
        "registry.timeout",
        "download.parallel",
        "download.max_retries",
        "mlos.endpoint",
    ];

    /// The configuration; defaults if there is no file.
    pub(crate) fn read(path: &Path) -> Result<Config> {
        let mut text = String::new();
        match File::open(path) {
            Ok(file) => file
                .take(limits::CONFIG_BYTES_MAX)
                .read_to_string(&mut text)
                .map_err(|e| io(path, e))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Config::default()),
            Err(error) => return Err(io(path, error)),
        };
        if text.trim().is_empty() {
            return Ok(Config::default());
        }
        serde_norway::from_str(&text)
            .map_err(|error| Error::Invalid(format!("{}: {error}; correct or delete it", path.display())))
    }

    /// Writes the file whole, readable by its owner only.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_norway::to_string(self).map_err(|error| Error::Other(error.to_string()))?;
        let temporary = path.with_extension(format!("yaml.{}", std::process::id()));
        let write = || {
            // A leftover may have other rights, so it is not written into.
            match fs::remove_file(&temporary) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, path)
        };
        write().map_err(|error| io(path, error))
    }

    /// The value of a key; null if it is not set.
    pub(crate) fn get(&self, key: &str) -> Result<Value> {
        check_key(key)?;
        let whole = serde_norway::to_value(self).map_err(|error| Error::Other(error.to_string()))?;
        let found = key.split('.').try_fold(&whole, |value, part| value.get(part));
        Ok(found.cloned().unwrap_or(Value::Null))
    }

    /// The configuration with another value at a key; empty text takes the value away.
    pub(crate) fn with(&self, key: &str, text: &str) -> Result<Config> {
        check_key(key)?;
        let parsed = if text.is_empty() {
            Value::Null
        } else {
            scalar(text)
        };
        let config = self.replaced(key, parsed);
        // `true` may be a name and `12` a token: what does not fit as a value is tried as text.
        config.or_else(|error| self.replaced(key, Value::String(text.into())).map_err(|_| error))
    }

    fn replaced(&self, key: &str, new: Value) -> Result<Config> {
        let invalid = |error: serde_norway::Error| Error::Usage(format!("{key}: {error}"));
        let mut whole = serde_norway::to_value(self).map_err(invalid)?;
        let mut place = &mut whole;
        for part in key.split('.') {
            let Value::Mapping(mapping) = place else {
                return Err(Error::Usage(format!("{key}: no such key")));
            };
            place = mapping.entry(part.into()).or_insert(Value::Null);
        }
        *place = new;
        serde_norway::from_value(whole).map_err(invalid)
    }
}

fn scalar(text: &str) -> Value {
    match serde_norway::from_str(text) {
        Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
        _ => Value::String(text.into()),
    }
}

fn check_key(key: &str) -> Result<()> {
    if Config::KEYS.contains(&key) {
        return Ok(());
    }
    let known = Config::KEYS.join(", ");
    Err(Error::Usage(format!(
        "`{key}` is no key of the configuration; there are {known}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_can_be_set_and_read_back() {
        for (key, text) in [
            ("cache_dir", "/srv/models"),
            ("registry.url", "/srv/models"),
            ("registry.enable_huggingface", "false"),
            ("registry.huggingface_endpoint", "http://hub"),
            ("registry.huggingface_token", "12345"),
            ("registry.timeout", "5"),
            ("download.parallel", "2"),
            ("download.max_retries", "0"),
            ("mlos.endpoint", "http://127.0.0.1:9"),
        ] {
            let config = Config::default().with(key, text).expect(key);
            let got = serde_norway::to_string(&config.get(key).expect(key)).expect(key);
            assert_eq!(got.trim().trim_matches('\''), text, "{key}");
            assert_ne!(config, Config::default(), "{key}");
        }
        assert_eq!(Config::KEYS.len(), 9);
    }

    #[test]
    fn nonsense_is_refused() {
        for (key, text) in [
            ("download.parallel", "many"),
            ("registry.timeout", "-1"),
            ("nothing", "1"),
            ("registry", "1"),
        ] {
            assert!(Config::default().with(key, text).is_err(), "{key}={text}");
        }
    }

    #[test]
    fn fields_of_other_versions_are_kept() {
        let old =
            "home_dir: /srv/axon\nregistry:\n  url: ''\n  mirrors: []\ndownload:\n  verify_checksums: true\n";
        let config: Config = serde_norway::from_str(old).expect("read");
        let again = serde_norway::to_string(&config).expect("written");
        for field in ["home_dir: /srv/axon", "mirrors: []", "verify_checksums: true"] {
            assert!(again.contains(field), "{again}");
        }
    }
}
