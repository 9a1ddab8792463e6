//! Which web pages may call this server.
//!
//! A browser sends some requests to any server without asking first, and only hides the answer. For a server that
//! changes state without a password, that is too late: so what another page's origin would change is refused here.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, HOST, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};

use crate::Config;
use crate::answer::{Answer, Refusal};

/// The origin to allow in the answer, where the request comes from a page that may call.
pub(crate) fn check(config: &Config, head: &Parts) -> Result<Option<HeaderValue>, Refusal> {
    let Some(origin) = head.headers.get(ORIGIN) else {
        return Ok(None);
    };
    if config
        .cors_origins
        .iter()
        .any(|allowed| allowed == "*" || allowed.as_bytes() == origin.as_bytes())
    {
        return Ok(Some(origin.clone()));
    }
    let changes_nothing = [Method::GET, Method::HEAD, Method::OPTIONS].contains(&head.method);
    if changes_nothing || is_same_host(origin, head.headers.get(HOST)) {
        return Ok(None);
    }
    Err(Refusal::Origin(
        String::from_utf8_lossy(origin.as_bytes()).into_owned(),
    ))
}

/// Tells the browser that the page may read the answer.
pub(crate) fn allow(answer: &mut Answer, origin: HeaderValue) {
    let is_preflight = answer.status() == StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(VARY, HeaderValue::from_static("origin"));
    if is_preflight {
        headers.insert(
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, HEAD, POST, DELETE"),
        );
        headers.insert(
            ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static(
                "content-type, x-mlos-priority, x-mlos-deadline-ms, x-mlos-on-miss, x-mlos-component",
            ),
        );
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
}

fn is_same_host(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let authority = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"))
        .map(|(_, host)| host);
    authority.is_some() && authority == host.and_then(|host| host.to_str().ok())
}
