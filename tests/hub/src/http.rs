//! HTTP/1.1, by hand: a fixture that sends wrong lengths and half bodies cannot use a library that prevents them.

use std::{
    fs::File,
    io::{self, BufRead, Read, Seek, SeekFrom, Write},
    net::TcpStream,
    path::PathBuf,
    thread,
};

use crate::{fault::FaultKind, limits, record::Recorded, record::Side};

/// Reads one request head; `None` if the client closed the connection.
pub(crate) fn read_request(reader: &mut impl BufRead, side: Side) -> io::Result<Option<Recorded>> {
    let mut head = reader.take(limits::REQUEST_HEAD_BYTES_MAX);
    let mut line = String::new();
    if head.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(io::Error::other("malformed request line"));
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Recorded {
        side,
        method: method.to_owned(),
        path: percent_encoding::percent_decode_str(path)
            .decode_utf8_lossy()
            .into_owned(),
        query: query.to_owned(),
        headers: Vec::new(),
    };
    loop {
        line.clear();
        if head.read_line(&mut line)? == 0 {
            return Err(io::Error::other("request head too long or cut"));
        }
        match line.trim_end().split_once(':') {
            Some((name, value)) => request
                .headers
                .push((name.to_lowercase(), value.trim().to_owned())),
            None => return Ok(Some(request)),
        }
    }
}

/// An answer before it is sent.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Body,
}

/// What follows the head.
pub(crate) enum Body {
    Bytes(Vec<u8>),
    /// Part of a file, sent by the kernel without passing through this process.
    File {
        path: PathBuf,
        start: u64,
        len: u64,
    },
}

impl Body {
    fn len(&self) -> u64 {
        match self {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File { len, .. } => *len,
        }
    }
}

impl Response {
    pub(crate) fn json(value: &serde_json::Value) -> Response {
        Response {
            status: 200,
            headers: vec![("Content-Type", "application/json".to_owned())],
            body: Body::Bytes(value.to_string().into_bytes()),
        }
    }

    pub(crate) fn error(status: u16, code: &str, message: &str) -> Response {
        let mut response = Response::json(&serde_json::json!({ "error": message }));
        response.status = status;
        if !code.is_empty() {
            response = response.with("X-Error-Code", code);
        }
        response.with("X-Error-Message", message)
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Response {
        self.headers.push((name, value.into()));
        self
    }
}

/// Where a response goes, and who hears about its progress.
pub(crate) struct Sink<'a> {
    pub(crate) stream: &'a mut TcpStream,
    pub(crate) sent: &'a dyn Fn(u64),
}

/// Sends a response, with what the fault does to it. `false`: the connection must be closed.
pub(crate) fn send(
    sink: &mut Sink<'_>,
    request: &Recorded,
    response: Response,
    fault: Option<&FaultKind>,
) -> io::Result<bool> {
    let length = match fault {
        Some(FaultKind::WrongLength(delta)) => response.body.len().saturating_add_signed(*delta),
        _ => response.body.len(),
    };
    let mut head = format!(
        "HTTP/1.1 {} {}\r\nContent-Length: {length}\r\n",
        response.status,
        reason(response.status)
    );
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    sink.stream.write_all(head.as_bytes())?;
    if request.method == "HEAD" {
        return Ok(true);
    }
    match response.body {
        Body::Bytes(bytes) => send_bytes(sink, &bytes, fault),
        Body::File { path, start, len } => send_file(sink, &path, start..start + len, fault),
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        302 => "Found",
        307 => "Temporary Redirect",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

fn send_bytes(sink: &mut Sink<'_>, bytes: &[u8], fault: Option<&FaultKind>) -> io::Result<bool> {
    let end = match fault {
        Some(FaultKind::CutAfter(n) | FaultKind::StallAfter(n)) => {
            bytes.len().min(usize::try_from(*n).unwrap_or(usize::MAX))
        }
        _ => bytes.len(),
    };
    sink.stream.write_all(&bytes[..end])?;
    after_body(sink, fault)
}

fn send_file(
    sink: &mut Sink<'_>,
    path: &PathBuf,
    range: std::ops::Range<u64>,
    fault: Option<&FaultKind>,
) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let whole = range.clone();
    match fault {
        Some(FaultKind::CutAfter(n) | FaultKind::StallAfter(n)) => {
            send_pieces(sink, &mut file, range.start..range.end.min(range.start + n), None)?;
        }
        Some(FaultKind::FlipByte(at)) if whole.contains(at) => {
            send_pieces(sink, &mut file, range.start..*at, None)?;
            let mut byte = [0];
            file.seek(SeekFrom::Start(*at))?;
            file.read_exact(&mut byte)?;
            sink.stream.write_all(&[!byte[0]])?;
            send_pieces(sink, &mut file, at + 1..range.end, None)?;
        }
        _ => send_pieces(sink, &mut file, range, fault)?,
    }
    after_body(sink, fault)
}

/// `io::copy` from a file to a socket is `sendfile(2)` on Linux.
fn send_pieces(
    sink: &mut Sink<'_>,
    file: &mut File,
    range: std::ops::Range<u64>,
    fault: Option<&FaultKind>,
) -> io::Result<()> {
    let (piece_bytes, pause) = match fault {
        Some(FaultKind::Slow { piece_bytes, pause }) => (*piece_bytes, Some(*pause)),
        _ => (limits::PIECE_BYTES, None),
    };
    file.seek(SeekFrom::Start(range.start))?;
    let mut left = range.end.saturating_sub(range.start);
    while left > 0 {
        let piece = left.min(piece_bytes);
        let copied = io::copy(&mut (&mut *file).take(piece), sink.stream)?;
        if copied == 0 {
            return Err(io::Error::other("the file shrank while it was served"));
        }
        left -= copied;
        (sink.sent)(copied);
        if let Some(pause) = pause {
            thread::sleep(pause);
        }
    }
    Ok(())
}

fn after_body(sink: &mut Sink<'_>, fault: Option<&FaultKind>) -> io::Result<bool> {
    match fault {
        Some(FaultKind::StallAfter(_)) => {
            // Until the client has had enough; what it sends meanwhile is not for us.
            io::copy(sink.stream, &mut io::sink())?;
            Ok(false)
        }
        Some(FaultKind::CutAfter(_) | FaultKind::WrongLength(_)) => Ok(false),
        _ => Ok(true),
    }
}
