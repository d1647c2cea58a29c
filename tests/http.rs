//! One request on one connection, with a clear account of a failure: had the request left us or not?
//!
//! A client library retries, pools and folds its errors together; a recorder of histories must know. It must never know what
//! a request means.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use thiserror::Error;

/// The largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// A door of a node, and how to come in.
#[derive(Debug, Clone)]
pub struct Door {
    /// Where it listens.
    pub address: SocketAddr,
    /// The token to show.
    pub token: Option<String>,
    /// How long to wait for the connection, and for each part of the answer.
    pub within: Duration,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The head's lines below the status.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header; names are compared without regard to case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut matching = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name));
        matching.next().map(|(_, value)| value.trim())
    }
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum CallError {
    /// No connection: the request never left, so it had no effect.
    #[error("no connection: {0}")]
    NotSent(#[source] io::Error),
    /// The request may have arrived; nobody knows what came of it.
    #[error("no whole answer: {0}")]
    Lost(#[source] io::Error),
}

impl Door {
    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, CallError> {
        let connected = TcpStream::connect_timeout(&self.address, self.within);
        let stream = connected.map_err(CallError::NotSent)?;
        self.exchange(stream, &self.head(method, path, headers, body.len()), body)
            .map_err(CallError::Lost)
    }

    /// Asks for JSON and reads it; also gives the status.
    ///
    /// # Errors
    /// When there is no whole answer, or it is no JSON.
    pub fn json(&self, method: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
        let (headers, bytes): (&[(&str, &str)], Vec<u8>) = if body.is_null() {
            (&[], Vec::new())
        } else {
            (
                &[("content-type", "application/json")],
                serde_json::to_vec(body)?,
            )
        };
        let answer = self
            .call(method, path, headers, &bytes)
            .with_context(|| format!("{method} {path} at {}", self.address))?;
        let said = if answer.body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&answer.body).with_context(|| {
                let text = String::from_utf8_lossy(&answer.body);
                format!("{method} {path} answered {}: {text}", answer.status)
            })?
        };
        Ok((answer.status, said))
    }

    /// As [`Door::json`]; every status but 2xx is an error.
    ///
    /// # Errors
    /// As [`Door::json`], and when it is refused.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let (status, said) = self.json(method, path, body)?;
        if !(200..300).contains(&status) {
            bail!(
                "{method} {path} at {} answered {status}: {said}",
                self.address
            );
        }
        Ok(said)
    }

    fn head(&self, method: &str, path: &str, headers: &[(&str, &str)], length: usize) -> String {
        // HTTP/1.0: no chunks, and the end of the answer is the end of the connection.
        let mut head = format!("{method} {path} HTTP/1.0\r\nhost: {}\r\n", self.address);
        head.push_str(&format!("content-length: {length}\r\n"));
        if let Some(token) = &self.token {
            head.push_str(&format!("authorization: Bearer {token}\r\n"));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head
    }

    fn exchange(&self, mut stream: TcpStream, head: &str, body: &[u8]) -> io::Result<Answer> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.within))?;
        stream.set_write_timeout(Some(self.within))?;
        // A server that refuses early answers before it has read all; its answer counts.
        let written = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body));
        let mut bytes = Vec::new();
        let read = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
        match parse(&bytes) {
            Ok(answer) => Ok(answer),
            Err(unfit) => Err(written.err().or(read.err()).unwrap_or(unfit)),
        }
    }
}

/// A whole answer, or what is wrong with these bytes.
fn parse(bytes: &[u8]) -> io::Result<Answer> {
    let unfit = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .ok_or_else(|| unfit("the answer has no whole head"))?;
    let (head, body) = bytes.split_at(end);
    let body = body.get(4..).unwrap_or_default();
    let head = std::str::from_utf8(head).map_err(|_| unfit("the head is not text"))?;
    let (first, rest) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = first
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| unfit("the answer has no status"))?;
    let answer = Answer {
        status,
        head: rest.to_owned(),
        body: body.to_vec(),
    };
    match answer.header("content-length").map(str::parse::<usize>) {
        Some(Ok(length)) if length == body.len() => Ok(answer),
        // Without the length nobody could tell a whole body from a torn one.
        None if body.is_empty() => Ok(answer),
        _ => Err(unfit("the body is torn, or does not say how long it is")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_answers_are_answers() {
        let whole = b"HTTP/1.0 201 Created\r\nContent-Length: 2\r\nETag: \"7\"\r\n\r\nok";
        let answer = parse(whole).unwrap();
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (201, b"ok".as_slice())
        );
        assert_eq!(answer.header("etag"), Some("\"7\""));
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut]).is_err(), "{cut}");
        }
        assert!(parse(b"HTTP/1.0 200 OK\r\n\r\nwho knows").is_err());
        assert!(parse(b"HTTP/1.0 204 No Content\r\n\r\n").is_ok());
    }

    #[test]
    fn a_closed_door_is_not_sent_and_a_silent_one_is_lost() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let door = Door {
            address: listener.local_addr().unwrap(),
            token: None,
            within: Duration::from_millis(50),
        };
        assert!(matches!(
            door.call("GET", "/", &[], b""),
            Err(CallError::Lost(_))
        ));
        drop(listener);
        assert!(matches!(
            door.call("GET", "/", &[], b""),
            Err(CallError::NotSent(_))
        ));
    }
}
