//! What is known of the client connection that a request came in on.

use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;

use crate::telemetry::event::Protocol;
use crate::tls::{Identity, Session};

/// The client's side of an exchange; one per connection, shared by its requests.
#[derive(Clone, Debug)]
pub struct ClientConn {
    /// The socket's peer address (not what any header says).
    pub peer: SocketAddr,
    /// The address it connected to.
    pub local: SocketAddr,
    /// Whether the client speaks TLS to us.
    pub tls: bool,
    /// What is known of its TLS connection, where it has one.
    pub session: Option<Arc<Session>>,
    /// Where its requests are sent instead, unless they came by TLS.
    pub redirect: Option<HttpsRedirect>,
    /// The protocol it speaks.
    pub protocol: Protocol,
}

impl ClientConn {
    /// Whose certificate the client has shown.
    pub fn identity(&self) -> Option<&Identity> {
        self.session.as_ref().and_then(|session| session.identity.as_ref())
    }
}

/// How requests that come without TLS are sent to where there is TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HttpsRedirect {
    /// 301 or 308.
    pub status: StatusCode,
    /// The port that speaks TLS.
    pub port: u16,
}
