//! The other end: asking a daemon.

use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::anyhow;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, time::timeout};

use super::types::Failure;

/// How long an answer is waited for, if nobody says otherwise: a change is answered when it is in force,
/// which may mean programs on hundreds of interfaces.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no answer, or not the one that was hoped for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens at the socket.
    #[error("no entropyd answers at {}: `systemctl start entropyd`, or see `entropyctl doctor`", .0.display())]
    Absent(PathBuf),
    /// It may not be used by this user.
    #[error("not allowed to use {}: become root, or a member of group entropy (`usermod -aG entropy USER`)", .0.display())]
    Denied(PathBuf),
    /// The daemon refuses.
    #[error("{error}")]
    Refused {
        /// Status of HTTP.
        status: u16,
        /// Why, in the daemon's words.
        error: String,
    },
    /// It does not answer.
    #[error("entropyd has not answered for {} s: see `journalctl -u entropyd`", .0.as_secs_f64())]
    Silent(Duration),
    /// Anything else.
    #[error("ask entropyd at {}: {error:#}", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What happened.
        error: anyhow::Error,
    },
}

impl ClientError {
    /// Whether it was the daemon that refused, with this status of HTTP.
    #[must_use]
    pub fn is_status(&self, wanted: u16) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == wanted)
    }
}

/// Who asks a daemon, over a connection for each question.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    patience: Duration,
}

impl Client {
    /// A client of the daemon at this socket.
    #[must_use]
    pub fn at(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), patience: PATIENCE }
    }

    /// The same client, which waits so long for an answer.
    #[must_use]
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Asks for a document.
    ///
    /// # Errors
    /// When there is none.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.act(Method::GET, path).await
    }

    /// Sends a document, and reads the answer.
    ///
    /// # Errors
    /// When it is not one of success.
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        document: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(document).map_err(|error| self.broken(error))?;
        self.read(&self.ask(method, path, Some(("application/json", body))).await?)
    }

    /// Asks for something to be done without saying more, and reads the answer.
    ///
    /// # Errors
    /// When it is not one of success.
    pub async fn act<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
    ) -> Result<T, ClientError> {
        self.read(&self.ask(method, path, None).await?)
    }

    /// Asks for something to be removed.
    ///
    /// # Errors
    /// When it is not.
    pub async fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.ask(Method::DELETE, path, None).await.map(drop)
    }

    /// Asks, with a type and a body, and gives the body of an answer of success as it is.
    ///
    /// # Errors
    /// When there is no answer, or it is not one of success.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> Result<Bytes, ClientError> {
        let asked = timeout(self.patience, self.exchange(method, path, body)).await;
        asked.unwrap_or(Err(ClientError::Silent(self.patience)))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> Result<Bytes, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.no_way(error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(error))?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "entropyd")
            .header(header::CONNECTION, "close");
        if let Some((content_type, _)) = &body {
            request = request.header(header::CONTENT_TYPE, *content_type);
        }
        let body = body.map(|(_, body)| body).unwrap_or_default();
        let request =
            request.body(Full::new(Bytes::from(body))).map_err(|error| self.broken(error))?;
        let exchange = async {
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            Ok::<_, hyper::Error>((status, answer.into_body().collect().await?.to_bytes()))
        };
        // The connection has to be driven while the answer is read.
        let (status, body) = tokio::select! {
            answer = exchange => answer.map_err(|error| self.broken(error))?,
            Err(error) = connection => return Err(self.broken(error)),
        };
        if status.is_success() {
            return Ok(body);
        }
        let error = match serde_json::from_slice::<Failure>(&body) {
            Ok(failure) => failure.error,
            Err(_) => format!("status {status}: {}", String::from_utf8_lossy(&body)),
        };
        Err(ClientError::Refused { status: status.as_u16(), error })
    }

    fn read<T: DeserializeOwned>(&self, body: &Bytes) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|error| {
            self.broken(anyhow!("its answer is not understood, is it of this version? {error}"))
        })
    }

    fn no_way(&self, error: io::Error) -> ClientError {
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                ClientError::Absent(self.socket.clone())
            }
            ErrorKind::PermissionDenied => ClientError::Denied(self.socket.clone()),
            _ => self.broken(error),
        }
    }

    fn broken(&self, error: impl Into<anyhow::Error>) -> ClientError {
        ClientError::Broken { path: self.socket.clone(), error: error.into() }
    }
}

/// A name as a segment of a path.
#[must_use]
pub fn segment(name: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let one = |byte: u8| {
        if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    name.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_segment() {
        assert_eq!(segment("slow-db.2_x"), "slow-db.2_x");
        assert_eq!(segment("a/b ?ü"), "a%2Fb%20%3F%C3%BC");
    }

    #[tokio::test]
    async fn a_daemon_that_does_not_answer_is_not_waited_for_without_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let client = Client::at(&path).patient(Duration::from_millis(20));
        let error = client.get::<Failure>("/v1/health").await.unwrap_err();
        assert!(matches!(error, ClientError::Silent(_)), "{error}");
    }

    #[tokio::test]
    async fn a_daemon_that_does_not_run_is_told_with_the_next_step() {
        let client = Client::at(Path::new("/nonexistent/entropyd.sock"));
        let error = client.get::<Failure>("/v1/health").await.unwrap_err();
        let said = error.to_string();
        assert!(said.contains("systemctl start entropyd"), "{said}");
        assert!(!error.is_status(404));
    }
}
