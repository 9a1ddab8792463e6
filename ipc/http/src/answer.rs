//! Answers: the one place where statuses are given out.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use mlos_api::limits::BREATHE_BYTES;
use mlos_api::{Error, Kind};
use serde::Serialize;

use crate::router;

/// An answer as hyper sends it.
pub(crate) type Answer = Response<Pieces>;

/// A body of known length. What is small leaves in one write with its head; what is large is handed to hyper piece
/// by piece, so that laying it into the connection's buffer holds the thread for microseconds only.
#[derive(Default)]
pub(crate) struct Pieces(Bytes);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        let len = self.0.len().min(BREATHE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.0.split_to(len)))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Seconds after which a client that is told nothing better may come again.
const RETRY_AFTER_SECONDS_DEFAULT: u64 = 1;

/// Why a request gets no result.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// What the engine says, or would say.
    Api(Error),
    /// No such path.
    NoRoute(String),
    /// The path is there, for these methods.
    Method(&'static str),
    /// A web page of another origin wants to change something.
    Origin(String),
    /// A body of a kind that is not understood.
    MediaType(String),
    /// The body came too slowly.
    BodyLate,
    /// The body ended before its end.
    BodyBroken(hyper::Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Api(error)
    }
}

/// The one map from kinds of errors to HTTP.
const fn status_of(kind: Kind) -> u16 {
    match kind {
        Kind::InvalidArgument => 400,
        Kind::NotFound => 404,
        Kind::Conflict => 409,
        Kind::TooLarge => 413,
        Kind::Unsupported => 501,
        Kind::Overloaded => 429,
        Kind::DeadlineMiss => 504,
        Kind::Unavailable => 503,
        // Not in any RFC, but what proxies log for it. It is seen by nobody else: the client has gone.
        Kind::Cancelled => 499,
        Kind::ModelFailed | Kind::Internal => 500,
    }
}

/// The body of every error. `message` stands twice: `error.message` for programs that know this server, and the
/// outer one for those written for its predecessor.
#[derive(Serialize)]
struct ErrorBody<'a> {
    status: &'static str,
    error: ErrorFields<'a>,
    message: &'a str,
}

#[derive(Serialize, Default)]
struct ErrorFields<'a> {
    kind: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    predicted_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    routes: Option<Vec<String>>,
}

impl<'a> ErrorFields<'a> {
    fn of(error: &'a Error) -> Self {
        let mut fields = Self {
            kind: error.kind().name(),
            ..Self::default()
        };
        match error {
            Error::InvalidInput { name, .. } => fields.input = Some(name),
            Error::ModelNotFound { nearest, .. } => fields.nearest = Some(nearest),
            Error::TooLarge { limit, .. } => fields.limit_bytes = Some(*limit),
            Error::Overloaded { retry_after_ms, .. } => fields.retry_after_ms = Some(*retry_after_ms),
            Error::DeadlineMiss {
                predicted_us,
                deadline_us,
            } => {
                fields.predicted_us = Some(*predicted_us);
                fields.deadline_us = Some(*deadline_us);
            }
            _ => {}
        }
        fields
    }
}

impl Refusal {
    fn status(&self) -> u16 {
        match self {
            Self::Api(error) => status_of(error.kind()),
            Self::NoRoute(_) => 404,
            Self::Method(_) => 405,
            Self::Origin(_) => 403,
            Self::MediaType(_) => 415,
            Self::BodyLate => 408,
            Self::BodyBroken(_) => 400,
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Api(error) => error.kind().name(),
            Self::NoRoute(_) => "no_such_route",
            Self::Method(_) => "method_not_allowed",
            Self::Origin(_) => "origin_not_allowed",
            Self::MediaType(_) => "unsupported_media_type",
            Self::BodyLate => "timeout",
            Self::BodyBroken(_) => "body_incomplete",
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Api(error) => error.to_string(),
            Self::NoRoute(path) => format!("no route '{path}'; see the list of routes"),
            Self::Method(allow) => format!("this path answers to {allow} only"),
            Self::Origin(origin) => {
                format!("pages of {origin} may not call this server; allow it in the daemon's cors origins")
            }
            Self::MediaType(what) => what.clone(),
            Self::BodyLate => String::from("the body came too slowly"),
            Self::BodyBroken(error) => format!("the body could not be read: {error}"),
        }
    }

    /// The answer that says it.
    pub(crate) fn answer(&self) -> Answer {
        let message = self.message();
        let mut fields = match self {
            Self::Api(error) => ErrorFields::of(error),
            Self::NoRoute(_) => ErrorFields {
                routes: Some(router::list()),
                ..ErrorFields::default()
            },
            _ => ErrorFields::default(),
        };
        fields.kind = self.kind();
        fields.message = &message;
        let retry_after_ms = fields.retry_after_ms;
        let body = ErrorBody {
            status: "error",
            error: fields,
            message: &message,
        };
        let mut answer = json(self.status(), &body);
        self.add_headers(&mut answer, retry_after_ms);
        answer
    }

    fn add_headers(&self, answer: &mut Answer, retry_after_ms: Option<u64>) {
        let headers = answer.headers_mut();
        match self {
            Self::Api(error) if matches!(error.kind(), Kind::Overloaded | Kind::Unavailable) => {
                let seconds =
                    retry_after_ms.map_or(RETRY_AFTER_SECONDS_DEFAULT, |ms| ms.div_ceil(1000).max(1));
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            Self::Method(allow) => {
                headers.insert(ALLOW, HeaderValue::from_static(allow));
            }
            // What is left of the body is not waited for.
            Self::BodyLate | Self::BodyBroken(_) | Self::Api(Error::TooLarge { .. }) => {
                headers.insert(CONNECTION, CLOSE);
            }
            _ => {}
        }
    }
}

/// A JSON answer that is already text.
pub(crate) fn json_text(status: u16, text: impl Into<Bytes>) -> Answer {
    with_type(status, JSON, text.into())
}

/// A JSON answer.
pub(crate) fn json(status: u16, body: &impl Serialize) -> Answer {
    match serde_json::to_vec(body) {
        Ok(text) => json_text(status, text),
        // Only a map with keys that are no strings fails, and there is none: still, no panic over an answer.
        Err(_) => json_text(500, &br#"{"status":"error","message":"internal error"}"#[..]),
    }
}

/// An answer in plain text, as Prometheus reads it.
pub(crate) fn metrics_text(text: String) -> Answer {
    with_type(
        200,
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
        text.into(),
    )
}

/// An answer without a body.
pub(crate) fn empty(status: u16) -> Answer {
    let mut answer = Answer::new(Pieces::default());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
}

fn with_type(status: u16, content_type: HeaderValue, body: Bytes) -> Answer {
    let mut answer = Answer::new(Pieces(body));
    // All numbers here are constants between 200 and 504.
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

/// What a connection beyond the limit is told, before any of its bytes is read.
pub(crate) fn busy_bytes() -> Vec<u8> {
    last_words(
        "503 Service Unavailable",
        "overloaded",
        "too many connections; retry in a second",
        "retry-after: 1\r\n",
    )
}

/// What a client is told that does not finish its head.
pub(crate) fn head_late_bytes() -> Vec<u8> {
    last_words(
        "408 Request Timeout",
        "timeout",
        "the head of the request came too slowly",
        "",
    )
}

/// A whole answer as bytes, for where hyper does not speak: before it starts and after it was stopped.
fn last_words(status_line: &str, kind: &'static str, message: &str, headers: &str) -> Vec<u8> {
    let fields = ErrorFields {
        kind,
        message,
        ..ErrorFields::default()
    };
    let body = serde_json::to_string(&ErrorBody {
        status: "error",
        error: fields,
        message,
    })
    .unwrap_or_default();
    let length = body.len();
    format!(
        "HTTP/1.1 {status_line}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}
