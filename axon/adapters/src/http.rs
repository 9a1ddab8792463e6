//! HTTP for adapters: redirects by hand, because a token must stay with the host it was given for, and tries that
//! are bounded.

use std::{fmt, time::Duration};

use reqwest::{
    Client, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER},
};

use crate::{Error, Result, limits};

/// A secret that is sent to one host; its text never appears in logs or errors.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Wraps a token; `None` if there is nothing in it.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// How often and how fast a request is tried again.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Tries after the first one that bring no progress.
    pub max: u32,
    /// First wait; it doubles with each try.
    pub first_wait: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max: limits::RETRIES_DEFAULT,
            first_wait: limits::RETRY_WAIT_FIRST,
        }
    }
}

impl Retry {
    /// Waits before try number `tries` (from 1), or gives the error back when there is no use in another.
    pub(crate) async fn wait(&self, tries: u32, error: Error) -> Result<()> {
        if tries > self.max || !error.is_transient() {
            return Err(error);
        }
        let doubled = self
            .first_wait
            .saturating_mul(1 << tries.saturating_sub(1).min(16));
        // What the server asks for is a minimum; without it, some disorder keeps clients from returning in step.
        let wait = error
            .retry_after()
            .unwrap_or(doubled / 2 + doubled.mul_f64(fraction() / 2.0));
        tokio::time::sleep(wait.min(limits::RETRY_WAIT_MAX)).await;
        Ok(())
    }
}

/// A number in 0..1 that differs between processes and calls: enough for waiting times.
fn fraction() -> f64 {
    use std::hash::{BuildHasher as _, RandomState};
    f64::from(RandomState::new().hash_one(0) as u32) / f64::from(u32::MAX)
}

/// A client for one hub.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: Client,
    /// The hub itself; the token is for it alone.
    home: Url,
    authorization: Option<HeaderValue>,
    pub(crate) retry: Retry,
}

/// What is asked for, in words for errors.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) what: &'a str,
}

impl Http {
    pub(crate) fn new(home: Url, token: Option<&Token>, retry: Retry, silence_max: Duration) -> Result<Self> {
        let broken = |what: String| Error::Protocol {
            host: "this machine".into(),
            what,
        };
        let client = Client::builder()
            .user_agent(concat!("axon/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            // Streams of one HTTP/2 connection share its congestion window: several connections bring more.
            .http1_only()
            .connect_timeout(limits::CONNECT_TIMEOUT)
            .read_timeout(silence_max)
            .build()
            .map_err(|error| broken(format!("no HTTP client: {}", deepest(&error))))?;
        let authorization = match token {
            None => None,
            Some(token) => {
                let value = HeaderValue::from_str(&format!("Bearer {}", token.0));
                let mut value = value.map_err(|_| broken("a token that is no header value".into()))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self {
            client,
            home,
            authorization,
            retry,
        })
    }

    pub(crate) fn host(&self) -> String {
        host(&self.home)
    }

    /// One GET, redirects followed; any status below 400 that is not a redirect comes back.
    pub(crate) async fn get(&self, url: &Url, headers: &HeaderMap, asked: Asked<'_>) -> Result<Response> {
        let mut url = url.clone();
        for _ in 0..=limits::REDIRECTS_MAX {
            let mut request = self.client.get(url.clone()).headers(headers.clone());
            if let Some(authorization) = self
                .authorization
                .as_ref()
                .filter(|_| url.origin() == self.home.origin())
            {
                request = request.header(AUTHORIZATION, authorization.clone());
            }
            let response = request
                .send()
                .await
                .map_err(|error| connection(&url, asked.what, &error))?;
            let Some(next) = redirect(&url, &response)? else {
                return refuse_errors(response, asked.what).await;
            };
            url = next;
        }
        Err(Error::Protocol {
            host: host(&url),
            what: format!("more than {} redirects", limits::REDIRECTS_MAX),
        })
    }

    /// GET of a bounded JSON document, tried again when that may help. The headers come back for `Link`.
    pub(crate) async fn get_json(
        &self,
        url: &Url,
        asked: Asked<'_>,
    ) -> Result<(serde_json::Value, HeaderMap)> {
        let mut tries = 0;
        loop {
            match self.try_json(url, asked).await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    tries += 1;
                    self.retry.wait(tries, error).await?;
                }
            }
        }
    }

    async fn try_json(&self, url: &Url, asked: Asked<'_>) -> Result<(serde_json::Value, HeaderMap)> {
        let mut response = self.get(url, &HeaderMap::new(), asked).await?;
        let headers = response.headers().clone();
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| connection(url, asked.what, &error))?
        {
            if body.len() + chunk.len() > limits::METADATA_BYTES_MAX {
                return Err(Error::Protocol {
                    host: host(url),
                    what: format!("an endless answer for {}", asked.what),
                });
            }
            body.extend_from_slice(&chunk);
        }
        let value = serde_json::from_slice(&body).map_err(|error| Error::Protocol {
            host: host(url),
            what: format!("no JSON for {}: {error}", asked.what),
        })?;
        Ok((value, headers))
    }
}

/// Host and port, as a person would name the server.
pub(crate) fn host(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        _ => url.to_string(),
    }
}

fn redirect(from: &Url, response: &Response) -> Result<Option<Url>> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let broken = |what: &str| Error::Protocol {
        host: host(from),
        what: what.into(),
    };
    let location = response
        .headers()
        .get(LOCATION)
        .and_then(|value| value.to_str().ok());
    let location = location.ok_or_else(|| broken("a redirect without a location"))?;
    let next = from
        .join(location)
        .map_err(|_| broken("a redirect to something that is no URL"))?;
    match (from.scheme(), next.scheme()) {
        ("https", "https") | ("http", "http" | "https") => Ok(Some(next)),
        _ => Err(broken("a redirect away from https")),
    }
}

async fn refuse_errors(response: Response, what: &str) -> Result<Response> {
    let status = response.status();
    if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
        return Ok(response);
    }
    let text = |name: &str| {
        response
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let (host, code) = (host(response.url()), text("x-error-code"));
    let access = |advice: &'static str| Error::Access {
        host: host.clone(),
        what: what.into(),
        status: status.as_u16(),
        advice,
    };
    Err(match (status.as_u16(), code) {
        (401 | 403, "GatedRepo") => Error::Gated {
            model: what.into(),
            page: String::new(),
        },
        (401 | 404, "RepoNotFound") => {
            not_found(what, host, "; check the name, or set HF_TOKEN if it is private")
        }
        (404, "RevisionNotFound") => not_found(what, host, "; check the revision after `@`"),
        (404, _) => not_found(what, host, ""),
        (401, _) => access("check the name; if it is private, set HF_TOKEN to a valid token"),
        (403, _) => access("the token has no right to it"),
        _ => Error::Status {
            what: what.into(),
            status: status.as_u16(),
            message: text("x-error-message")
                .chars()
                .take(limits::MESSAGE_CHARS_MAX)
                .collect(),
            retry_after: retry_after(response.headers()),
            host,
        },
    })
}

fn not_found(what: &str, host: String, hint: &'static str) -> Error {
    Error::NotFound {
        what: what.into(),
        host,
        hint,
    }
}

/// `Retry-After` in seconds; the form with a date is rare and the ordinary wait serves as well.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

pub(crate) fn connection(url: &Url, what: &str, error: &reqwest::Error) -> Error {
    let reason = if error.is_timeout() {
        "the server fell silent".into()
    } else {
        deepest(error)
    };
    Error::Connection {
        host: host(url),
        what: what.into(),
        reason,
    }
}

/// The innermost cause: the outer ones repeat the URL, which may be signed.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// A header from parts that were checked before.
pub(crate) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_do_not_show() {
        let token = Token::new(" hf_secret\n").expect("there is one");
        assert_eq!(format!("{token:?}"), "Token(…)");
        assert_eq!(token.0, "hf_secret");
        assert_eq!(Token::new(" "), None);
    }
}
