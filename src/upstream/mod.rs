//! Endpoints, connections to them, and fetching from them.
//!
//! Decides which endpoint a request goes to, on which connection, and whether it may be sent again when that
//! failed (RFC 9110 9.2.2). Connections are kept per worker thread and driven there; the cap on an endpoint's
//! connections holds over all workers. It never looks at the cache, never judges a status code, and never answers
//! a client: a fetch ends in a reply's head with a streaming body, or in a [`FetchError`] that says who failed.
//!
//! ```text
//! fetch ─▶ balance (which endpoint) ─▶ pool (idle connection | permit | wait) ─▶ connect (dns, tcp, tls)
//!   ▲                                                                              │
//!   └── retry (is it safe?) ◀── exchange (head sent, 1xx, reply's head) ◀──────────┘
//! ```

mod alarm;
pub mod body;
pub mod error;
pub mod request;
pub mod settings;
pub mod snapshot;

use std::sync::Arc;

pub use body::{BodyProgress, RequestBody, StreamBody, UpstreamBody};
pub use error::{BodyError, Failure, FetchError, RequestBodyError};
pub use request::{FetchRequest, Fetched, OnInterim, OriginName};
pub use settings::{EndpointSettings, HostPolicy, Settings};
pub use snapshot::{EndpointSnapshot, EndpointState, UpstreamSnapshot};

/// Every upstream of the instance, by name; outlives reloads.
#[derive(Debug)]
pub struct Upstreams {}

/// A group of endpoints that serve the same thing.
#[derive(Debug)]
pub struct Upstream {
    settings: Settings,
}

impl Upstreams {
    /// No upstreams yet. Names are resolved on `control`'s blocking threads, off the workers.
    pub fn new(_control: tokio::runtime::Handle) -> Arc<Self> {
        Arc::new(Self {})
    }

    /// Brings the upstreams in line with the config: pools and counters of endpoints that stay survive, idle
    /// connections of those that go are closed. Resolving of new names begins.
    pub fn apply(&self, _settings: &[Settings]) {}

    /// The upstream of that name.
    pub fn get(&self, _name: &str) -> Option<Arc<Upstream>> {
        None
    }

    /// All upstreams, in the order of the config.
    pub fn all(&self) -> Vec<Arc<Upstream>> {
        Vec::new()
    }

    /// Waits until every name was looked up once, then tells the endpoints (upstream's name, `host:port`, why)
    /// that have no address: a finding at start, not an exit.
    pub async fn unresolved(&self) -> Vec<(Arc<str>, Arc<str>, Arc<str>)> {
        Vec::new()
    }
}

impl Upstream {
    /// What it was told.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Sends the request to one of the endpoints and waits for the reply's head. Dropping the future cancels
    /// the request and closes its connection.
    pub async fn fetch(&self, _request: FetchRequest) -> Result<Fetched, FetchError> {
        Err(FetchError { failure: Failure::QueueFull, endpoint: None, attempts: 0 })
    }

    /// Counters and states at this moment.
    pub fn snapshot(&self) -> UpstreamSnapshot {
        UpstreamSnapshot { name: "".into(), endpoints: Vec::new() }
    }
}
