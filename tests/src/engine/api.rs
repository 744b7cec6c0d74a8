//! The little of Docker's API that the laboratory itself needs: HTTP/1.0 over the socket, so that
//! no answer is chunked and every connection ends.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How long the engine may be silent in the middle of an answer.
const SILENCE_LIMIT: Duration = Duration::from_secs(120);

/// A client that holds no connection.
#[derive(Clone, Debug)]
pub struct Api {
    socket: PathBuf,
}

impl Api {
    /// A client of the engine behind `socket`; nothing is sent yet.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Whether the engine answers.
    pub fn ping(&self) -> bool {
        self.request("GET", "/_ping", &[], "").is_ok_and(|(status, _)| status == 200)
    }

    /// Sends one request and returns the status and the body, whatever the status is.
    ///
    /// # Errors
    /// When the engine cannot be reached or its answer is not HTTP.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
        content_type: &str,
    ) -> Result<(u16, Vec<u8>)> {
        let what = || format!("{method} {path} on {}", self.socket.display());
        let mut stream = UnixStream::connect(&self.socket).with_context(what)?;
        stream.set_read_timeout(Some(SILENCE_LIMIT)).with_context(what)?;
        let mut head = format!("{method} {path} HTTP/1.0\r\nHost: docker\r\n");
        if !body.is_empty() {
            head += &format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).with_context(what)?;
        stream.write_all(body).with_context(what)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).with_context(what)?;
        parse(&answer).with_context(what)
    }

    /// Sends one request that has to succeed and returns its body as JSON, null when it is none.
    ///
    /// # Errors
    /// When the engine cannot be reached or refuses; the message holds its own.
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let (status, answer) = self.request(method, path, &bytes, "application/json")?;
        if !(200..=304).contains(&status) {
            bail!("{method} {path}: {status} {}", String::from_utf8_lossy(&answer).trim());
        }
        Ok(serde_json::from_slice(&answer).unwrap_or(Value::Null))
    }

    /// Removes every container, running or not.
    pub(super) fn remove_containers(&self) -> Result<()> {
        let list = self.call("GET", "/containers/json?all=1", &Value::Null)?;
        for container in list.as_array().into_iter().flatten() {
            let Some(id) = container["Id"].as_str() else { continue };
            self.call("DELETE", &format!("/containers/{id}?force=1&v=1"), &Value::Null)?;
        }
        Ok(())
    }
}

/// Splits an answer into its status and its body.
fn parse(answer: &[u8]) -> Result<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.context("the answer has no end of its head")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.context("the answer has no status")?, answer[end + 4..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn answer_is_split_into_status_and_body() {
        let answer = b"HTTP/1.0 404 Not Found\r\nA: b\r\n\r\n{\"message\":\"no\"}";
        assert_eq!(parse(answer).unwrap(), (404, b"{\"message\":\"no\"}".to_vec()));
        assert!(parse(b"HTTP/1.0 200 OK\r\n").is_err());
        assert!(parse(b"nonsense\r\n\r\n").is_err());
    }
}
