//! One file over HTTP: resumed where it stopped, checked while it streams, tried again within bounds.

use axon_package::{FileEntry, Staging};
use reqwest::{
    Response, StatusCode, Url,
    header::{CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, RANGE},
};

use crate::{
    Error, Progress, RemoteFile, Result,
    error::ErrorKind,
    http::{self, Asked, Http},
    limits,
    sink::{self, Sink},
};

/// A file, where it goes, and who hears about it.
pub(crate) struct Download<'a> {
    pub(crate) http: &'a Http,
    pub(crate) file: &'a RemoteFile,
    pub(crate) url: Url,
    pub(crate) staging: &'a Staging,
    pub(crate) progress: &'a dyn Progress,
}

impl Download<'_> {
    /// Fetches the file. Content that turns out wrong is fetched once more from the start: a proxy or a disk that
    /// damaged it may do better, and a hub that is wrong will be wrong again.
    pub(crate) async fn run(&self) -> Result<FileEntry> {
        for _ in 1..limits::CONTENT_TRIES_MAX {
            match self.once().await {
                Err(error) if error.kind() == ErrorKind::Corrupt => {}
                result => return result,
            }
        }
        self.once().await
    }

    async fn once(&self) -> Result<FileEntry> {
        let (file, staging) = (self.file.clone(), self.staging.clone());
        let key = sink::content_key(self.file, &self.url);
        let mut sink = blocking(move || Sink::open(&file, &staging, &key)).await?;
        self.progress
            .at(&self.file.path, sink.len_bytes(), self.file.size);
        if !sink.is_complete() {
            sink = self.stream_all(sink).await?;
        }
        let file = self.file.clone();
        let entry = blocking(move || sink.finish(&file)).await?;
        self.progress.done(&self.file.path, self.file.size);
        Ok(entry)
    }

    /// Streams until the file is complete. Only tries without progress count against the limit, so that a large
    /// file survives many cuts; their number in all is bounded too.
    async fn stream_all(&self, mut sink: Sink) -> Result<Sink> {
        let mut etag = None;
        let mut fruitless = 0;
        for _ in 0..limits::TRIES_PER_FILE_MAX {
            let before = sink.len_bytes();
            let result;
            (sink, result) = self.stream_once(sink, &mut etag).await;
            let error = match result {
                Ok(()) if sink.is_complete() => return Ok(sink),
                Ok(()) => self.cut("the answer ended before the file did"),
                Err(error) => error,
            };
            fruitless = if sink.len_bytes() > before {
                1
            } else {
                fruitless + 1
            };
            self.http.retry.wait(fruitless, error).await?;
        }
        Err(self.cut("too many interruptions"))
    }

    async fn stream_once(&self, mut sink: Sink, etag: &mut Option<String>) -> (Sink, Result<()>) {
        let asked = Asked {
            what: &self.file.path,
        };
        let mut headers = HeaderMap::new();
        if sink.len_bytes() > 0 {
            http::set(&mut headers, RANGE, &format!("bytes={}-", sink.len_bytes()));
            if let Some(etag) = etag.as_deref() {
                http::set(&mut headers, IF_RANGE, etag);
            }
        }
        let response = match self.http.get(&self.url, &headers, asked).await {
            Ok(response) => response,
            Err(error) => return (sink, Err(error)),
        };
        *etag = strong_etag(&response);
        match self.continues(&response, sink.len_bytes()) {
            Ok(true) => {}
            Ok(false) => {
                if let Err(error) = sink.restart(self.file) {
                    return (sink, Err(error));
                }
                self.progress.at(&self.file.path, 0, self.file.size);
            }
            Err(error) => return (sink, Err(error)),
        }
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return (
                sink,
                Err(self.cut("the server does not go on where the file stopped")),
            );
        }
        self.pump(response, sink).await
    }

    /// Whether the answer goes on where the file stopped; otherwise it starts again, which is right if it is whole.
    fn continues(&self, response: &Response, have_bytes: u64) -> Result<bool> {
        let is_wrong = |length: u64| length != self.file.size;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = response
                    .headers()
                    .get(CONTENT_RANGE)
                    .and_then(|value| value.to_str().ok());
                let (start, total) = range
                    .and_then(content_range)
                    .ok_or_else(|| self.odd("a part without Content-Range"))?;
                if start != have_bytes || total.is_some_and(is_wrong) {
                    return Err(self.odd(&format!("bytes from {start} where {have_bytes} were asked for")));
                }
                Ok(true)
            }
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(false),
            _ => match response.content_length().filter(|length| is_wrong(*length)) {
                // Tried again: a cache between here and the hub may have stored a cut answer.
                Some(length) => Err(self.cut(&format!(
                    "the server announced {length} bytes, the hub lists {}",
                    self.file.size
                ))),
                None => Ok(have_bytes == 0),
            },
        }
    }

    /// From the network to the sink's thread, until either ends.
    async fn pump(&self, mut response: Response, mut sink: Sink) -> (Sink, Result<()>) {
        let (chunks, queue) = sink::channel();
        let writer = tokio::task::spawn_blocking(move || {
            let result = sink.drain(queue);
            (sink, result)
        });
        let received = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    self.progress.advance(&self.file.path, chunk.len() as u64);
                    // Closed when the writer failed, which its result tells.
                    if chunks.send(chunk).await.is_err() {
                        break Ok(());
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(http::connection(response.url(), &self.file.path, &error)),
            }
        };
        drop(chunks);
        let (sink, written) = writer
            .await
            .expect("the writer does not panic and is not cancelled");
        (sink, written.and(received))
    }

    fn cut(&self, reason: &str) -> Error {
        Error::Connection {
            host: http::host(&self.url),
            what: self.file.path.clone(),
            reason: reason.to_owned(),
        }
    }

    fn odd(&self, what: &str) -> Error {
        Error::Protocol {
            host: http::host(&self.url),
            what: format!("{what} ({})", self.file.path),
        }
    }
}

/// A weak tag does not promise equal bytes and may not stand in `If-Range`.
fn strong_etag(response: &Response) -> Option<String> {
    let tag = response.headers().get(ETAG)?.to_str().ok()?;
    (!tag.starts_with("W/")).then(|| tag.to_owned())
}

/// `bytes 5-9/10`: where it starts, and the whole length unless it is `*`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-')?.0.parse().ok()?;
    let total = if total == "*" {
        None
    } else {
        Some(total.parse().ok()?)
    };
    Some((start, total))
}

/// Runs what touches the disk on a thread where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .expect("the work does not panic and is not cancelled")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        let check = |text: &str, expect| assert_eq!(content_range(text), expect, "{text}");
        check("bytes 5-9/10", Some((5, Some(10))));
        check("bytes 0-9/*", Some((0, None)));
        check("bytes */10", None);
        check("items 0-9/10", None);
        check("bytes 5-9", None);
    }
}
