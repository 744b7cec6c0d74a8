//! Where the engine listens.

use std::{env, fmt};

const DEFAULT: &str = "unix:///var/run/docker.sock";

/// Port of an engine's unencrypted TCP socket, as Docker's own client assumes it.
const DEFAULT_PORT: u16 = 2375;

/// Address of a container engine: `unix://PATH`, `tcp://HOST[:PORT]` or `http://HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(String);

/// An address that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointError {
    /// Another way of connecting, which this daemon does not know.
    #[error(
        "docker host {0:?} is not supported, use unix://PATH, tcp://HOST:PORT or http://HOST:PORT"
    )]
    Unsupported(String),
    /// `DOCKER_TLS_VERIFY` asks for encryption.
    #[error("docker host {0:?} with DOCKER_TLS_VERIFY is not supported, use the local unix socket")]
    Tls(String),
}

impl Endpoint {
    /// The engine that `DOCKER_HOST` names, else the local Docker socket.
    ///
    /// # Errors
    ///
    /// Fails on an address that [`Endpoint::parse`] does not take, and on a TCP address together
    /// with `DOCKER_TLS_VERIFY`: talking in the clear would not be what was asked for.
    pub fn from_env() -> Result<Self, EndpointError> {
        let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let (host, tls) = (variable("DOCKER_HOST"), variable("DOCKER_TLS_VERIFY"));
        Self::from_variables(host.as_deref(), tls.as_deref())
    }

    fn from_variables(host: Option<&str>, tls: Option<&str>) -> Result<Self, EndpointError> {
        let endpoint = Self::parse(host.unwrap_or(DEFAULT))?;
        match tls {
            Some(_) if !endpoint.is_local() => Err(EndpointError::Tls(endpoint.0)),
            _ => Ok(endpoint),
        }
    }

    /// Reads an address.
    ///
    /// # Errors
    ///
    /// Fails on every scheme but `unix`, `tcp` and `http`, and on an address without a path or
    /// host.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let unsupported = || EndpointError::Unsupported(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(unsupported)?;
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Self(text.to_owned())),
            "tcp" | "http" => {
                let host = rest.strip_suffix('/').unwrap_or(rest);
                // What follows the last bracket of an IPv6 address, or all of another host.
                let tail = host.rsplit(']').next().unwrap_or_default();
                if host.is_empty() || host.starts_with(':') || host.contains(['/', '@', '?', '#']) {
                    return Err(unsupported());
                }
                let port =
                    if tail.contains(':') { String::new() } else { format!(":{DEFAULT_PORT}") };
                Ok(Self(format!("{scheme}://{host}{port}")))
            }
            _ => Err(unsupported()),
        }
    }

    /// Whether it is a unix socket.
    pub(super) fn is_local(&self) -> bool {
        self.0.starts_with("unix://")
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supported_addresses_are_taken() {
        for (text, meant) in [
            ("unix:///run/docker.sock", "unix:///run/docker.sock"),
            ("tcp://127.0.0.1:2375", "tcp://127.0.0.1:2375"),
            ("tcp://localhost", "tcp://localhost:2375"),
            ("tcp://[::1]", "tcp://[::1]:2375"),
            ("http://[::1]:80/", "http://[::1]:80"),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().as_str(), meant);
        }
    }

    #[test]
    fn other_addresses_are_refused_with_a_remedy() {
        for text in [
            "",
            "/run/docker.sock",
            "unix://",
            "unix://docker.sock",
            "ssh://host",
            "https://host:2376",
            "npipe:////./pipe/docker_engine",
            "fd://",
            "tcp://",
            "tcp://:2375",
            "tcp://host/path",
            "tcp://user@host",
        ] {
            let error = Endpoint::parse(text).unwrap_err();
            assert!(error.to_string().contains("use unix://PATH"), "{text}: {error}");
        }
    }

    #[test]
    fn environment_falls_back_to_the_local_socket_and_refuses_tls() {
        let from = Endpoint::from_variables;
        assert_eq!(from(None, None).unwrap().as_str(), DEFAULT);
        assert_eq!(from(None, Some("1")).unwrap().as_str(), DEFAULT);
        assert!(from(Some("tcp://h:2376"), None).is_ok());
        let refused = from(Some("tcp://h:2376"), Some("1")).unwrap_err();
        assert_eq!(refused, EndpointError::Tls("tcp://h:2376".into()));
    }
}
