//! What every command works with: where the store is, what is configured, how to speak.

use std::path::PathBuf;

use axon_adapters::{Adapters, HuggingFace, HuggingFaceOptions, Local, Network, Registry, Retry, Token};
use axon_package::Store;

use crate::{
    args::Arguments,
    config::{self, Config},
    error::{Error, Result},
};

/// Set up once per run.
pub(crate) struct Context {
    /// `~/.axon` unless said otherwise.
    pub(crate) home: PathBuf,
    pub(crate) config: Config,
    pub(crate) quiet: bool,
}

impl Context {
    pub(crate) fn new(arguments: &Arguments) -> Result<Context> {
        let home = match &arguments.home {
            Some(home) => home.clone(),
            None => Store::default_root()?,
        };
        let config = Config::read(&config::path(&home))?;
        Ok(Context {
            home,
            config,
            quiet: arguments.quiet,
        })
    }

    /// The store, created if it is not there yet.
    pub(crate) fn store(&self) -> Result<Store> {
        let root = self.config.cache_dir.clone().unwrap_or_else(|| self.home.clone());
        Ok(Store::open(root)?)
    }

    /// Where models come from, in the order in which they are asked.
    pub(crate) fn adapters(&self) -> Result<Adapters> {
        let mut adapters = Adapters::new().with(Local);
        if let Some(url) = self.config.registry.url.as_deref().filter(|url| !url.is_empty()) {
            adapters = adapters.with(Registry::new(directory(url)?));
        }
        if !self.config.registry.enable_huggingface {
            return Ok(adapters);
        }
        Ok(adapters.with(HuggingFace::new(&self.hub_options())?))
    }

    fn hub_options(&self) -> HuggingFaceOptions {
        let defaults = HuggingFaceOptions::default();
        let (registry, download) = (&self.config.registry, &self.config.download);
        let token = variable("HF_TOKEN").or_else(|| registry.huggingface_token.clone());
        let endpoint = variable("HF_ENDPOINT").or_else(|| registry.huggingface_endpoint.clone());
        let is_offline = variable("HF_HUB_OFFLINE").is_some_and(|value| is_true(&value));
        HuggingFaceOptions {
            endpoint: endpoint.unwrap_or(defaults.endpoint),
            token: token.as_deref().and_then(Token::new),
            network: if is_offline {
                Network::Offline
            } else {
                Network::Online
            },
            retry: Retry {
                max: download.max_retries,
                ..Retry::default()
            },
            silence_max: std::time::Duration::from_secs(registry.timeout.max(1)),
        }
    }

    /// Base URL of the daemon.
    pub(crate) fn endpoint(&self, flag: Option<&str>) -> String {
        let endpoint = flag
            .map(str::to_owned)
            .or_else(|| variable("MLOS_ENDPOINT"))
            .or_else(|| variable("MLOS_CORE_ENDPOINT"))
            .or_else(|| self.config.mlos.endpoint.clone())
            .unwrap_or_else(|| "http://127.0.0.1:8080".into());
        endpoint.trim_end_matches('/').to_owned()
    }

    /// A word to people while something takes its time.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }
}

/// The directory that a registry's URL names.
fn directory(url: &str) -> Result<PathBuf> {
    let path = url.strip_prefix("file://").unwrap_or(url);
    if path.contains("://") {
        let reason =
            "a registry is a directory, or file:// and a directory; other registries cannot be asked yet";
        return Err(Error::Usage(format!("registry.url is {url}: {reason}")));
    }
    Ok(PathBuf::from(path))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// As the hub's own client reads its variables.
fn is_true(value: &str) -> bool {
    matches!(value.trim().to_lowercase().as_str(), "1" | "true" | "yes" | "on")
}
