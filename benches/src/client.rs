//! An HTTP/1.1 client that adds as little to a latency as a client can: requests are made before the clock starts,
//! and an answer is read into a buffer that is kept.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How long to wait for an answer that never comes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes that one read asks for at least.
const READ_BYTES: usize = 64 << 10;
/// Bytes of a large request that are sent at a time.
const PART_BYTES: usize = 64 << 10;

/// A request, as it goes over the wire.
#[derive(Debug, Clone)]
pub struct Request(Vec<u8>);

impl Request {
    /// Reads a resource.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::bodiless("GET", path)
    }

    /// Deletes a resource.
    #[must_use]
    pub fn delete(path: &str) -> Self {
        Self::bodiless("DELETE", path)
    }

    fn bodiless(method: &str, path: &str) -> Self {
        Self(format!("{method} {path} HTTP/1.1\r\nhost: mlosd\r\n\r\n").into_bytes())
    }

    /// Sends a body. The headers are those beside `host` and `content-length`.
    #[must_use]
    pub fn post(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut bytes = format!(
            "POST {path} HTTP/1.1\r\nhost: mlosd\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            bytes.push_str(&format!("{name}: {value}\r\n"));
        }
        bytes.push_str("\r\n");
        let mut bytes = bytes.into_bytes();
        bytes.extend_from_slice(body);
        Self(bytes)
    }
}

/// What the server said.
#[derive(Debug)]
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// Where it is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).context("the answer is not JSON")
    }

    /// Itself, if it is a success.
    ///
    /// # Errors
    /// With the status and the body.
    pub fn success(self) -> Result<Self> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        bail!("status {}: {}", self.status, String::from_utf8_lossy(&self.body));
    }

    /// A number that the server measured, as `compute_us`. Found as text, for speed.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<u64> {
        let text = std::str::from_utf8(&self.body).ok()?;
        let quoted = format!("\"{key}\":");
        let after = &text[text.rfind(&quoted)? + quoted.len()..];
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        after[..digits].parse().ok()
    }
}

/// A connection that is kept.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// As `connect(2)`.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            buffer: vec![0; READ_BYTES],
            filled: 0,
        })
    }

    /// The socket, to wait on it or to end it.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// Where the connection breaks.
    pub fn call(&mut self, request: &Request) -> Result<Answer> {
        self.send(request)?;
        self.wait()
    }

    /// The same for a large request, which is sent in parts: a kernel that does not preempt itself keeps everybody else
    /// on this processor waiting while it copies, for a socket's buffer of some megabytes longer than a short inference.
    ///
    /// # Errors
    /// Where the connection breaks.
    pub fn call_in_parts(&mut self, request: &Request) -> Result<Answer> {
        for part in request.0.chunks(PART_BYTES) {
            (&self.stream).write_all(part)?;
        }
        self.wait()
    }

    fn wait(&mut self) -> Result<Answer> {
        loop {
            if let Some(answer) = self.receive()? {
                return Ok(answer);
            }
        }
    }

    /// The same, and how long it took.
    ///
    /// # Errors
    /// Where the connection breaks, or the answer is no success.
    pub fn timed(&mut self, request: &Request) -> Result<(Duration, Answer)> {
        let begun = Instant::now();
        let answer = self.call(request)?;
        Ok((begun.elapsed(), answer.success()?))
    }

    /// Sends a request.
    ///
    /// # Errors
    /// Where the connection breaks.
    pub fn send(&mut self, request: &Request) -> Result<()> {
        Ok((&self.stream).write_all(&request.0)?)
    }

    /// Reads once. None while there is more to come.
    ///
    /// # Errors
    /// Where the connection breaks, or what comes is no HTTP.
    pub fn receive(&mut self) -> Result<Option<Answer>> {
        if self.buffer.len() - self.filled < READ_BYTES {
            self.buffer.resize(2 * self.buffer.len(), 0);
        }
        match (&self.stream).read(&mut self.buffer[self.filled..]) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(read) => self.filled += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let Some((status, body)) = parse(&self.buffer[..self.filled])? else {
            return Ok(None);
        };
        self.filled = 0;
        Ok(Some(Answer { status, body }))
    }
}

/// A whole answer; none while there is more to come.
fn parse(bytes: &[u8]) -> Result<Option<(u16, Vec<u8>)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end]).context("the head is not text")?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .context("the answer has no status")?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Ok(0), |(_, value)| value.trim().parse::<usize>())
        .context("the length of the body is no number")?;
    let body = &bytes[end + 4..];
    if body.len() < length {
        return Ok(None);
    }
    Ok(Some((
        status.parse().context("the status is no number")?,
        body[..length].to_vec(),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_when_it_is_whole() {
        let whole = b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabc";
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]).unwrap(), None, "{cut}");
        }
        assert_eq!(parse(whole).unwrap(), Some((404, b"abc".to_vec())));
    }

    #[test]
    fn a_number_is_found() {
        let body = br#"{"timing":{"queue_us":7,"compute_us":41,"total_us":50}}"#.to_vec();
        let answer = Answer { status: 200, body };
        assert_eq!(answer.number("compute_us"), Some(41));
        assert_eq!(answer.number("total_us"), Some(50));
        assert_eq!(answer.number("none"), None);
    }
}
