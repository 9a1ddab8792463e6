//! The Hugging Face Hub, and whatever speaks its protocol at `HF_ENDPOINT`.
//!
//! A revision is pinned to its commit first; files are then listed with their hashes at that commit, so a branch
//! that moves during the download mixes nothing. Large files come from other hosts by redirect: the token stays.

use std::time::Duration;

use axon_package::{FileEntry, ModelId, Staging};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Url, header::HeaderMap};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    About, Adapter, Answer, Checksum, Error, FormatChoice, Progress, Reference, RemoteFile, Resolved, Result,
    Retry, Source, Token,
    choose::choose,
    download::Download,
    http::{Asked, Http},
    limits,
    reference::{LOCAL, ModelName, Target},
};

/// The hub's own address.
pub const ENDPOINT: &str = "https://huggingface.co";

const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const PATH: &AsciiSet = &SEGMENT.remove(b'/');

/// What the adapter is set up with.
#[derive(Clone, Debug)]
pub struct HuggingFaceOptions {
    /// Base URL, [`ENDPOINT`] unless `HF_ENDPOINT` says otherwise.
    pub endpoint: String,
    /// Sent to the endpoint's host only.
    pub token: Option<Token>,
    /// Whether the network may be used.
    pub network: Network,
    /// How often a request is tried again.
    pub retry: Retry,
    /// Longest silence of a server in the middle of an answer.
    pub silence_max: Duration,
}

/// Whether the network may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// It may.
    #[default]
    Online,
    /// It may not (`HF_HUB_OFFLINE`).
    Offline,
}

impl Default for HuggingFaceOptions {
    fn default() -> Self {
        Self {
            endpoint: ENDPOINT.into(),
            token: None,
            network: Network::Online,
            retry: Retry::default(),
            silence_max: limits::READ_TIMEOUT,
        }
    }
}

/// The adapter. It takes every model that names no other hub.
#[derive(Clone, Debug)]
pub struct HuggingFace {
    http: Http,
    endpoint: Url,
    network: Network,
}

/// The part of `/api/models/{id}` that is used.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ModelInfo {
    sha: String,
    author: Option<String>,
    pipeline_tag: Option<String>,
    library_name: Option<String>,
    tags: Vec<String>,
    #[serde(rename = "cardData")]
    card: Option<Value>,
}

/// One entry of `/api/models/{id}/tree`.
#[derive(Debug, Deserialize)]
struct TreeEntry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    oid: String,
    lfs: Option<Lfs>,
}

#[derive(Debug, Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

impl HuggingFace {
    /// Sets the adapter up; nothing is asked yet.
    ///
    /// # Errors
    /// [`Error::Reference`] when the endpoint is no URL.
    pub fn new(options: &HuggingFaceOptions) -> Result<Self> {
        let text = options.endpoint.trim_end_matches('/');
        let refuse = |reason: String| Error::Reference {
            text: options.endpoint.clone(),
            reason,
        };
        let endpoint =
            Url::parse(text).map_err(|error| refuse(format!("HF_ENDPOINT is no URL ({error})")))?;
        if !matches!(endpoint.scheme(), "http" | "https") {
            return Err(refuse("HF_ENDPOINT must start with http:// or https://".into()));
        }
        let http = Http::new(
            endpoint.clone(),
            options.token.as_ref(),
            options.retry,
            options.silence_max,
        )?;
        Ok(Self {
            http,
            endpoint,
            network: options.network,
        })
    }

    fn url(&self, path: &str) -> Result<Url> {
        let text = format!("{}{path}", self.endpoint.as_str().trim_end_matches('/'));
        Url::parse(&text).map_err(|error| Error::Protocol {
            host: self.http.host(),
            what: format!("{text}: {error}"),
        })
    }

    async fn find(&self, model: &ModelName, choice: FormatChoice) -> Result<Resolved> {
        let revision = model.revision.as_deref().unwrap_or("main");
        let info = self.info(&model.name, revision).await?;
        let available = self.list(&model.name, &info.sha).await?;
        let paths: Vec<&str> = available.iter().map(|file| file.path.as_str()).collect();
        let chosen = choose(&paths, choice);
        if chosen.is_empty() {
            return Err(no_such_format(model, choice, &paths));
        }
        let files = available
            .iter()
            .filter(|file| chosen.contains(&file.path.as_str()))
            .cloned()
            .collect();
        Ok(Resolved {
            id: ModelId::new(&model.namespace, &model.name, Some(&version(model, &info.sha)))?,
            source: Source::Hub {
                page: self.page(&model.name),
                revision: revision.into(),
                commit: info.sha.clone(),
            },
            manifest: None,
            files,
            available,
            about: about(&info),
        })
    }

    async fn info(&self, name: &str, revision: &str) -> Result<ModelInfo> {
        let path = format!(
            "/api/models/{}/revision/{}",
            encoded(name, PATH),
            encoded(revision, SEGMENT)
        );
        let what = format!("model {name} at {revision}");
        let answer = self.http.get_json(&self.url(&path)?, Asked { what: &what }).await;
        let (value, _) = answer.map_err(|error| self.with_page(error, name))?;
        let info: ModelInfo =
            serde_json::from_value(value).map_err(|error| self.odd(&what, &error.to_string()))?;
        let is_commit = info.sha.len() == 40 && info.sha.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_commit {
            Ok(info)
        } else {
            Err(self.odd(&what, "it has no commit id"))
        }
    }

    /// All files at a commit; the hub sends them in pages.
    async fn list(&self, name: &str, commit: &str) -> Result<Vec<RemoteFile>> {
        let base = format!("/{}/resolve/{commit}/", encoded(name, PATH));
        let mut next = Some(self.url(&format!(
            "/api/models/{}/tree/{commit}?recursive=true",
            encoded(name, PATH)
        ))?);
        let mut files = Vec::new();
        let what = format!("the files of {name}");
        for _ in 0..limits::LISTING_PAGES_MAX {
            let Some(url) = next else { return Ok(files) };
            let answer = self.http.get_json(&url, Asked { what: &what }).await;
            let (value, headers) = answer.map_err(|error| self.with_page(error, name))?;
            let page: Vec<TreeEntry> =
                serde_json::from_value(value).map_err(|error| self.odd(&what, &error.to_string()))?;
            for entry in page.into_iter().filter(|entry| entry.kind == "file") {
                files.push(self.remote(&base, entry)?);
            }
            next = next_page(&headers).and_then(|text| url.join(text).ok());
        }
        Err(self.odd(&what, "a listing without an end"))
    }

    fn remote(&self, base: &str, entry: TreeEntry) -> Result<RemoteFile> {
        let (checksum, size) = match &entry.lfs {
            Some(lfs) => (lfs.oid.parse().ok().map(Checksum::Sha256), lfs.size),
            None => (blob_id(&entry.oid).map(Checksum::GitBlob), entry.size),
        };
        let checksum = checksum.ok_or_else(|| self.odd(&entry.path, "it has no hash"))?;
        let url = self
            .url(&format!("{base}{}", encoded(&entry.path, PATH)))?
            .to_string();
        Ok(RemoteFile {
            path: entry.path,
            size,
            checksum,
            url,
        })
    }

    fn page(&self, name: &str) -> String {
        format!("{}/{name}", self.endpoint.as_str().trim_end_matches('/'))
    }

    /// Says where a licence is accepted.
    fn with_page(&self, error: Error, name: &str) -> Error {
        match error {
            Error::Gated { .. } => Error::Gated {
                model: name.into(),
                page: self.page(name),
            },
            other => other,
        }
    }

    fn odd(&self, what: &str, why: &str) -> Error {
        Error::Protocol {
            host: self.http.host(),
            what: format!("something else than {what}: {why}"),
        }
    }

    fn online(&self, what: &str) -> Result<()> {
        match self.network {
            Network::Online => Ok(()),
            Network::Offline => Err(Error::Offline { what: what.into() }),
        }
    }
}

impl Adapter for HuggingFace {
    fn name(&self) -> &'static str {
        "huggingface"
    }

    fn can_handle(&self, reference: &Reference) -> bool {
        matches!(reference.target(), Target::Model(_))
    }

    fn resolve<'a>(&'a self, reference: &'a Reference, choice: FormatChoice) -> Answer<'a, Resolved> {
        Box::pin(async move {
            let Target::Model(model) = reference.target() else {
                return Err(Error::NoAdapter {
                    text: reference.text().into(),
                });
            };
            if model.namespace == LOCAL {
                let hint = "; local models are installed from a path";
                return Err(Error::NotFound {
                    what: reference.text().into(),
                    host: "this machine".into(),
                    hint,
                });
            }
            self.online(reference.text())?;
            self.find(model, choice).await
        })
    }

    fn fetch<'a>(
        &'a self,
        file: &'a RemoteFile,
        staging: &'a Staging,
        progress: &'a dyn Progress,
    ) -> Answer<'a, FileEntry> {
        Box::pin(async move {
            self.online(&file.path)?;
            let url = Url::parse(&file.url).map_err(|error| self.odd(&file.path, &error.to_string()))?;
            let fetched = Download {
                http: &self.http,
                file,
                url,
                staging,
                progress,
            }
            .run()
            .await;
            fetched.map_err(|error| self.with_page(error, staging.id().name()))
        })
    }

    fn search<'a>(&'a self, words: &'a str, max: usize) -> Answer<'a, Vec<String>> {
        Box::pin(async move {
            self.online("a search")?;
            let url = self.url(&format!(
                "/api/models?search={}&limit={max}",
                encoded(words, SEGMENT)
            ))?;
            let (value, _) = self.http.get_json(&url, Asked { what: "a search" }).await?;
            let found = value.as_array().into_iter().flatten().take(max);
            Ok(found
                .filter_map(|model| model["id"].as_str())
                .map(|id| format!("hf/{id}"))
                .collect())
        })
    }
}

/// What was named, or else the commit: a name that stays the same while its content changes could not be rolled back.
fn version(model: &ModelName, commit: &str) -> String {
    match model.revision.as_deref() {
        Some(revision) if revision != "main" && !revision.contains('/') => revision.into(),
        _ => commit[..12].to_lowercase(),
    }
}

fn about(info: &ModelInfo) -> About {
    let from_card = info.card.as_ref().and_then(|card| card["license"].as_str());
    let from_tags = || info.tags.iter().find_map(|tag| tag.strip_prefix("license:"));
    About {
        description: info.pipeline_tag.clone().unwrap_or_default(),
        license: from_card.or_else(from_tags).unwrap_or_default().into(),
        author: info.author.clone().unwrap_or_default(),
        library: info.library_name.clone().unwrap_or_default(),
        tags: info
            .tags
            .iter()
            .filter(|tag| !tag.contains(':'))
            .cloned()
            .collect(),
    }
}

fn no_such_format(model: &ModelName, choice: FormatChoice, paths: &[&str]) -> Error {
    const SHOWN: usize = 8;
    let mut found = paths.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if paths.len() > SHOWN {
        found.push_str(", …");
    }
    let (wanted, hint) = match choice {
        FormatChoice::Auto | FormatChoice::All => ("model", "; `--format all` fetches every file"),
        other => (other.word(), "; leave `--format` away to take what there is"),
    };
    let found = if found.is_empty() {
        "no files".into()
    } else {
        found
    };
    Error::NoSuchFormat {
        model: format!("{}/{}", model.namespace, model.name),
        wanted,
        found,
        hint,
    }
}

fn blob_id(text: &str) -> Option<[u8; 20]> {
    let mut id = [0; 20];
    hex::decode_to_slice(text, &mut id).ok()?;
    Some(id)
}

fn encoded(text: &str, keep: &'static AsciiSet) -> String {
    utf8_percent_encode(text, keep).to_string()
}

/// The address in `Link: <…>; rel="next"`.
fn next_page(headers: &HeaderMap) -> Option<&str> {
    let link = headers.get("link")?.to_str().ok()?;
    let next = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    next.trim()
        .strip_prefix('<')?
        .split_once('>')
        .map(|(address, _)| address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_what_was_named_or_the_commit() {
        let check = |revision: Option<&str>, expect: &str| {
            let model = ModelName {
                namespace: "hf".into(),
                name: "a/b".into(),
                revision: revision.map(Into::into),
            };
            assert_eq!(
                version(&model, "0123456789ABCDEF0123456789ABCDEF01234567"),
                expect
            );
        };
        check(None, "0123456789ab");
        check(Some("main"), "0123456789ab");
        check(Some("refs/pr/1"), "0123456789ab");
        check(Some("v1.0"), "v1.0");
    }

    #[test]
    fn the_next_page_is_found() {
        let mut headers = HeaderMap::new();
        assert_eq!(next_page(&headers), None);
        headers.insert(
            "link",
            "<http://h/prev>; rel=\"prev\", <http://h/x?cursor=2>; rel=\"next\""
                .parse()
                .expect("plain"),
        );
        assert_eq!(next_page(&headers), Some("http://h/x?cursor=2"));
    }
}
