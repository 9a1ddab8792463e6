//! Which request gets which answer.

use serde_json::{Value, json};

use crate::{
    fault::FaultKind,
    http::{Body, Response},
    hub::State,
    record::{Recorded, Side},
    repo::{RepoFile, Revision},
};

/// The answer to a request, before a fault touches its body.
pub(crate) fn answer(state: &State, request: &Recorded, fault: Option<&FaultKind>) -> Response {
    if let Some(FaultKind::Status {
        code,
        error_code,
        retry_after_s,
    }) = fault
    {
        let response = Response::error(*code, error_code.unwrap_or_default(), "refused on purpose");
        return match retry_after_s {
            Some(seconds) => response.with("Retry-After", seconds.to_string()),
            None => response,
        };
    }
    if let Some(FaultKind::Redirect(location)) = fault {
        return Response {
            status: 307,
            headers: vec![("Location", location.clone())],
            body: Body::Bytes(Vec::new()),
        };
    }
    if request.method != "GET" && request.method != "HEAD" {
        return Response::error(405, "", "only GET and HEAD are answered");
    }
    let routed = match request.side {
        Side::Hub => hub_route(state, request, fault),
        Side::Cdn => cdn_route(state, request, fault),
    };
    routed.unwrap_or_else(|error| Response::error(500, "", &error.to_string()))
}

fn hub_route(state: &State, request: &Recorded, fault: Option<&FaultKind>) -> std::io::Result<Response> {
    let parts: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
    match parts.as_slice() {
        ["api", "models"] => search(state, &request.query),
        ["api", "models", org, name] => model(state, &format!("{org}/{name}"), "main"),
        ["api", "models", org, name, "revision", revision] => {
            model(state, &format!("{org}/{name}"), revision)
        }
        ["api", "models", org, name, "tree", revision] => {
            tree(state, &format!("{org}/{name}"), revision, &request.query)
        }
        ["api", "resolve-cache", "models", org, name, commit, file @ ..] if !file.is_empty() => resolve(
            state,
            request,
            &format!("{org}/{name}"),
            (commit, &file.join("/")),
            fault,
        ),
        [org, name, "resolve", revision, file @ ..] if !file.is_empty() => resolve(
            state,
            request,
            &format!("{org}/{name}"),
            (revision, &file.join("/")),
            fault,
        ),
        _ => Ok(Response::error(404, "", "no such route")),
    }
}

fn search(state: &State, query: &str) -> std::io::Result<Response> {
    let wanted = query_value(query, "search").unwrap_or_default().to_lowercase();
    let limit = query_value(query, "limit")
        .and_then(|text| text.parse().ok())
        .unwrap_or(100);
    let names = state.repos.names()?;
    let found: Vec<Value> = names
        .iter()
        .filter(|name| name.to_lowercase().contains(&wanted))
        .take(limit)
        .map(|name| json!({ "id": name, "modelId": name, "private": false, "downloads": 0, "likes": 0, "tags": [] }))
        .collect();
    Ok(Response::json(&Value::Array(found)))
}

fn model(state: &State, repo: &str, name: &str) -> std::io::Result<Response> {
    let revision = match find(state, repo, name)? {
        Ok(revision) => revision,
        Err(response) => return Ok(response),
    };
    let siblings: Vec<Value> = revision
        .files
        .iter()
        .map(|file| json!({ "rfilename": file.path }))
        .collect();
    let license = license_of(&revision);
    let mut tags = Vec::new();
    if let Some(license) = &license {
        tags.push(format!("license:{license}"));
    }
    Ok(Response::json(&json!({
        "_id": "0", "id": repo, "modelId": repo, "author": repo.split('/').next(), "sha": revision.commit, "private": false,
        "disabled": false, "gated": if state.is_gated(repo) { json!("manual") } else { json!(false) },
        "downloads": 0, "likes": 0, "tags": tags, "cardData": { "license": license }, "siblings": siblings,
    })))
}

/// The `license:` line of the README's front matter.
fn license_of(revision: &Revision) -> Option<String> {
    let readme = revision.files.iter().find(|file| file.path == "README.md")?;
    let text = std::fs::read_to_string(&readme.source).ok()?;
    let front = text.strip_prefix("---\n")?.split("\n---").next()?;
    front
        .lines()
        .find_map(|line| line.strip_prefix("license:"))
        .map(|value| value.trim().to_owned())
}

fn tree(state: &State, repo: &str, name: &str, query: &str) -> std::io::Result<Response> {
    let revision = match find(state, repo, name)? {
        Ok(revision) => revision,
        Err(response) => return Ok(response),
    };
    let start: usize = query_value(query, "cursor")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let page = state.options.tree_page_entries;
    let entries: Vec<Value> = revision
        .files
        .iter()
        .skip(start)
        .take(page)
        .map(tree_entry)
        .collect();
    let response = Response::json(&Value::Array(entries));
    if start + page >= revision.files.len() {
        return Ok(response);
    }
    let next = format!(
        "<{}/api/models/{repo}/tree/{name}?recursive=true&cursor={}>; rel=\"next\"",
        state.endpoint,
        start + page
    );
    Ok(response.with("Link", next))
}

fn tree_entry(file: &RepoFile) -> Value {
    let mut entry = json!({ "type": "file", "path": file.path, "size": file.size, "oid": file.blob_sha1 });
    if file.is_lfs {
        entry["lfs"] = json!({ "oid": file.sha256, "size": file.size, "pointerSize": 134 });
    }
    entry
}

fn resolve(
    state: &State,
    request: &Recorded,
    repo: &str,
    (name, path): (&str, &str),
    fault: Option<&FaultKind>,
) -> std::io::Result<Response> {
    let revision = match find(state, repo, name)? {
        Ok(revision) => revision,
        Err(response) => return Ok(response),
    };
    if let Some(refusal) = state.refusal(repo, request) {
        return Ok(refusal);
    }
    let Some(file) = revision.files.iter().find(|file| file.path == path) else {
        return Ok(
            Response::error(404, "EntryNotFound", "entry not found").with("X-Repo-Commit", revision.commit)
        );
    };
    let response = if file.is_lfs {
        let location = format!(
            "{}/objects/{repo}/{}?revision={}",
            state.cdn_endpoint, file.sha256, name
        );
        Response {
            status: 302,
            headers: vec![("Location", location)],
            body: Body::Bytes(Vec::new()),
        }
        .with("X-Linked-Size", file.size.to_string())
        .with("X-Linked-Etag", format!("\"{}\"", file.sha256))
    } else if state.options.resolve_cache && !request.path.starts_with("/api/") {
        let location = format!("/api/resolve-cache/models/{repo}/{}/{path}", revision.commit);
        Response {
            status: 307,
            headers: vec![("Location", location)],
            body: Body::Bytes(Vec::new()),
        }
        .with("ETag", format!("\"{}\"", file.etag()))
        .with("X-Linked-Size", file.size.to_string())
    } else {
        content(file, request, fault)
    };
    Ok(response.with("X-Repo-Commit", revision.commit.clone()))
}

fn cdn_route(state: &State, request: &Recorded, fault: Option<&FaultKind>) -> std::io::Result<Response> {
    let Some((repo, sha256)) = request
        .path
        .strip_prefix("/objects/")
        .and_then(|path| path.rsplit_once('/'))
    else {
        return Ok(Response::error(404, "", "no such object"));
    };
    let revision = query_value(&request.query, "revision").unwrap_or("main");
    let revision = state.repos.revision(repo, revision)?;
    match revision
        .as_ref()
        .and_then(|revision| revision.files.iter().find(|file| file.sha256 == sha256))
    {
        Some(file) => Ok(content(file, request, fault)),
        None => Ok(Response::error(404, "", "no such object")),
    }
}

fn content(file: &RepoFile, request: &Recorded, fault: Option<&FaultKind>) -> Response {
    let changed = if matches!(fault, Some(FaultKind::EtagChanged)) {
        "-replaced"
    } else {
        ""
    };
    let etag = format!("\"{}{changed}\"", file.etag());
    let whole = 0..file.size;
    let range = match request.header("range") {
        Some(_) if matches!(fault, Some(FaultKind::RangeIgnored)) => None,
        Some(_)
            if request
                .header("if-range")
                .is_some_and(|condition| condition != etag) =>
        {
            None
        }
        Some(text) => match byte_range(text, file.size) {
            Some(range) => Some(range),
            None => {
                return Response::error(416, "", "no such range")
                    .with("Content-Range", format!("bytes */{}", file.size));
            }
        },
        None => None,
    };
    let (status, part) = match &range {
        Some(range) => (206, range.clone()),
        None => (200, whole),
    };
    let response = Response {
        status,
        headers: vec![
            ("ETag", etag),
            ("Accept-Ranges", "bytes".to_owned()),
            ("Content-Type", "application/octet-stream".to_owned()),
        ],
        body: Body::File {
            path: file.source.clone(),
            start: part.start,
            len: part.end - part.start,
        },
    };
    match range {
        Some(range) => response.with(
            "Content-Range",
            format!("bytes {}-{}/{}", range.start, range.end - 1, file.size),
        ),
        None => response,
    }
}

/// `bytes=A-B`, `bytes=A-` and `bytes=-N`.
fn byte_range(text: &str, size: u64) -> Option<std::ops::Range<u64>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let range = if first.is_empty() {
        size.saturating_sub(last.parse().ok()?)..size
    } else {
        let end = if last.is_empty() {
            size
        } else {
            last.parse::<u64>().ok()?.saturating_add(1).min(size)
        };
        first.parse().ok()?..end
    };
    (range.start < range.end).then_some(range)
}

fn find(state: &State, repo: &str, name: &str) -> std::io::Result<Result<Revision, Response>> {
    if !state.repos.exists(repo) {
        return Ok(Err(Response::error(404, "RepoNotFound", "repository not found")));
    }
    Ok(state
        .repos
        .revision(repo, name)?
        .ok_or_else(|| Response::error(404, "RevisionNotFound", "revision not found")))
}

fn query_value<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let check = |text: &str, expect: Option<std::ops::Range<u64>>| {
            assert_eq!(byte_range(text, 10), expect, "{text}")
        };
        check("bytes=0-", Some(0..10));
        check("bytes=3-5", Some(3..6));
        check("bytes=3-99", Some(3..10));
        check("bytes=-4", Some(6..10));
        check("bytes=10-", None);
        check("bytes=5-4", None);
        check("lines=0-", None);
    }
}
