//! What is known of the client connection that a request came in on.

use std::net::SocketAddr;

use crate::telemetry::event::Protocol;

/// The client's side of an exchange; one per connection, shared by its requests.
#[derive(Clone, Debug)]
pub struct ClientConn {
    /// The socket's peer address (not what any header says).
    pub peer: SocketAddr,
    /// The address it connected to.
    pub local: SocketAddr,
    /// Whether the client speaks TLS to us.
    pub tls: bool,
    /// The protocol it speaks.
    pub protocol: Protocol,
}
