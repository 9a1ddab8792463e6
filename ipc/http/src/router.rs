//! Paths and methods.

use std::borrow::Cow;

use http::Method;
use mlos_api::{Error, ModelRef};
use percent_encoding::percent_decode_str;

use crate::answer::Refusal;

/// Every route: method, path as in `openapi.yaml`.
pub(crate) const ROUTES: [(&str, &str); 12] = [
    ("GET", "/"),
    ("GET", "/health"),
    ("GET", "/stats"),
    ("GET", "/metrics"),
    ("GET", "/plugins"),
    ("GET", "/models"),
    ("POST", "/models/register"),
    ("POST", "/models/scan"),
    ("GET", "/models/{id}"),
    ("DELETE", "/models/{id}"),
    ("POST", "/models/{id}/inference"),
    ("POST", "/models/{id}/activate"),
];

/// What a request wants done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Index,
    Health,
    Stats,
    Metrics,
    Plugins,
    Models,
    Register,
    Scan,
    Model(ModelRef),
    Unregister(ModelRef),
    Infer(ModelRef),
    Activate(ModelRef),
    /// `OPTIONS`: the methods of the path.
    Options(&'static str),
}

/// What a path names.
enum Resource<'a> {
    Index,
    Health,
    Stats,
    Metrics,
    Plugins,
    Models,
    Register,
    Scan,
    Model(&'a str),
    Inference(&'a str),
    Activate(&'a str),
}

const GET: &str = "GET, HEAD, OPTIONS";
const GET_DELETE: &str = "GET, HEAD, DELETE, OPTIONS";
const POST: &str = "POST, OPTIONS";

/// All routes, one line each.
pub(crate) fn list() -> Vec<String> {
    ROUTES
        .iter()
        .map(|(method, path)| format!("{method} {path}"))
        .collect()
}

/// Finds what a request wants done.
pub(crate) fn route(method: &Method, path: &str) -> Result<Action, Refusal> {
    let resource = resource(path).ok_or_else(|| Refusal::NoRoute(path.chars().take(256).collect()))?;
    let allow = match resource {
        Resource::Register | Resource::Scan | Resource::Inference(_) | Resource::Activate(_) => POST,
        Resource::Model(_) => GET_DELETE,
        _ => GET,
    };
    if method == Method::OPTIONS {
        return Ok(Action::Options(allow));
    }
    let is_get = method == Method::GET || method == Method::HEAD;
    let is_post = method == Method::POST;
    Ok(match resource {
        Resource::Index if is_get => Action::Index,
        Resource::Health if is_get => Action::Health,
        Resource::Stats if is_get => Action::Stats,
        Resource::Metrics if is_get => Action::Metrics,
        Resource::Plugins if is_get => Action::Plugins,
        Resource::Models if is_get => Action::Models,
        Resource::Register if is_post => Action::Register,
        Resource::Scan if is_post => Action::Scan,
        Resource::Model(id) if is_get => Action::Model(model_ref(id)?),
        Resource::Model(id) if method == Method::DELETE => Action::Unregister(model_ref(id)?),
        Resource::Inference(id) if is_post => Action::Infer(model_ref(id)?),
        Resource::Activate(id) if is_post => Action::Activate(model_ref(id)?),
        _ => return Err(Refusal::Method(allow)),
    })
}

fn resource(path: &str) -> Option<Resource<'_>> {
    // The prefix and the trailing slash are spellings that are in use for this interface's predecessor.
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    Some(match path {
        "" => Resource::Index,
        "/health" => Resource::Health,
        "/stats" => Resource::Stats,
        "/metrics" => Resource::Metrics,
        "/plugins" => Resource::Plugins,
        "/models" => Resource::Models,
        "/models/register" => Resource::Register,
        "/models/scan" => Resource::Scan,
        _ => return model_resource(path.strip_prefix("/models/")?),
    })
}

/// `{id}` may hold slashes, so the verb is looked for at the end. A model whose name ends in a verb is reached by
/// its encoded id: the path is cut before it is decoded.
fn model_resource(rest: &str) -> Option<Resource<'_>> {
    if rest.is_empty() {
        return None;
    }
    Some(match rest.rsplit_once('/') {
        Some((id, "inference" | "infer" | "predict")) => Resource::Inference(id),
        Some((id, "activate")) => Resource::Activate(id),
        _ => Resource::Model(rest),
    })
}

fn model_ref(id: &str) -> Result<ModelRef, Refusal> {
    let text: Cow<'_, str> = percent_decode_str(id)
        .decode_utf8()
        .map_err(|_| Error::InvalidArgument(String::from("the model id in the path is not utf-8")))?;
    Ok(ModelRef::parse(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(id: &str) -> ModelRef {
        ModelRef::parse(id).unwrap()
    }

    #[test]
    fn paths_to_actions() {
        let id = || parse("hf/bert-base");
        for (method, path, expected) in [
            ("GET", "/", Action::Index),
            ("HEAD", "/health", Action::Health),
            ("GET", "/health/", Action::Health),
            ("GET", "/api/v1/models", Action::Models),
            ("POST", "/models/register", Action::Register),
            ("POST", "/models/scan", Action::Scan),
            ("GET", "/models/hf/bert-base", Action::Model(id())),
            ("GET", "/models/hf%2Fbert-base", Action::Model(id())),
            ("GET", "/models/hf%2fbert-base@latest", Action::Model(id())),
            (
                "GET",
                "/models/hf%2Fbert-base%401.0.0",
                Action::Model(parse("hf/bert-base@1.0.0")),
            ),
            (
                "DELETE",
                "/models/hf/bert-base@1.0.0",
                Action::Unregister(parse("hf/bert-base@1.0.0")),
            ),
            (
                "POST",
                "/models/hf/bert-base@latest/inference",
                Action::Infer(id()),
            ),
            ("POST", "/models/hf%2Fbert-base/infer", Action::Infer(id())),
            ("POST", "/models/hf/bert-base/predict", Action::Infer(id())),
            ("POST", "/models/a/b/c/inference", Action::Infer(parse("a/b/c"))),
            (
                "POST",
                "/models/a%2Finference/inference",
                Action::Infer(parse("a/inference")),
            ),
            (
                "GET",
                "/models/a%2Finference",
                Action::Model(parse("a/inference")),
            ),
            (
                "POST",
                "/models/digits/activate",
                Action::Activate(parse("digits")),
            ),
            (
                "OPTIONS",
                "/models/digits/activate",
                Action::Options("POST, OPTIONS"),
            ),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(route(&method, path).unwrap(), expected, "{method} {path}");
        }
    }

    #[test]
    fn paths_that_are_refused() {
        for (method, path, expected) in [
            ("GET", "/nothing", "no_such_route"),
            ("GET", "/models/..", "invalid_argument"),
            ("GET", "/models/a%2F..%2Fb", "invalid_argument"),
            ("GET", "/models/a//b", "invalid_argument"),
            ("GET", "/models/%FF", "invalid_argument"),
            ("GET", "/models/a%00b", "invalid_argument"),
            ("POST", "/health", "method_not_allowed"),
            ("PUT", "/models/digits", "method_not_allowed"),
            ("GET", "/models/digits/inference", "method_not_allowed"),
            ("GET", "/models/register", "method_not_allowed"),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let refusal = route(&method, path).unwrap_err();
            assert_eq!(refusal.kind(), expected, "{method} {path}: {refusal:?}");
        }
    }
}
