//! Asking the daemon.

use entropy_daemon::api::Client;

use crate::args::control::Socket;

pub(crate) fn client(socket: &Socket) -> Client {
    Client::at(&socket.path)
}

/// The path of a policy in the API.
pub(crate) fn policy_path(name: &str) -> String {
    format!("/v1/policies/{}", entropy_daemon::api::segment(name))
}
