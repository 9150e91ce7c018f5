//! What listeners and connections are told by the config.

use std::net::SocketAddr;
use std::time::Duration;

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenerSettings {
    /// Where. `[::]` takes IPv4 as well (that is what `":8080"` in the config becomes).
    pub address: SocketAddr,
}

/// Limits of client connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// From the first byte of a request (or the connection's start) to the end of its head.
    pub header_timeout: Duration,
    /// How long a keep-alive connection may stay without a request.
    pub keepalive: Duration,
    /// The largest request head in bytes.
    pub max_header_bytes: usize,
    /// The most fields in a request head. Another value than 100 costs an allocation per request.
    pub max_headers: usize,
    /// The most client connections, over all workers.
    pub max_connections: usize,
    /// How long in-flight exchanges may go on after a stop was asked.
    pub shutdown_grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            keepalive: Duration::from_secs(75),
            max_header_bytes: 64 << 10,
            max_headers: 100,
            max_connections: 65_536,
            shutdown_grace: Duration::from_secs(30),
        }
    }
}
