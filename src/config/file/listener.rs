//! Where clients come in.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::address::Address;
use crate::config::scalar::{PositiveTime, Size, Time};

/// A listener.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Listen {
    /// Its address.
    Address(Address),
    /// A table.
    Table(Listener),
}

impl Listen {
    /// Where.
    pub fn address(&self) -> Address {
        match self {
            Self::Address(addr) => *addr,
            Self::Table(listener) => listener.addr,
        }
    }
}

/// A listener.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// The address.
    pub addr: Address,
}

/// Limits of client connections.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// The longest time from the first byte of a request to the end of its head.
    #[schemars(extend("default" = "30s"))]
    pub header_timeout: Option<PositiveTime>,
    /// How long a connection may stay open without a request.
    #[schemars(extend("default" = "1m15s"))]
    pub keepalive: Option<PositiveTime>,
    /// The largest head of a request.
    #[schemars(extend("default" = "64KiB"))]
    pub max_header_bytes: Option<Size>,
    /// The most fields in the head of a request.
    #[schemars(range(min = 1, max = 10_000), extend("default" = 100))]
    pub max_headers: Option<u32>,
    /// The most client connections, over all workers.
    #[schemars(range(min = 1, max = 10_000_000), extend("default" = 65_536))]
    pub max_connections: Option<u32>,
    /// How long exchanges may go on after a stop was asked for.
    #[schemars(extend("default" = "30s"))]
    pub shutdown_grace: Option<Time>,
}
