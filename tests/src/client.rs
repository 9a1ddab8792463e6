//! One HTTP connection, on the standard library.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::limits;

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The kind of the error that it is.
    ///
    /// # Panics
    /// When it is no error.
    #[must_use]
    #[track_caller]
    pub fn kind(&self) -> String {
        let kind = self.json()["error"]["kind"].as_str().map(str::to_owned);
        kind.unwrap_or_else(|| panic!("{} is no error: {}", self.status, self.text()))
    }

    /// The message of the error that it is.
    ///
    /// # Panics
    /// When it is no error.
    #[must_use]
    #[track_caller]
    pub fn message(&self) -> String {
        let message = self.json()["error"]["message"].as_str().map(str::to_owned);
        message.unwrap_or_else(|| panic!("{} is no error: {}", self.status, self.text()))
    }

    /// The body as JSON, if the status is this one.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }
}

/// A connection that is opened when it is first needed, and again when the server has closed it.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    /// To this address; nothing is opened yet.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connection: None,
        }
    }

    /// Asks.
    ///
    /// # Panics
    /// When no answer comes.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    /// Sends JSON.
    ///
    /// # Panics
    /// When no answer comes.
    #[track_caller]
    pub fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &[], body.to_string().as_bytes())
    }

    /// Removes.
    ///
    /// # Panics
    /// When no answer comes.
    #[track_caller]
    pub fn delete(&mut self, path: &str) -> Answer {
        self.ask("DELETE", path, &[], b"")
    }

    /// Asks a model.
    ///
    /// # Panics
    /// When no answer comes.
    #[track_caller]
    pub fn infer(&mut self, model: &str, body: &Value) -> Answer {
        self.post(&format!("/models/{model}/inference"), body)
    }

    /// Any request.
    ///
    /// # Panics
    /// When no answer comes.
    #[track_caller]
    pub fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.try_ask(method, path, headers, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Any request, of a server that may not be there.
    ///
    /// # Errors
    /// When no answer comes.
    pub fn try_ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer> {
        self.send(method, path, headers, body)?;
        self.receive()
    }

    /// Sends a request and does not wait for the answer.
    ///
    /// # Errors
    /// When the connection cannot be made or written to.
    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<()> {
        let mut message = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address);
        for (name, value) in headers {
            message.push_str(&format!("{name}: {value}\r\n"));
        }
        message.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        let mut message = message.into_bytes();
        message.extend_from_slice(body);
        self.write(&message)
    }

    /// Sends bytes, whatever they are.
    ///
    /// # Errors
    /// When the connection cannot be made or written to.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(open(self.address)?),
        };
        connection.get_mut().write_all(bytes)
    }

    /// Reads one answer.
    ///
    /// # Errors
    /// When the connection ends before its end, or takes too long.
    pub fn receive(&mut self) -> Result<Answer> {
        let mut connection = self.connection.take().ok_or(ErrorKind::NotConnected)?;
        let answer = read(&mut connection)?;
        let is_last = answer
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"));
        self.connection = (!is_last).then_some(connection);
        Ok(answer)
    }

    /// Whether an answer, or its beginning, has come already.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn is_answered(&mut self) -> Result<bool> {
        let connection = self.connection.as_mut().ok_or(ErrorKind::NotConnected)?;
        connection.get_ref().set_nonblocking(true)?;
        let found = connection.fill_buf().map(|bytes| !bytes.is_empty());
        connection.get_ref().set_nonblocking(false)?;
        match found {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            other => other,
        }
    }

    /// Whether the server has closed the connection, which is waited for.
    ///
    /// # Errors
    /// When that takes too long.
    pub fn is_closed(&mut self) -> Result<bool> {
        let Some(connection) = &mut self.connection else {
            return Ok(true);
        };
        match connection.fill_buf() {
            Ok(bytes) => Ok(bytes.is_empty()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Goes away.
    pub fn close(&mut self) {
        self.connection = None;
    }
}

fn open(address: SocketAddr) -> Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect_timeout(&address, limits::SOCKET)?;
    stream.set_read_timeout(Some(limits::SOCKET))?;
    stream.set_write_timeout(Some(limits::SOCKET))?;
    stream.set_nodelay(true)?;
    Ok(BufReader::new(stream))
}

fn read(stream: &mut BufReader<TcpStream>) -> Result<Answer> {
    let status_line = line(stream)?;
    let status = status_line
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status: u16 = status.ok_or_else(|| invalid(&status_line))?;
    let mut headers = Vec::new();
    loop {
        let line = line(stream)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid(&line))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut answer = Answer {
        status,
        headers,
        body: Vec::new(),
    };
    if status >= 200 && status != 204 {
        let length = answer
            .header("content-length")
            .and_then(|length| length.parse().ok());
        answer.body = vec![0; length.ok_or_else(|| invalid("no length"))?];
        stream.read_exact(&mut answer.body)?;
    }
    Ok(answer)
}

fn line(stream: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("not HTTP: {what}"))
}
