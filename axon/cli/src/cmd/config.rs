//! `axon config`: reads and changes `config.yaml`.

use serde_json::{Value, json};

use crate::{
    answer::{Answer, table},
    config::{self, Config as File},
    context::Context,
    error::{Error, Result, io},
};

/// Read or change the configuration
#[derive(clap::Subcommand)]
#[command(after_help = "\
Keys:
  cache_dir                      where the store is [the home directory of axon]
  registry.url                   a directory of models that is asked before any hub
  registry.enable_huggingface    whether the Hugging Face Hub is asked [true]
  registry.huggingface_endpoint  another hub that speaks its protocol; HF_ENDPOINT wins
  registry.huggingface_token     token for gated and private models; HF_TOKEN wins
  registry.timeout               longest silence of a server, seconds [60]
  download.parallel              files at the same time [4]
  download.max_retries           tries again without progress [5]
  mlos.endpoint                  where mlosd is; MLOS_ENDPOINT wins [http://127.0.0.1:8080]")]
pub(crate) enum Config {
    /// Print the value of a key
    Get {
        /// The key, such as `mlos.endpoint`
        key: String,
    },
    /// Set a key; an empty value takes it away
    Set {
        /// The key, such as `mlos.endpoint`
        key: String,
        /// The value
        value: String,
    },
    /// Print all keys; the token is not shown
    List,
    /// Print where the file is
    Path,
}

pub(crate) fn run(context: &Context, arguments: &Config) -> Result<Answer> {
    let path = config::path(&context.home);
    match arguments {
        Config::Get { key } => {
            let value = as_json(&context.config.get(key)?)?;
            Ok(Answer::new(json!({ "key": key, "value": value }), plain(&value)))
        }
        Config::Set { key, value } => {
            let changed = context.config.with(key, value)?;
            std::fs::create_dir_all(&context.home).map_err(|error| io(&context.home, error))?;
            changed.write(&path)?;
            let value = shown(key, as_json(&changed.get(key)?)?);
            Ok(Answer::new(
                json!({ "key": key, "value": value }),
                format!("{key} = {}", plain(&value)),
            ))
        }
        Config::List => {
            let mut values = serde_json::Map::new();
            for key in File::KEYS {
                values.insert(key.to_owned(), shown(key, as_json(&context.config.get(key)?)?));
            }
            let rows: Vec<Vec<String>> = values
                .iter()
                .map(|(key, value)| vec![key.clone(), plain(value)])
                .collect();
            Ok(Answer::new(Value::Object(values), table(&rows)))
        }
        Config::Path => Ok(Answer::new(json!({ "path": path }), path.display().to_string())),
    }
}

fn as_json(value: &serde_norway::Value) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| Error::Other(error.to_string()))
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Lists end up in bug reports.
fn shown(key: &str, value: Value) -> Value {
    if key.ends_with("_token") && !value.is_null() {
        json!("***")
    } else {
        value
    }
}
