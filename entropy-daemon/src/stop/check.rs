//! One look at a service.

use http_body_util::Empty;
use hyper::{Request, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::settings::Address;

/// Opens a connection, and closes it.
pub(super) async fn tcp(address: &Address) -> Result<(), String> {
    match address {
        Address::Numeric(address) => TcpStream::connect(address).await,
        Address::Named(name) => TcpStream::connect(name.as_str()).await,
    }
    .map(drop)
    .map_err(|error| format!("connect to {address}: {error}"))
}

/// Asks for a page; its status must be within a range. The body is not read.
pub(super) async fn http(
    authority: &str,
    target: &str,
    (first, last): (u16, u16),
) -> Result<(), String> {
    let fail = |what: &str, error: &dyn std::fmt::Display| format!("{what} {authority}: {error}");
    let stream = TcpStream::connect(authority).await.map_err(|error| fail("connect to", &error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| fail("speak HTTP with", &error))?;
    let request = Request::get(target)
        .header(header::HOST, authority)
        .header(header::USER_AGENT, concat!("entropyd/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| fail("make a request for", &error))?;
    let status = {
        let answer = sender.send_request(request);
        tokio::pin!(connection, answer);
        loop {
            tokio::select! {
                answer = &mut answer => {
                    break answer.map_err(|error| fail("ask", &error))?.status().as_u16();
                }
                ended = &mut connection => if let Err(error) = ended {
                    return Err(fail("ask", &error));
                },
            }
        }
    };
    if (first..=last).contains(&status) {
        return Ok(());
    }
    Err(format!("{authority} answers with status {status}"))
}
